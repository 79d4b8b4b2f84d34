"""Read a GCC driver's command line, and the copy of it in COLLECT_GCC_OPTIONS.

In GCC the last option does not always win. `-flto` and `-fno-lto` are one switch, and the last of them is in force. `-flto=X` is another
switch, which nothing cancels. A -fno-lto in force removes the plugin from the link. So `-fno-lto -flto=3` links without LTO, and
`-flto=3 -fno-lto -flto` links with it (opts-common.cc prune_options, gcc.cc LINK_PLUGIN_SPEC). `--lto` and `--no-lto` are older spellings
of the same switches (opts-common.cc option_map).
"""

from __future__ import annotations

from . import driver
from .argv import EITHER, EQUALS, EQUALS_OR_FLAG, EQUALS_OR_SEPARATE, FLAG, JOINED, SEPARATE, Arguments, Facts, Match, Option, Table, rows

TABLE = Table(
    [
        # Options that matter here.
        *rows(EQUALS_OR_FLAG, b"-flto --lto", "flto", "11-16"),
        *rows(FLAG, b"-fno-lto --no-lto", "no-lto", "11-16"),
        *rows(EQUALS, b"-flto-partition --lto-partition", "partition", "11-16"),
        *rows(EQUALS, b"-flinker-output --linker-output", "linker-output", "11-16"),
        *rows(EQUALS, b"-fuse-ld --use-ld", "fuse-ld", "11-16; bfd gold lld, mold since 12, wild since 16"),
        *rows(FLAG, b"-fuse-linker-plugin --use-linker-plugin", "plugin", "11-16"),
        *rows(FLAG, b"-fno-use-linker-plugin --no-use-linker-plugin", "no-plugin", "11-16"),
        *rows(EQUALS_OR_SEPARATE, b"--param", "param", "11-16"),
        *rows(FLAG, b"-r", "relocatable", "11-16"),
        *rows(FLAG, b"-static --static -static-pie --static-pie", "static", "11-16"),
        *rows(EITHER, b"-l", "library", "11 joined only, 12-16"),
        *rows(EITHER, b"-L", "directory", "11-16"),
        *rows(EQUALS_OR_SEPARATE, b"--library-directory", "directory", "11-16"),
        *rows(EQUALS_OR_SEPARATE, b"--sysroot", "sysroot", "11-16"),
        *rows(EITHER, b"-x", "language", "11-16"),
        *rows(EQUALS_OR_SEPARATE, b"--language", "language", "11-16"),
        *rows(JOINED, b"-Wl,", "-Wl", "11-16"),
        *rows(SEPARATE, b"-Xlinker", "-Xlinker", "11-16"),
        *rows(EQUALS_OR_SEPARATE, b"--for-linker", "-Xlinker", "11-16"),
        # Calls that do not link.
        *rows(
            FLAG,
            b"""-c --compile -S --assemble -E --preprocess -M --dependencies -MM --user-dependencies -fsyntax-only --syntax-only -###
            --version --help --target-help -dumpspecs -dumpversion -dumpfullversion -dumpmachine -print-search-dirs
            -print-libgcc-file-name -print-multiarch -print-multi-directory -print-multi-lib -print-multi-os-directory -print-sysroot
            -print-sysroot-headers-suffix --print-search-dirs --print-libgcc-file-name --print-multiarch --print-multi-directory
            --print-multi-lib --print-multi-os-directory --print-sysroot --print-sysroot-headers-suffix""",
            "no-link",
            "11-16",
        ),
        *rows(EQUALS_OR_FLAG, b"--help --completion", "no-link", "11-16"),
        *rows(EQUALS, b"-print-file-name -print-prog-name", "no-link", "11-16"),
        *rows(FLAG, b"-V", "no-link", "rejected by 11-16: nothing is linked. In clang it takes the next argument"),
        *rows(EQUALS_OR_SEPARATE, b"--print-file-name --print-prog-name", "no-link", "11-16"),
        # Options with a value, joined or in the next argument.
        *rows(
            EITHER,
            b"""-A -B -D -F -G -Hd -Hf -I -J -MF -MQ -MT -T -Tbss -Tdata -Ttext -U -Xf -aux-info -e -fintrinsic-modules-path -idirafter
            -imacros -imultilib -include -iprefix -iquote -isysroot -isystem -iwithprefix -iwithprefixbefore -o -u -z""",
            seen="11-16",
        ),
        *rows(EITHER, b"-R -h", seen="11-14"),
        # Options with a value in the next argument only.
        *rows(SEPARATE, b"-Xassembler -Xpreprocessor -dumpbase -dumpbase-ext -dumpdir -gnatO -wrapper", seen="11-16"),
        *rows(SEPARATE, b"--output-pch=", seen="11-12"),
        *rows(SEPARATE, b"--output-pch -imultiarch", seen="12-16"),
        *rows(EITHER, b"-copyext -fcobol-exceptions -fdefaultbyte -findicator-column", seen="16"),
        *rows(EQUALS_OR_SEPARATE, b"-fmodules-map -fmodules-map-file -preprocess -truncate --embed-directory", seen="16"),
        *rows(
            EQUALS_OR_SEPARATE,
            b"""-specs --assert --define-macro --dump --dumpbase --dumpbase-ext --dumpdir --entry --for-assembler --force-link --imacros
            --include --include-directory --include-directory-after --include-prefix --include-with-prefix --include-with-prefix-after
            --include-with-prefix-before --output --prefix --specs --undefine-macro""",
            seen="11-16",
        ),
    ]
)

