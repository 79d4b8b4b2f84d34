"""Decide whether lld's ThinLTO backends may run as processes: only with options that are known to give the same bytes (C28). Pure.

The problem: the clang command lines that lld writes for its backends repeat only some of lld's options. A missing option may change the
object, while the link still ends with 0. The consequence: a positive list. Every option must be in one of the tables below, either because
it cannot affect code generation, or because the outputs of lld 23.1.4 and clang 23.1.4 were compared (the rows with a version;
tests/toolchain/test_backends_lld.py runs each again). Some options need an argument for the compiler, the mend. With any other option the
link stays in process, and the reason names the option.

Only for x86-64, which was measured, and for modules that name their CPU, as clang writes them (inputs/bitcode.py, `is_measured`).
"""

from __future__ import annotations

from ..command import lld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..command.argv import Arguments
    from ..inputs.findings import Findings

OLDEST = 22  # lld 21 has the options, but its output was not compared

# Options that cannot reach code generation: they concern names, places, layout, symbols and messages of the linker itself. Without dashes.
NEUTRAL = frozenset(b"""
    ( ) E EL F L M N O R S T Tbss Tdata Ttext Ttext-segment V X allow-multiple-definition allow-shlib-undefined as-needed auxiliary
    build-id call-graph-ordering-file call-graph-profile-sort color-diagnostics compress-debug-sections cref demangle dependency-file
    dependent-libraries discard-all discard-locals discard-none disable-new-dtags dynamic-linker dynamic-list e eh-frame-hdr
    enable-new-dtags end-group end-lib entry error-limit exclude-libs export-dynamic export-dynamic-symbol export-dynamic-symbol-list f
    filter fini g gc-sections gdb-index gnu-unique h hash-style icf image-base init keep-unique l library library-path m Map
    merge-exidx-entries mmap-output-file n no-allow-shlib-undefined no-as-needed no-color-diagnostics no-demangle no-dependent-libraries
    no-dynamic-linker no-eh-frame-hdr no-export-dynamic no-fatal-warnings no-gc-sections no-gdb-index no-gnu-unique no-mmap-output-file
    no-nmagic no-omagic no-print-gc-sections no-print-icf-sections no-relax no-rosegment no-undefined no-undefined-version
    no-warn-backrefs no-warn-common no-warn-mismatch no-warn-symbol-ordering no-whole-archive nmagic nostdlib o omagic orphan-handling
    output pack-dyn-relocs package-metadata plugin pop-state print-gc-sections print-icf-sections print-map push-state relax
    retain-symbols-file rosegment rpath rpath-link rsp-quoting s script section-start soname sort-common sort-section start-group
    start-lib strip-all strip-debug symbol-ordering-file sysroot t threads trace trace-symbol u undefined undefined-version
    unresolved-symbols v version-script warn-backrefs warn-common warn-symbol-ordering warn-unresolved-symbols whole-archive x y z
    Bsymbolic Bsymbolic-functions Bno-symbolic Bstatic Bdynamic Bshareable dn dy call_shared non_shared static
""".split())  # fmt: skip

# What makes the output position independent or not; of the first two the last counts.
PIE = (b"pie", b"pic-executable")
NOT_PIE = (b"no-pie", b"no-pic-executable")
SHARED = (b"shared", b"Bshareable")


class Spread:
    """How ldshim runs the backends of a link as processes.

    python: the interpreter with its options; place: the directory of what it runs (backends/); compiler, mends: for lld's backends, b"" and
    [] for GCC's, whose command lines lto-wrapper writes.
    """

    __slots__ = ("compiler", "mends", "place", "python")

    def __init__(self, python: list[bytes], place: bytes, compiler: bytes = b"", mends: list[bytes] | None = None) -> None:
        self.python = python
        self.place = place
        self.compiler = compiler
        self.mends = mends or []


class Row:
    """An LTO option that gives the same bytes. option: without dashes; value: b"*" for any; mend: for the compiler; seen: versions."""

    __slots__ = ("mend", "option", "seen", "value")

    def __init__(self, option: bytes, value: bytes, seen: str, mend: tuple[bytes, ...] = ()) -> None:
        self.option = option
        self.value = value
        self.mend = mend
        self.seen = seen


