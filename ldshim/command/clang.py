"""Read a clang driver's command line.

Of `-flto`, `-flto=X` and `-fno-lto` the last is in force, and no X is a number of jobs. The option for jobs is `-flto-jobs=N`. clang passes
it to the linker as `-plugin-opt=jobs=N`, before everything that it forwards, so a forwarded `--thinlto-jobs` always overrides it. The table
has the options of Darwin and CUDA, because clang parses them on every target. Configuration files are not read.
"""

from __future__ import annotations

from . import driver, linkline
from .argv import (
    EITHER,
    EQUALS,
    EQUALS_OR_FLAG,
    EQUALS_OR_SEPARATE,
    FLAG,
    JOINED,
    JOINED_AND_SEPARATE,
    SEPARATE,
    SEPARATE_2,
    SEPARATE_3,
    Arguments,
    Facts,
    Match,
    Table,
    rows,
)

TABLE = Table(
    [
        # Options that matter here.
        *rows(EQUALS_OR_FLAG, b"-flto", "flto", "14-23; 14-23 refuse a number"),
        *rows(FLAG, b"-fno-lto", "no-lto", "14-23"),
        *rows(EQUALS, b"-flto-jobs", "flto-jobs", "14-23"),
        *rows(EQUALS, b"-flto-partitions", "flto-partitions", "23; 14-19 refuse it"),
        *rows(EQUALS, b"-fthinlto-distributor", "distributor", "21-23"),
        *rows(FLAG, b"-ffat-lto-objects", "fat", "17-23"),
        *rows(FLAG, b"-fno-fat-lto-objects", "no-fat", "17-23"),
        *rows(EQUALS, b"-fuse-ld", "fuse-ld", "14-23"),
        *rows(EQUALS, b"--ld-path", "ld-path", "14-23"),
        *rows(FLAG, b"-r", "relocatable", "14-23"),
        *rows(FLAG, b"-static --static -static-pie --static-pie", "static", "14-23"),
        *rows(EITHER, b"-l", "library", "14-23"),
        *rows(EITHER, b"-L", "directory", "14-23"),
        *rows(EQUALS_OR_SEPARATE, b"--library-directory", "directory", "14-23"),
        *rows(EQUALS_OR_SEPARATE, b"--sysroot", "sysroot", "14-23"),
        *rows(EITHER, b"-x", "language", "14-23"),
        *rows(EQUALS_OR_SEPARATE, b"--language", "language", "14-23"),
        *rows(JOINED, b"-Wl,", "-Wl", "14-23"),
        *rows(SEPARATE, b"-Xlinker -Zlinker-input", "-Xlinker", "14-23"),
        *rows(EQUALS_OR_SEPARATE, b"--for-linker", "-Xlinker", "14-23"),
        # Calls that do not link.
        *rows(
            FLAG,
            b"""-c --compile -S --assemble -E --preprocess -M --dependencies -MM --user-dependencies -fsyntax-only --analyze -emit-ast
            --precompile -rewrite-objc -rewrite-legacy-objc -verify-pch -module-file-info -### --version --help -help --help-hidden
            -ccc-print-phases -ccc-print-bindings -dumpversion -dumpmachine -print-search-dirs --print-search-dirs
            -print-libgcc-file-name --print-libgcc-file-name -print-multi-lib --print-multi-lib -print-multi-directory
            --print-multi-directory -print-multiarch --print-multiarch -print-resource-dir --print-resource-dir -print-runtime-dir
            --print-runtime-dir -print-target-triple --print-target-triple -print-effective-triple --print-effective-triple
            -print-targets --print-targets -print-rocm-search-dirs --print-rocm-search-dirs""",
            "no-link",
            "14-23",
        ),
        *rows(EQUALS, b"--autocomplete -print-file-name -print-prog-name", "no-link", "14-23"),
        *rows(EQUALS_OR_SEPARATE, b"--print-file-name --print-prog-name", "no-link", "14-23"),
        # Options with a value, joined or in the next argument.
        *rows(
            EITHER,
            b"""-A -B -D -F -G -I -MF -MJ -MQ -MT -T -U -V -alias_list -arcmt-migrate-report-output -b -cxx-isystem -e -idirafter
            -iframework -iframeworkwithsysroot -imacros -imultilib -include -include-pch -iprefix -iquote -isysroot -isystem
            -isystem-after -ivfsoverlay -iwithprefix -iwithprefixbefore -iwithsysroot -mthread-model -o -resource-dir -stdlib++-isystem
            -u -undefined -working-directory -z""",
            seen="14-23",
        ),
        # Options with a value in the next argument only.
        *rows(
            SEPARATE,
            b"""-Xanalyzer -Xarch_device -Xarch_host -Xassembler -Xclang -Xclangas -Xcuda-fatbinary -Xcuda-ptxas -Xflang
            -Xmicrosoft-visualc-tools-root -Xmicrosoft-visualc-tools-version -Xmicrosoft-windows-sdk-root -Xmicrosoft-windows-sdk-version
            -Xmicrosoft-windows-sys-root -Xoffload-linker -Xopenmp-target -Xpreprocessor -allowable_client -arch -arch_only
            -bundle_loader -ccc-arcmt-migrate -ccc-gcc-name -ccc-install-dir -ccc-objcmt-migrate -client_name -compatibility_version
            -current_version -darwin-target-variant -darwin-target-variant-triple -dependency-dot -dependency-file -dsym-dir -dumpdir
            -dylib_file -dylinker_install_name -exported_symbols_list -fdebug-compilation-dir -fexperimental-openacc-macro-override
            -filelist -fmodule-implementation-of -fmodules-user-build-path -fnew-alignment -force_load -framework -ftrapv-handler
            -gen-cdb-fragment-path -hlsl-entry -iapinotes-modules -image_base -init -install_name -interface-stub-version=
            -lazy_framework -lazy_library -meabi -mllvm -mmlir -module-dependency-dir -multiply_defined -multiply_defined_unused
            -object-file-name -pagezero_size -read_only_relocs -reexport_framework -reexport_library -rpath -seg1addr -seg_addr_table
            -seg_addr_table_filename -segs_read_only_addr -segs_read_write_addr -serialize-diagnostics -sub_library -sub_umbrella -target
            -umbrella -unexported_symbols_list -validator-version -vfsoverlay -weak_framework -weak_library -weak_reference_mismatches""",
            seen="19; older and newer ones lack some",
        ),
        *rows(EQUALS_OR_SEPARATE, b"-specs", seen="14-23"),
        *rows(JOINED_AND_SEPARATE, b"-Xarch_ -Xopenmp-target=", seen="14-23"),
        *rows(SEPARATE_2, b"-segaddr -sectobjectsymbols", seen="14-23"),
        *rows(SEPARATE_3, b"-sectalign -sectcreate -sectorder -segcreate -segprot", seen="14-23"),
        *rows(
            EQUALS_OR_SEPARATE,
            b"""--CLASSPATH --analyzer-output --assert --bootclasspath --classpath --config --define-macro --dyld-prefix --encoding
            --extdirs --force-link --imacros --include --include-directory --include-directory-after --include-prefix
            --include-with-prefix --include-with-prefix-after --include-with-prefix-before --mhwdiv --no-system-header-prefix --output
            --output-class-directory --param --prefix --resource --rtlib --serialize-diagnostics --specs --std --stdlib
            --system-header-prefix --undefine-macro --vfsoverlay""",
            seen="14-23",
        ),
    ]
)