# Suffixes that gcc compiles (gcc.cc default_compilers and the languages' lang-specs.h).
SOURCES = frozenset(
    b"""c i ii m mi mm M mii cc cp cxx cpp c++ C CPP s S sx f for ftn fi fii F FOR fpp FPP FTN f90 f95 f03 f08 F90 F95 F03 F08 go d di dd
    adb ads mod rs a68 cob cbl cobol COB CBL""".split()
)

PARAMS = (b"lto-partitions", b"lto-min-partition")


def facts(arguments: Arguments) -> Facts:
    """Read a gcc, g++ or gfortran command line."""
    reader = driver.facts(arguments, DIALECT)
    reader.facts.flto, reader.facts.no_lto = survivors(reader.options)
    return reader.finish()


def collect_facts(options: list[bytes]) -> Facts:
    """Read the options of COLLECT_GCC_OPTIONS. Positions are indices into options. It names no inputs, and there is always a link."""
    reader = driver.facts(Arguments.plain(options), DIALECT)
    reader.facts.flto, reader.facts.no_lto = survivors(reader.options)
    return reader.facts


def survivors(options: list[Match]) -> tuple[list[Option], bool]:
    """Return every -flto that is in force, in order, and whether a -fno-lto is in force."""
    bare = [found for found in options if found.row.meaning == "no-lto" or found.value is None]
    last = bare[-1] if bare else None
    in_force = [found.option() for found in options if found.row.meaning == "flto" and (found.value is not None or found is last)]
    return in_force, last is not None and last.row.meaning == "no-lto"


def _remember(reader: driver.Reader, found: Match) -> None:
    reader.options.append(found)


def _partition(reader: driver.Reader, found: Match) -> None:
    reader.facts.partition = found.value or b""


def _linker_output(reader: driver.Reader, found: Match) -> None:
    reader.facts.linker_output = found.value or b""


def _plugin(reader: driver.Reader, _: Match) -> None:
    reader.facts.linker_plugin = True


def _no_plugin(reader: driver.Reader, _: Match) -> None:
    reader.facts.linker_plugin = False


def _param(reader: driver.Reader, found: Match) -> None:
    name, _, value = (found.value or b"").partition(b"=")
    if name in PARAMS and value.isdigit():
        reader.facts.params[name] = int(value[:9])


DIALECT = driver.Dialect(
    TABLE,
    SOURCES,
    {
        "flto": _remember,
        "no-lto": _remember,
        "partition": _partition,
        "linker-output": _linker_output,
        "plugin": _plugin,
        "no-plugin": _no_plugin,
        "param": _param,
    },
    dashdash_ends=False,
)