ROWS = (
    Row(b"thinlto-jobs", b"*", "23"),
    Row(b"plugin-opt", b"jobs=*", "23"),
    Row(b"lto-O", b"2", "23"),
    Row(b"lto-O", b"3", "23"),
    Row(b"plugin-opt", b"O2", "23"),
    Row(b"plugin-opt", b"O3", "23"),
    Row(b"plugin-opt", b"mcpu=*", "23"),
    Row(b"plugin-opt", b"thinlto", "23: from clang, ignored"),
    Row(b"plugin-opt", b"-pass-through=*", "23: for GCC's plugin, ignored"),
    Row(b"plugin-opt", b"-fresolution=*", "23: for GCC's plugin, ignored"),
    Row(b"thinlto-cache-dir", b"*", "23: what the cache has is not handed out"),
    Row(b"thinlto-cache-policy", b"*", "23"),
    Row(b"lto-whole-program-visibility", b"", "23"),
    Row(b"no-lto-whole-program-visibility", b"", "23"),
    Row(b"fat-lto-objects", b"", "23"),
    Row(b"no-fat-lto-objects", b"", "23"),
    Row(b"mllvm", b"-import-instr-limit=*", "23"),
    Row(b"mllvm", b"-code-model=large", "23", (b"-mcmodel=large",)),
    Row(b"lto-basic-block-sections", b"all", "23", (b"-fbasic-block-sections=all",)),
)

NO_PIE = b"-fno-pie"  # lld passes -fpic where the output is PIC, and nothing elsewhere: then clang's default would count
ALWAYS = b"--no-default-config"  # lld does not read a clang.cfg beside clang


class Verdict:
    """Whether a link may be distributed. reason: why not, one clause, "" where it may; mends: arguments for the compiler."""

    __slots__ = ("mends", "reason")

    def __init__(self, reason: str, mends: list[bytes] | None = None) -> None:
        self.reason = reason
        self.mends = mends or []


def judge(arguments: Arguments, major: int, pending: bool, found: Findings) -> Verdict:
    """Judge one call of ld.lld. arguments: response files expanded; major: of lld; pending: as in Facts; found: all of its inputs."""
    if major < OLDEST:
        return Verdict(f"lld {major} was not compared: backends run as processes with lld {OLDEST} and later")
    if pending:
        return Verdict("nothing can be added to the arguments")
    if not found.complete:
        return Verdict("not all inputs could be read")
    if found.unmeasured:
        return Verdict(f"{found.unmeasured}: not a module for x86-64 that names its CPU, as clang writes them")
    return _judge_options(arguments)


def _judge_options(arguments: Arguments) -> Verdict:
    pie, shared, mends = False, False, [ALWAYS]
    for name, value, shown in _options(arguments):
        if name in SHARED:
            shared = True
        elif name in PIE or name in NOT_PIE:
            pie = name in PIE
        elif name in (b"r", b"relocatable"):
            return Verdict("-r: whether a module is PIC is not known to the compiler")
        elif name not in NEUTRAL:
            row = _row(name, value)
            if row is None:
                return Verdict(f"{shown.decode('utf-8', 'backslashreplace')} is not known to give the same bytes")
            mends += row.mend
    return Verdict("", [*dict.fromkeys(mends), *([] if pie or shared else [NO_PIE])])


def _options(arguments: Arguments) -> list[tuple[bytes, bytes, bytes]]:
    """Return the options: (name without dashes, value, as written)."""
    found = []
    skip = 2 if arguments.text[:1] == [b"-flavor"] else 0
    text, at = arguments.text, skip
    while at < len(text):
        argument = text[at]
        at += 1
        if argument == b"--":
            break
        if not argument.startswith(b"-") or argument == b"-":
            continue
        row, value, following = lld.TABLE.find(argument)
        spelling = argument[: len(argument) - len(value)] if row is not None and value is not None else argument
        shown = argument
        if following:
            value = text[at + following - 1] if at + following <= len(text) else b""
            shown = b"%b %b" % (argument, value)
            at += following
        name, equals, joined = spelling.lstrip(b"-").partition(b"=")
        found.append((name, value if value is not None else joined if equals else b"", shown))
    return found


def _row(name: bytes, value: bytes) -> Row | None:
    for row in ROWS:
        if row.option == name and (value.startswith(row.value[:-1]) if row.value.endswith(b"*") else value == row.value):
            return row
    return None
