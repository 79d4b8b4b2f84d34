"""Hazards of the decision: -flto without LTO, LTO without -flto, and numbers from three sources at once."""

from __future__ import annotations

import pytest

from ldshim import analysis
from ldshim.call.banner import NEWEST, Tool
from ldshim.call.environment import Environment, Settings
from ldshim.command.argv import Facts, Option
from ldshim.command.read import Command
from ldshim.decide import budget, mode
from ldshim.decide.budget import Limits
from ldshim.inputs import scan
from ldshim.inputs.findings import Findings
from ldshim.reserve.lease import Lease


def flto(*values: str | None) -> list[Option]:
    """Return -flto options: None is a bare one."""
    return [Option(None if value is None else value.encode(), 0, b"-flto") for value in values]


def gcc_objects(*recorded: str, **more: int) -> Findings:
    """Return the findings of eight slim GCC objects."""
    found = Findings()
    found.gcc_slim, found.gcc_major = 8, 12
    found.gcc_bytes = found.seen_bytes = 64 << 20
    found.recorded = [word.encode() for word in recorded]
    for name, value in more.items():
        setattr(found, name, value)
    return found


# link line, recorded -> number asked for (0: no ceiling), serial by request
ASKED = [
    ((), ("-flto",), 0, True),
    ((None,), ("-flto",), 0, True),
    (("1",), ("-flto=auto",), 0, True),
    (("auto",), ("-flto",), 0, False),
    (("jobserver",), ("-flto=5",), 0, False),
    (("3",), ("-flto=5",), 3, False),
    (("4", "2"), (), 2, False),
    (("auto", None), ("-flto",), 0, False),
    ((), ("-flto=5", "-flto=7", "-flto"), 7, False),
    ((None,), ("-flto=5",), 5, False),
    ((), ("-flto=5", "-flto=auto"), 0, False),
    (("08",), (), 8, False),
    (("foo",), ("-flto=auto",), 0, True),
]


@pytest.mark.parametrize(("line", "recorded", "asked", "serial"), ASKED)
def test_what_gcc_is_asked_for(line: tuple[str | None, ...], recorded: tuple[str, ...], asked: int, serial: bool) -> None:
    """C9, C19: the last -flto=X of the arguments decides; without one the objects do: auto before numbers, then the largest number."""
    facts = Facts()
    facts.flto = flto(*line)
    assert (asked, serial) == mode.gcc_asked(facts, gcc_objects(*recorded))[:2]


# asked on the link line -> what the link gets from: a jobserver of -j4, no jobserver on 8 CPUs, LDSHIM_JOBS=5 (the table of design §4)
TABLE = [
    ("auto", 4, 8, 5),
    ("jobserver", 4, 8, 5),
    ("3", 3, 3, 3),
    ("6", 4, 6, 5),
    (None, 4, 1, 1),
    ("1", 4, 1, 1),
]


@pytest.mark.parametrize(("asked", "jobserver", "cpus", "pinned"), TABLE)
def test_what_a_gcc_link_gets(asked: str | None, jobserver: int, cpus: int, pinned: int) -> None:
    """The table in design §4, row by row."""
    facts = Facts()
    facts.flto = flto(asked)
    decided = mode.for_gcc(facts, gcc_objects("-flto"), 12)
    limits = Limits(8, "8 CPUs", [])
    settings, pin = Settings(), Settings()
    pin.jobs = 5
    got = [
        budget.for_lto(decided, settings, Lease("jobserver", "pipe 3,4"), limits, 4),
        budget.for_lto(decided, settings, Lease("slots", "8 slots"), limits, 0),
        budget.for_lto(decided, pin, None, limits, 0),
    ]
    assert [(jobserver, "jobserver"), (cpus, "slots" if cpus > 1 else "none"), (pinned, "pin")] == [(one.number, one.source) for one in got]


def test_gcc_links_that_run_nothing_in_parallel() -> None:
    """One partition, IR in and IR out, no make, no plugin: a demand of one, each with its reason."""
    facts = Facts()
    facts.partition = b"none"
    assert mode.for_gcc(facts, gcc_objects(), 12).demand == 1
    facts = Facts()
    facts.relocatable = True
    assert mode.for_gcc(facts, gcc_objects(), 12).demand == 1
    assert mode.for_gcc(facts, gcc_objects(native=1), 12).demand > 1
    facts.linker_output = b"nolto-rel"
    assert mode.for_gcc(facts, gcc_objects(), 12).demand > 1
    assert mode.without_make().demand == 1
    facts = Facts()
    facts.no_lto = True
    assert mode.for_gcc(facts, gcc_objects(), 12).lto == "none"
    assert mode.for_gcc(Facts(), Findings(), 12).lto == "none"


