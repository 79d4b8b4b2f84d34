"""Recognize calls that certainly do not link, before any table is built or any file is read.

A build runs its compiler far more often to compile than to link, and configure scripts ask for versions thousands of times. Those calls
must cost nothing. But `-o -c` names a file, `-Xlinker -c` is an option of the linker, and the last option in `@file` is unknown. So an
argument counts only where it is certainly an option. In every doubt the call is not a probe, and the family's own reader decides.

Drivers and linkers have a list each, because `-c -S -E -M -v` mean something else to a linker: `ld -V a.o` is a link.

A configure script also makes hundreds of links of one small source. Nothing in them can run in parallel, and ldshim would add a fifth to
their time. CONFIGURE recognizes them by the names of their inputs and outputs, which are particular to each tool: such a link has an output
that the table names, and no input that it does not name.

launcher.sh has the same rules, and link-farm fills in the same tables.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# An argument that means "no link" wherever it is an option of gcc or clang.
DRIVER_PROBES = frozenset(
    b"""-c --compile -S --assemble -E --preprocess -M --dependencies -MM --user-dependencies -fsyntax-only -### --version --help
    --target-help --help-hidden -dumpspecs -dumpversion -dumpmachine -print-search-dirs -print-libgcc-file-name -print-multiarch
    -print-multi-directory -print-multi-lib -print-multi-os-directory -print-sysroot -print-sysroot-headers-suffix -print-resource-dir
    -print-runtime-dir -print-target-triple -print-effective-triple -print-targets --print-search-dirs --print-libgcc-file-name
    --print-multiarch --print-multi-directory --print-multi-lib --print-multi-os-directory --print-sysroot --print-sysroot-headers-suffix
    --print-resource-dir --print-runtime-dir --print-target-triple --print-effective-triple --print-targets""".split()
)
DRIVER_PROBE_PREFIXES = (
    b"--help=",
    b"-print-file-name=",
    b"-print-prog-name=",
    b"--print-file-name=",
    b"--print-prog-name=",
    b"--autocomplete=",
)
_COMPILES = frozenset(b"-c --compile -S --assemble -E --preprocess -M --dependencies -MM --user-dependencies -fsyntax-only".split())
COMPILE, QUESTION = "a compile", "a call that only asks the tool something"
CC1 = frozenset([b"-cc1", b"-cc1as", b"-cc1gen-reproducer"])

# Every option of gcc or clang that takes the next argument when no value is joined to it (tests compare this with the tables). It becomes a
# set only where one is needed, which is rare.
DRIVER_TAKES_NEXT = b"""
    --CLASSPATH --analyzer-output --assert --bootclasspath --classpath --config --define-macro --dump --dumpbase --dumpbase-ext
    --dumpdir --dyld-prefix --embed-directory --encoding --entry --extdirs --for-assembler --for-linker --force-link --imacros
    --include --include-directory --include-directory-after --include-prefix --include-with-prefix --include-with-prefix-after
    --include-with-prefix-before --language --library-directory --mhwdiv --no-system-header-prefix --output --output-class-directory
    --output-pch --output-pch= --param --prefix --print-file-name --print-prog-name --resource --rtlib --serialize-diagnostics --specs
    --std --stdlib --sysroot --system-header-prefix --undefine-macro --vfsoverlay -A -B -D -F -G -Hd -Hf -I -J -L -MF -MJ -MQ -MT -R
    -T -Tbss -Tdata -Ttext -U -V -Xanalyzer -Xarch_device -Xarch_host -Xassembler -Xclang -Xclangas -Xcuda-fatbinary -Xcuda-ptxas -Xf
    -Xflang -Xlinker -Xmicrosoft-visualc-tools-root -Xmicrosoft-visualc-tools-version -Xmicrosoft-windows-sdk-root
    -Xmicrosoft-windows-sdk-version -Xmicrosoft-windows-sys-root -Xoffload-linker -Xopenmp-target -Xpreprocessor -Zlinker-input
    -alias_list -allowable_client -arch -arch_only -arcmt-migrate-report-output -aux-info -b -bundle_loader -ccc-arcmt-migrate
    -ccc-gcc-name -ccc-install-dir -ccc-objcmt-migrate -client_name -compatibility_version -copyext -current_version -cxx-isystem
    -darwin-target-variant -darwin-target-variant-triple -dependency-dot -dependency-file -dsym-dir -dumpbase -dumpbase-ext -dumpdir
    -dylib_file -dylinker_install_name -e -exported_symbols_list -fcobol-exceptions -fdebug-compilation-dir -fdefaultbyte
    -fexperimental-openacc-macro-override -filelist -findicator-column -fintrinsic-modules-path -fmodule-implementation-of
    -fmodules-map -fmodules-map-file -fmodules-user-build-path -fnew-alignment -force_load -framework -ftrapv-handler
    -gen-cdb-fragment-path -gnatO -h -hlsl-entry -iapinotes-modules -idirafter -iframework -iframeworkwithsysroot -imacros -image_base
    -imultiarch -imultilib -include -include-pch -init -install_name -interface-stub-version= -iprefix -iquote -isysroot -isystem
    -isystem-after -ivfsoverlay -iwithprefix -iwithprefixbefore -iwithsysroot -l -lazy_framework -lazy_library -meabi -mllvm -mmlir
    -module-dependency-dir -mthread-model -multiply_defined -multiply_defined_unused -o -object-file-name -pagezero_size -preprocess
    -read_only_relocs -reexport_framework -reexport_library -resource-dir -rpath -sectalign -sectcreate -sectobjectsymbols -sectorder
    -seg1addr -seg_addr_table -seg_addr_table_filename -segaddr -segcreate -segprot -segs_read_only_addr -segs_read_write_addr
    -serialize-diagnostics -specs -stdlib++-isystem -sub_library -sub_umbrella -target -truncate -u -umbrella -undefined
    -unexported_symbols_list -validator-version -vfsoverlay -weak_framework -weak_library -weak_reference_mismatches
    -working-directory -wrapper -x -z
    """

LINKER_PROBES = frozenset([b"--version", b"--help"])
LINKER_TAKES_NEXT = b"""
    --Map --Tbss --Tdata --Tldata-segment --Trodata-segment --Ttext --Ttext-segment --android-memtag-mode --architecture --assert
    --audit --auxiliary --build-id-chunk-size-for-treehash --build-id-min-file-size-for-treehash --call-graph-ordering-file --chroot
    --compress-debug-sections --compress-sections --debug --debug-address --debug-fuel --default-script --defsym --depaudit
    --dependency-file --directory --dynamic-linker --dynamic-list --entry --error-handling-script --error-limit --exclude-libs
    --export-dynamic-symbol --export-dynamic-symbol-list --filler --filter --fini --format --fuse-ld --gc-stats-ignore --gpsize
    --hash-bucket-empty-fraction --hash-style --icf --icf-iterations --ignore-unresolved-symbol --image-base --in-implib
    --incremental-base --incremental-patch --init --irpgo-profile --just-symbols --keep-unique --library --library-path
    --load-pass-plugin --lto-cs-profile-file --lto-known-safe-vtables --lto-obj-path --lto-partitions --lto-pseudo-probe-for-profiling
    --lto-sample-profile --max-cache-size --mips-got-size --mllvm --mri-script --oformat --opt-remarks-filename --opt-remarks-format
    --opt-remarks-hotness-threshold --opt-remarks-passes --optimize --orphan-handling --out-implib --output --pack-dyn-relocs
    --package-metadata --physical-image-base --plugin --plugin-opt --print-symbol-counts --print-symbol-order --remap-inputs
    --remap-inputs-file --reproduce --require-defined --retain-symbols-file --rosegment-gap --rpath --rpath-link --rsp-quoting --run
    --script --section-align --section-order --section-ordering-file --section-start --shuffle-sections --soname --sort-section
    --spare-dynamic-tags --spare-program-headers --split-stack-adjust-size --stub-group-size --symbol-ordering-file --sysroot
    --target2 --task-link --thinlto-cache-dir --thinlto-cache-policy --thinlto-distributor-arg --thinlto-jobs
    --thinlto-object-suffix-replace --thinlto-prefix-replace --thinlto-remote-compiler-arg --thinlto-remote-compiler-prepend-arg
    --thread-count --thread-count-final --thread-count-initial --thread-count-middle --threads --time-trace-granularity --trace-symbol
    --undefined --undefined-glob --unique --unresolved-symbols --version-exports-section --version-script --warn-backrefs-exclude
    --why-live --wild-experiments --wrap --write-gc-stats -A -C -F -G -I -L -Map -O -P -R -T -Tbss -Tdata -Tldata-segment
    -Trodata-segment -Ttext -Ttext-segment -Y -a -architecture -assert -audit -auxiliary -b -build-id-chunk-size-for-treehash
    -build-id-min-file-size-for-treehash -c -call-graph-ordering-file -chroot -compress-debug-sections -dT -debug -debug-address
    -debug-fuel -default-script -defsym -depaudit -dependency-file -directory -dynamic-linker -dynamic-list -e -entry
    -error-handling-script -exclude-libs -export-dynamic-symbol -export-dynamic-symbol-list -f -filler -filter -fini -format -fuse-ld
    -gc-stats-ignore -gpsize -h -hash-bucket-empty-fraction -hash-style -icf -icf-iterations -ignore-unresolved-symbol -image-base
    -incremental-base -incremental-patch -init -just-symbols -keep-unique -l -library -library-path -lto-cs-profile-file -lto-obj-path
    -lto-partitions -lto-pseudo-probe-for-profiling -lto-sample-profile -m -max-cache-size -mips-got-size -mllvm -mri-script -o
    -optimize -orphan-handling -output -pack-dyn-relocs -package-metadata -physical-image-base -plugin -plugin-opt
    -print-symbol-counts -print-symbol-order -remap-inputs -remap-inputs-file -require-defined -retain-symbols-file -rosegment-gap
    -rpath -rpath-link -run -script -section-align -section-order -section-ordering-file -section-start -soname -sort-section
    -spare-dynamic-tags -spare-program-headers -split-stack-adjust-size -stub-group-size -sysroot -target2 -task-link
    -thinlto-cache-dir -thinlto-cache-policy -thinlto-jobs -thinlto-object-suffix-replace -thinlto-prefix-replace -thread-count
    -thread-count-final -thread-count-initial -thread-count-middle -trace-symbol -u -undefined -undefined-glob -unique
    -unresolved-symbols -version-exports-section -version-script -wild-experiments -wrap -write-gc-stats -y -z
    """

MOLD_RUN = frozenset([b"-run", b"--run"])

LINKER_ASKED = b"-Wl,--version -Wl,-v"

OUTPUTS, INPUTS, PLACES = 0, 1, 2
# Links of configure scripts: (the tool, (patterns for the value of -o, for the inputs, and for current directories of such links only)).
# The patterns are those of sh's `case`, where `*` also matches a slash. `?` appears only after the last `*` or before the first.
CONFIGURE: tuple[tuple[str, tuple[bytes, bytes, bytes]], ...] = (
    # autoconf 2.71, c.m4: `$CC -o conftest$ac_exeext … conftest.$ac_ext $LIBS`, and once without -o. libtool 2.4.7 also links conftest.o.
    ("autoconf", (b"conftest conftest.exe", b"conftest.*", b"")),
    # CMake 3.25: try_compile of sources makes a target `cmTC_` and five digits; the compiler's identification has no -o. A project of
    # try_compile, or of CheckIPOSupported, has names of its own, but is built where nothing else is.
    (
        "CMake",
        (
            b"cmTC_* libcmTC_*.so */cmTC_* */libcmTC_*.so",
            b"CMakeFiles/cmTC_*.dir/* */CMakeFiles/cmTC_*.dir/* CMake*CompilerId.* */CMake*CompilerId.*",
            b"*/CMakeFiles/CMakeTmp */CMakeFiles/CMakeScratch/TryCompile-* */CMakeFiles/_CMakeLTOTest-*/bin",
        ),
    ),
    # Meson 1.0.1: a driver is asked for its linker, with LINKER_ASKED and no input; `sanitycheckc.c -o sanitycheckc.exe` in meson-private;
    # `…/meson-private/tmpiicmmqg3/testfile.c -o …/output.exe`.
    (
        "Meson",
        (
            b"sanitycheck*.exe */meson-private/sanitycheck*.exe */meson-private/tmp*/output.exe",
            LINKER_ASKED + b" sanitycheck*.* */meson-private/sanitycheck*.* */meson-private/tmp*/testfile.*",
            b"",
        ),
    ),
    # Linux 5.15, scripts/cc-can-link.sh: `-x c - -o /dev/null`. (From NO_SOURCE alone, whatever the output: cc-ldoption, up to 5.2.)
    ("kbuild", (b"/dev/null", b"", b"")),
    # cargo 1.95: `rustc - --crate-name ___ --print=file-names`; it links nothing, and would link these.
    ("cargo", (b"___ lib___.so */___ */lib___.so", b"___.*.rcgu.o */___.*.rcgu.o", b"")),
)
_OTHER, _EMPTY = "another", "no source"
CONFIGURE_MOST = 100  # arguments; a longer link is none of these
NO_SOURCE = b"/dev/null"
# Inputs that any link may have: standard input, and shared libraries, which hold no IR. For a linker also the files that a driver adds to
# every link, and the temporary object of a source: `cc` and six letters from GCC; the source's name, a dash and six digits from clang.
DRIVER_NEUTRAL = b"- *.so *.so.*"
LINKER_NEUTRAL = (
    b"- *.so *.so.* */*crt?.o */crtbegin*.o */crtend*.o */cc??????.o */conftest-??????.o */sanitycheck*-??????.o */testfile-??????.o"
)

# With only these arguments a tool has no input, and prints something or fails. (autoconf 2.71 tries the last two.)
NO_INPUT = frozenset([b"-v", b"-V", b"--verbose", b"-verbose", b"-qversion", b"-version"])


def driver(args: Sequence[bytes]) -> str:
    """Return why this gcc or clang call certainly does not link, "" when it may."""
    if args and args[0] in CC1:
        return COMPILE
    return _probe(args, DRIVER_PROBES, DRIVER_PROBE_PREFIXES, DRIVER_TAKES_NEXT)


def linker(args: Sequence[bytes]) -> str:
    """Return why this linker call certainly does not link, "" when it may. `mold -run make` does not link, but make may."""
    if args and args[0] in MOLD_RUN:
        return "a call that runs another command"
    return _probe(args, LINKER_PROBES, (), LINKER_TAKES_NEXT)


def configure(args: Sequence[bytes], directory: bytes, *, is_driver: bool) -> str:
    """Return the tool whose configure step makes this link, "" for a link of the build. directory: the current one."""
    if len(args) >= CONFIGURE_MOST:
        return ""
    maker = _maker(directory, PLACES)
    if maker:
        return maker
    neutral = (DRIVER_NEUTRAL if is_driver else LINKER_NEUTRAL).split()
    by_inputs = by_output = ""  # the tools that the inputs and the output name
    for is_output, argument in _files(args, DRIVER_TAKES_NEXT if is_driver else LINKER_TAKES_NEXT):
        if is_output:
            by_output = _maker(argument, OUTPUTS) or _OTHER
        elif argument == NO_SOURCE:
            by_inputs = by_inputs or _EMPTY
        elif not any(_is_like(argument, pattern) for pattern in neutral):
            by_inputs = _maker(argument, INPUTS)
            if not by_inputs:
                return ""  # most links end here, at their first input
    if by_output == _OTHER:
        return "kbuild" if by_inputs == _EMPTY else ""
    return "kbuild" if by_inputs == _EMPTY else by_inputs or by_output


def _files(args: Sequence[bytes], taking: bytes) -> Iterator[tuple[bool, bytes]]:
    """Yield (whether it is the output, name) for each file of a link; the name is empty where it is not certain."""
    before = b""
    for argument in args:
        option, before = before, b""
        if option == b"-o":
            yield True, argument
        elif argument.startswith(b"-") and argument != b"-":
            if argument in LINKER_ASKED.split():
                yield False, argument
            elif argument == b"--" or (argument != b"-o" and argument.startswith((b"-o", b"--ou"))):
                yield False, b""  # another spelling of -o, or `--`, after which everything is an input
            before = argument
        elif not option or option not in taking.split():
            yield False, argument


def _maker(argument: bytes, column: int) -> str:
    for maker, row in CONFIGURE:
        if any(_is_like(argument, pattern) for pattern in row[column].split()):
            return maker
    return ""


def _is_like(argument: bytes, pattern: bytes) -> bool:
    """Return whether argument matches pattern as in sh's `case`, as far as the table needs it."""
    first, *rest = pattern.split(b"*")
    if not rest:
        return _is_same(argument, first)
    last = rest.pop()
    at, end = len(first), len(argument) - len(last)
    if end < at or not _is_same(argument[:at], first) or not _is_same(argument[end:], last):
        return False
    for piece in rest:
        at = argument.find(piece, at, end) + len(piece)
        if at < len(piece):
            return False
    return True


def _is_same(text: bytes, pattern: bytes) -> bool:
    return text == pattern or (len(text) == len(pattern) and all(one in (63, other) for one, other in zip(pattern, text)))


def _probe(args: Sequence[bytes], probes: frozenset[bytes], prefixes: tuple[bytes, ...], taking: bytes) -> str:
    if NO_INPUT.issuperset(args):
        return QUESTION
    # Most links hold no such argument; only otherwise the arguments are examined one by one.
    if probes.isdisjoint(args) and not (prefixes and any(arg.startswith(prefixes) for arg in args)):
        return ""
    takes_next = frozenset(taking.split())
    taken = unsure = False
    for arg in args:
        if arg == b"--":
            return ""  # the value of an option for some tools, the end of the options for others
        if taken:
            taken = False
        elif unsure and arg in takes_next:
            continue  # an option, or the value of the last option in the response file: the next argument is not certain either
        elif arg in takes_next:
            taken = True
        elif not unsure and (arg in probes or arg.startswith(prefixes)):
            return COMPILE if arg in _COMPILES else QUESTION
        unsure = arg.startswith(b"@")
    return ""