# Suffixes that clang compiles (clang/lib/Driver/Types.cpp lookupTypeForExtension); every other file is an object.
SOURCES = frozenset(
    b"""c C F f i S s bc cc CC cl clcpp clci cp cu cui ii ll mi mm M m rs adb ads asm ast ccm cir cpp CPP c++ c++m cppm cxx cxxm CXX f03
    f08 f90 f95 F03 F08 F90 F95 for FOR fpp FPP gch hip hipi hlsl i90 ifs iih iim ixx mii mlir pch pcm""".split()
)

CC1 = (b"-cc1", b"-cc1as", b"-cc1gen-reproducer")


def facts(arguments: Arguments) -> Facts:
    """Read a clang or clang++ command line."""
    reader = driver.facts(arguments, DIALECT)
    out = reader.facts
    if arguments.text and arguments.text[0] in CC1:
        out.links, out.why_not = False, f"{arguments.text[0].decode()}: a compile"
    deciding = reader.options[-1] if reader.options else None
    if deciding is not None and deciding.row.meaning == "flto":
        out.flto = [deciding.option()]
    out.no_lto = deciding is not None and not out.flto
    out.fat_lto = out.fat_lto and bool(out.flto)
    out.partitions = out.partitions if out.flto else 0  # `finish` reads the forwarded options, which come after clang's own
    return reader.finish()


def _remember(reader: driver.Reader, found: Match) -> None:
    reader.options.append(found)


def _jobs(reader: driver.Reader, found: Match) -> None:
    reader.facts.jobs.append(found.option())


def _partitions(reader: driver.Reader, found: Match) -> None:
    reader.facts.partitions = linkline.count(found.value or b"")


def _distributor(reader: driver.Reader, _: Match) -> None:
    reader.facts.distributed = True


def _fat(reader: driver.Reader, _: Match) -> None:
    reader.facts.fat_lto = True


def _no_fat(reader: driver.Reader, _: Match) -> None:
    reader.facts.fat_lto = False


def _ld_path(reader: driver.Reader, found: Match) -> None:
    reader.facts.ld_path = found.value or b""


DIALECT = driver.Dialect(
    TABLE,
    SOURCES,
    {
        "flto": _remember,
        "no-lto": _remember,
        "flto-jobs": _jobs,
        "flto-partitions": _partitions,
        "distributor": _distributor,
        "fat": _fat,
        "no-fat": _no_fat,
        "ld-path": _ld_path,
    },
    dashdash_ends=True,
)