def test_a_gcc_scan_may_stop_when_nothing_can_change() -> None:
    """C24: the scan ends once the IR fills all partitions; never where `-r`, sources or one partition for each object need every input."""
    facts = Facts()
    facts.flto = flto("auto")
    size, asked = mode.enough_for_gcc(facts, 12)
    assert asked
    found = gcc_objects(gcc_bytes=size)
    assert mode.for_gcc(facts, found, 12).demand == 128
    found.gcc_bytes = size - 20_000
    assert mode.for_gcc(facts, found, 12).demand == 127
    found.complete = False
    assert "8 or more objects" in mode.for_gcc(facts, found, 12).reason
    assert mode.for_gcc(facts, found, 12).demand == 128
    assert mode.enough_for_gcc(facts, NEWEST) == mode.enough_for_gcc(facts, 16) > (size, True)
    facts.flto = flto(None)
    assert mode.enough_for_gcc(facts, 12) == (size, False)
    for name, value in (("relocatable", True), ("sources", [b"a.c"]), ("partition", b"1to1")):
        other = Facts()
        setattr(other, name, value)
        assert mode.enough_for_gcc(other, 12) == (0, False)
    facts.relocatable, facts.linker_output = True, b"nolto-rel"
    assert mode.enough_for_gcc(facts, 12) == (size, False)


@pytest.mark.parametrize(("major", "partitions"), [(8, 32), (9, 128), (15, 128), (16, 512)])
def test_partitions_by_gcc_version(major: int, partitions: int) -> None:
    """The default of lto-partitions grew twice; a --param overrides it."""
    facts = Facts()
    assert partitions == mode.for_gcc(facts, gcc_objects(), major).demand
    facts.params = {b"lto-partitions": 7}
    assert mode.for_gcc(facts, gcc_objects(), major).demand == 7


def llvm(thin: int = 0, full: int = 0, **more: object) -> Findings:
    """Return the findings of LLVM modules."""
    found = Findings()
    found.thin, found.full = thin, full
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_llvm_modes() -> None:
    """Thin modules are the demand, full LTO is serial, unified bitcode follows --lto=, fat objects count with --fat-lto-objects."""
    facts = Facts()
    assert (mode.for_llvm(facts, llvm(thin=9)).lto, mode.for_llvm(facts, llvm(thin=9)).demand) == ("thin", 9)
    assert (mode.for_llvm(facts, llvm(full=9)).lto, mode.for_llvm(facts, llvm(full=9)).demand) == ("full", 1)
    assert mode.for_llvm(facts, llvm(fat_thin=4)).lto == "none"
    facts.fat_lto = True
    assert mode.for_llvm(facts, llvm(fat_thin=4)).demand == 4
    facts.lto_kind = b"full"
    assert mode.for_llvm(facts, llvm(thin=9, unified=True)).lto == "full"
    assert mode.for_llvm(facts, llvm(thin=9)).lto == "thin"


def test_links_whose_backends_run_elsewhere_are_not_changed() -> None:
    """C10: index-only and distributed links reserve nothing."""
    facts = Facts()
    facts.index_only = True
    assert (mode.for_llvm(facts, llvm(thin=9)).lto, mode.for_llvm(facts, llvm(thin=9)).demand) == ("index-only", 1)
    facts = Facts()
    facts.distributed = True
    assert (mode.for_llvm(facts, llvm(thin=9)).lto, mode.for_llvm(facts, llvm(thin=9)).demand) == ("distributed", 1)


@pytest.mark.parametrize(("value", "ceiling"), [(b"3", 3), (b"all", 0), (b"0", 0), (b"0x4", 0), (b"", 0), (None, 0)])
def test_explicit_numbers_are_ceilings(value: bytes | None, ceiling: int) -> None:
    """C9: a number bounds what is granted; all, 0 and a value that the tool rejects do not."""
    facts = Facts()
    facts.threads = [Option(b"9", 0, b"--threads")]
    facts.jobs = [Option(b"7", 1, b"--thinlto-jobs")]
    assert mode.explicit(facts) == 7
    facts.jobs = []
    facts.threads = [Option(value, 0, b"--threads")]
    assert ceiling == mode.explicit(facts)


def test_ceilings_of_builders_apply_without_a_jobserver() -> None:
    """C11: DEB_BUILD_OPTIONS and the like are ceilings without a jobserver; the CPUs and LDSHIM_MAX_JOBS bound everything but the pin."""
    decided = mode.Mode("thin", 100, "")
    limits = Limits(8, "8 CPUs", [(3, "DEB_BUILD_OPTIONS")])
    settings = Settings()
    assert budget.for_lto(decided, settings, Lease("slots", "8 slots"), limits, 0).number == 3
    assert budget.for_lto(decided, settings, Lease("recovered", "fifo /x"), limits, 0).number == 8
    settings.max_jobs = 2
    assert budget.for_lto(decided, settings, Lease("recovered", "fifo /x"), limits, 0).number == 2
    settings.jobs = 50
    assert budget.for_lto(decided, settings, Lease("slots", "8 slots"), limits, 0).number == 50


def test_plain_links_have_the_linkers_default_within_bounds() -> None:
    """C23: without LTO the linker's default stays, unless the quota, a pin or a ceiling is lower."""
    settings = Settings()
    assert budget.for_plain(8, 0, settings, Limits(8, "8 CPUs", [])) is None
    quota = budget.for_plain(8, 0, settings, Limits(2, "a quota", []))
    assert (quota is not None, quota.number if quota else 0) == (True, 2)
    assert budget.for_plain(8, 2, settings, Limits(2, "a quota", [])) is None
    settings.jobs = 3
    pinned = budget.for_plain(8, 0, settings, Limits(8, "8 CPUs", []))
    assert (3, "pin") == ((pinned.number, pinned.source) if pinned else (0, ""))


def test_small_plain_links_get_a_small_number() -> None:
    """C23: where a number must be passed, it is at most what the size of the input is worth; with unread input the size does not count."""
    small, large, unseen, inert = llvm(native_bytes=1 << 20), llvm(native_bytes=1 << 30), llvm(other=1), llvm(gcc_fat=1)
    assert [budget.lld_useful(found) for found in (small, large, unseen, inert)] == [1, 513, budget.UNLIMITED, budget.UNLIMITED]
    quota, settings = Limits(4, "a quota", []), Settings()
    said = [budget.for_plain(8, 0, settings, quota, useful) for useful in (1, 3, 4, 100)]
    assert [1, 3, 4, 4] == [one.number for one in said if one]
    assert "by the size of the input" in (said[0].reason if said[0] else "")
    assert budget.for_plain(4, 0, settings, quota, 1) is None
    explicit = budget.for_plain(8, 8, settings, quota, 1)
    assert (explicit.number if explicit else 0) == 4


def test_the_reason_names_the_ir_that_a_mixed_link_compiles() -> None:
    """C8: with both kinds of IR among the inputs, the reason names the one that is compiled, and the one that is ignored."""
    facts = Facts()
    both = llvm(thin=3, gcc_slim=2, fat_full=1)
    assert "3 ThinLTO modules; 2 objects with GCC IR are ignored: LLVM does not read it; 1 FatLTO objects are linked as native code" in (
        mode.for_llvm(facts, both).reason
    )
    assert (
        mode.for_llvm(facts, llvm(gcc_fat=2)).reason
        == "no input holds LLVM bitcode; 2 objects with GCC IR are ignored: LLVM does not read it"
    )
    assert "GCC's plugin ignores 3 modules of LLVM bitcode" in mode.for_gcc(facts, both, 12).reason
    assert "and 2 modules of full LTO" in mode.for_llvm(facts, llvm(thin=3, full=2)).reason
    facts.lto_kind = b"full"
    assert "--lto=full applies to unified bitcode" in mode.for_llvm(facts, llvm(thin=3, unified=True)).reason


@pytest.mark.parametrize(
    ("family", "fact", "value", "reads"),
    [
        ("bfd", "relocatable", True, False),
        ("mold", "relocatable", True, False),
        ("bfd", "plugins", [Option(b"/x/liblto_plugin.so", 0, b"-plugin")], False),  # not below collect2: its -flto is unknown
        ("bfd", "plugins", [Option(b"/x/LLVMgold.so", 0, b"-plugin")], True),
        ("lld", "relocatable", True, True),
        ("lld", "index_only", True, False),
        ("clang", "distributed", True, False),
        ("gcc", "relocatable", True, True),
        ("gcc", "no_lto", True, False),
        ("gcc", "linker_plugin", False, False),
        ("gcc", "fuse_ld", b"lld", True),
    ],
)
def test_inputs_that_decide_nothing_are_not_read(
    family: str, fact: str, value: object, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C23: where the mode does not depend on the inputs, none is opened, and the mode is that of an empty scan."""
    seen = gcc_objects("-flto=9", thin=50, native=3)
    asked: list[object] = []

    def answer(*words: object, **names: object) -> Findings:
        asked.append((words, names))
        return seen

    monkeypatch.setattr(scan, "scan", answer)
    facts = Facts()
    setattr(facts, fact, value)
    tool = Tool(b"")
    tool.family = family
    command = Command(family, facts)
    found = analysis.look_at_inputs(command, tool, Environment([]), Settings())
    assert reads == bool(asked)
    decided, empty = (mode.decide(command, each, "lld", NEWEST) for each in (seen, found))
    assert (decided.lto, decided.demand, decided.asked) == (empty.lto, empty.demand, empty.asked)
