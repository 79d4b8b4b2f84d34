"""Which process is asked for a withheld jobserver, and what makes us leave it alone: every reason, on a /proc of our own (C11, C12).

The tree is made of files, but the descriptors in it are real: `fd/3` is a symbolic link to one of this process, so what is opened, read and
given back is a real pipe with real tokens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest

from ldshim.reserve import jobserver, makeflags, parent_make, recover
from ldshim.reserve.jobserver import Jobserver
from tests.support.pool import Pool

TOKENS = b"\x00a\xff"
USER = "1000\t1000\t1000\t1000"
WORDS = b" -j4 --jobserver-auth=3,4 --jobserver-auth=-2,-2"


class Tree:
    """A /proc with a line of ancestors: this process, a shell (50), a make (40), another make above (30), init."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = os.getpid()
        (root / "self").symlink_to(str(self.own))
        self.process(self.own, 50, "/usr/bin/python3.11")
        self.process(50, 40, "/usr/bin/dash")
        self.process(40, 30, "/usr/bin/make")
        self.process(30, 1, "/usr/bin/make")
        self.process(1, 0, "/sbin/init", "0\t0\t0\t0")
        self.environment(50, WORDS)

    def process(self, pid: int, parent: int, executable: str, user: str = USER) -> None:
        """Add one process, or change it."""
        place = self.root / str(pid)
        (place / "fd").mkdir(parents=True, exist_ok=True)
        (place / "fdinfo").mkdir(exist_ok=True)
        (place / "status").write_text(f"Name:\tx: y\nPPid:\t{parent}\nUid:\t{user}\nNSpid:\t{pid}\n")
        (place / "stat").write_text(f"{pid} (a ) b) S {parent} " + " ".join(["0"] * 17) + " 777 0\n")
        (place / "exe").unlink(missing_ok=True)
        (place / "exe").symlink_to(executable)
        self.environment(pid, b"")

    def environment(self, pid: int, words: bytes | None) -> None:
        """Say what a process was started with: MAKEFLAGS, or None for an environment without it."""
        entries = [b"OTHER=1"] + ([] if words is None else [b"MAKEFLAGS=" + words])
        (self.root / str(pid) / "environ").write_bytes(b"\0".join(entries) + b"\0")

    def opened(self, pid: int, number: int, fd: int, flags: int) -> None:
        """Let a process have a descriptor of ours open, under its own number."""
        (self.root / str(pid) / "fd" / str(number)).symlink_to(f"/proc/self/fd/{fd}")
        (self.root / str(pid) / "fdinfo" / str(number)).write_text(f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t14\n")

    def pipe(self, pid: int, pool: Pool, numbers: tuple[int, int] = (3, 4)) -> None:
        """Let a process have both ends of a pool open."""
        self.opened(pid, numbers[0], pool.read_fd, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.opened(pid, numbers[1], pool.write_fd, os.O_WRONLY | os.O_CLOEXEC)

    def remove(self, name: str) -> None:
        """Take one entry away."""
        (self.root / name).unlink()

    def write(self, name: str, text: str) -> None:
        """Let one entry say something else."""
        (self.root / name).write_text(text)

    def link(self, name: str, target: str) -> None:
        """Let a symbolic link point elsewhere."""
        self.remove(name)
        (self.root / name).symlink_to(target)

    def recover(self) -> Jobserver | str:
        """Recover by this tree."""
        return recover.recover(bytes(self.root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Provide the tree; nothing in it has the jobserver open yet."""
    return Tree(tmp_path)


@pytest.mark.parametrize("words", [WORDS, b"k -j4 --jobserver-auth=3,4", b" --jobserver-fds=3,4 -j"], ids=["4.4", "4.3", "4.1"])
def test_tokens_of_the_nearest_make_come_and_go(tree: Tree, words: bytes) -> None:
    r"""C11, C14: the pair that make withheld is opened anew in that make, and \x00 and \xff come back as they were."""
    tree.environment(50, words)
    with Pool(TOKENS) as pool, Pool(b"mine") as above:
        tree.pipe(40, pool)
        tree.pipe(30, above)
        found = tree.recover()
        assert isinstance(found, Jobserver)
        assert ("pipe 3,4 of make 40", (), 3) == (found.name, found.callers_fds, found.take(9))
        assert min(found.fds()) >= 100
        found.close()
        assert 4 == above.available()


def test_the_words_are_those_that_make_gave(tree: Tree) -> None:
    """C11: the head of the recipe decides, not what a shell, GCC's driver or a stranger below made of MAKEFLAGS."""
    tree.environment(tree.own, b" -j4 --jobserver-auth=7,8")
    with Pool(TOKENS) as pool, Pool(b"strange") as stranger:
        tree.pipe(40, pool)
        tree.pipe(40, stranger, (7, 8))
        found = tree.recover()
        assert isinstance(found, Jobserver)
        assert ("pipe 3,4 of make 40", 3) == (found.name, found.take(9))
        found.close()
        assert 7 == stranger.available()


def test_a_head_without_the_variable_is_passed_over(tree: Tree) -> None:
    """C11: `env -i` in front loses the variable; the next process down the recipe that has it speaks for make."""
    tree.environment(50, None)
    tree.environment(tree.own, WORDS)
    with Pool(TOKENS) as pool:
        tree.pipe(40, pool)
        found = tree.recover()
        assert isinstance(found, Jobserver)
        found.close()


@pytest.mark.parametrize("name", ["make", "gmake", "make-4.3", "gmake-4.4.1", "make (deleted)", "gnumake", "remake"])
def test_a_make_is_known_by_what_it_runs(tree: Tree, name: str) -> None:
    """C11: /proc/PID/exe names make, also a second version and one that was upgraded while it ran."""
    tree.process(40, 30, f"/opt/x/{name}")
    found = parent_make.find(bytes(tree.root))
    assert isinstance(found, parent_make.Recipe)
    assert (40, [50, tree.own]) == (found.make, found.chain)


@pytest.mark.parametrize("name", ["cmake", "make-initrd", "qmake", "make.py", "python3", "makepkg"])
def test_what_only_sounds_like_make_is_passed_by(tree: Tree, name: str) -> None:
    """C11: the nearest real make is asked, and nobody who is called something like it."""
    tree.process(50, 40, f"/usr/bin/{name}")
    found = parent_make.find(bytes(tree.root))
    assert isinstance(found, parent_make.Recipe)
    assert 40 == found.make


def test_a_fifo_that_a_driver_deleted_is_opened(tree: Tree) -> None:
    """C11: GCC's driver up to 12 deletes `fifo:` too; the make's own words still name it."""
    with Pool(TOKENS, "fifo") as pool:
        tree.environment(50, pool.makeflags.encode())
        tree.environment(tree.own, b" -j4 ")
        found = tree.recover()
        assert isinstance(found, Jobserver)
        assert (f"fifo {pool.path}", 3) == (found.name, found.take(3))
        found.close()


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        (parent_make.FOREIGN_PROC, lambda tree: tree.remove("self")),
        (parent_make.FOREIGN_PROC, lambda tree: tree.link("self", "50")),  # another namespace's: the pid is not ours
        (parent_make.FOREIGN_PROC, lambda tree: tree.write(f"{tree.own}/status", f"PPid:\t50\nUid:\t{USER}\nNSpid:\t4711\t{tree.own}\n")),
        (parent_make.NO_MAKE, lambda tree: (tree.process(40, 30, "/usr/bin/ninja"), tree.process(30, 1, "/usr/bin/ninja"))),
        (parent_make.NO_MAKE, lambda tree: tree.process(50, 0, "/usr/bin/dash")),  # the make is outside our PID namespace
        (parent_make.OTHER_USER, lambda tree: tree.process(50, 40, "/usr/bin/sudo", "1000\t0\t0\t0")),
        (parent_make.OTHER_USER, lambda tree: tree.process(40, 30, "/usr/bin/make", "0\t0\t0\t0")),
        (parent_make.UNREADABLE, lambda tree: tree.remove("50/status")),  # hidepid
        (parent_make.UNREADABLE, lambda tree: tree.remove("50/exe")),
        (parent_make.UNREADABLE, lambda tree: tree.remove("50/environ")),
        (parent_make.NO_MAKEFLAGS, lambda tree: (tree.environment(50, None), tree.environment(tree.own, None))),
        (recover.SERIAL, lambda tree: (tree.environment(50, b" -j1"), tree.environment(tree.own, WORDS))),
        (recover.SERIAL, lambda tree: tree.environment(50, b" -j4 --jobserver-auth=-2,-2")),
        (recover.SERIAL, lambda tree: tree.environment(50, b" -j4 --jobserver-auth=3,4 --jobserver-auth=named")),
        (jobserver.DRY_RUN, lambda tree: tree.environment(50, b"n" + WORDS)),
        (recover.NOT_OPEN, lambda tree: tree.remove("40/fd/3")),
        (jobserver.MODES, lambda tree: tree.write("40/fdinfo/4", "pos:\t0\nflags:\t0100000\n")),
        (jobserver.MODES, lambda tree: tree.write("40/fdinfo/3", "pos:\t0\n")),
        (jobserver.NOT_PIPE, lambda tree: (tree.remove("40/fd/3"), tree.write("40/fd/3", "not yours"))),
    ],
)
def test_in_doubt_nothing_is_opened(tree: Tree, reason: str, spoil: Callable[[Tree], object]) -> None:
    """C11, C12: each thing that must hold has its own reason when it does not, and no descriptor and no byte is lost to it."""
    with Pool(TOKENS) as pool:
        tree.pipe(40, pool)
        tree.pipe(30, pool)
        spoil(tree)
        before = os.listdir("/proc/self/fd")
        assert reason == tree.recover()
        assert len(before) == len(os.listdir("/proc/self/fd"))


def test_two_pipes_are_no_jobserver(tree: Tree) -> None:
    """C12: the ends of two different pipes in make are refused, as everywhere."""
    with Pool(TOKENS) as pool, Pool(b"other") as other:
        tree.opened(40, 3, pool.read_fd, os.O_RDONLY)
        tree.opened(40, 4, other.write_fd, os.O_WRONLY)
        assert jobserver.TWO_PIPES == tree.recover()


@pytest.mark.parametrize("meanwhile", ["died", "replaced", "orphaned"])
def test_a_make_that_ends_meanwhile_is_let_go_unread(tree: Tree, meanwhile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C11: a pid proves nothing; when the make or its recipe changed while the pipe was opened, it is closed again unread."""
    real = jobserver.open_pair

    def opened_late(directory: bytes, read_fd: int, write_fd: int, pair: tuple[int, int]) -> tuple[int, int] | str:
        ends = real(directory, read_fd, write_fd, pair)
        if meanwhile == "died":
            tree.remove("40/stat")
        elif meanwhile == "replaced":
            tree.write("40/stat", "40 (x) S 30 " + " ".join(["0"] * 17) + " 778 0\n")
        else:
            tree.process(50, 1, "/usr/bin/dash")
        return ends

    monkeypatch.setattr("ldshim.reserve.recover.open_pair", opened_late)
    with Pool(TOKENS) as pool:
        tree.pipe(40, pool)
        before = os.listdir("/proc/self/fd")
        assert recover.ENDED == tree.recover()
        assert len(before) == len(os.listdir("/proc/self/fd"))


def test_another_pipe_under_the_same_number_is_let_go_unread(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """C12: what was verified and what was opened must be one pipe, or it is closed again unread."""
    with Pool(TOKENS) as pool, Pool(b"other") as other:
        tree.pipe(40, pool)
        real = jobserver.judge_pair

        def swapped(*seen: object) -> tuple[int, int] | str:
            tree.remove("40/fd/3")
            tree.remove("40/fd/4")
            tree.pipe(40, other)
            return real(*seen)  # type: ignore[arg-type]

        monkeypatch.setattr("ldshim.reserve.recover.judge_pair", swapped)
        assert jobserver.TWO_PIPES == tree.recover()


@pytest.mark.parametrize(
    ("make_has", "jobs", "strangers"),
    [("the same", 4, False), ("another", 4, True), ("none", 4, True), ("another", 8, False), ("another user", 4, False)],
)
def test_make_is_asked_whether_a_pair_is_its_own(tree: Tree, make_has: str, jobs: int, strangers: bool) -> None:
    """C12: inherited descriptors under make's own words must be make's own pipe; words of somebody else are not for make to judge."""
    with Pool(TOKENS) as pool, Pool(b"other") as other:
        numbers = pool.read_fd, pool.write_fd
        tree.environment(50, pool.makeflags.encode())
        if make_has != "none":
            tree.pipe(40, pool if make_has == "the same" else other, numbers)
        if make_has == "another user":
            tree.process(40, 30, "/usr/bin/make", "0\t0\t0\t0")
        auth = makeflags.parse(b" -j%d --jobserver-auth=%d,%d" % (jobs, *numbers))
        assert strangers is jobserver._is_other_pipe(auth, bytes(tree.root))


def test_a_reason_is_a_sentence_of_its_own() -> None:
    """The reasons form a closed set: no two of them are the same, so that a log line says which check failed."""
    modules = (parent_make, recover, jobserver, makeflags)
    reasons = {f"{module.__name__}.{name}": value for module in modules for name, value in vars(module).items() if name.isupper()}
    sentences = {name: value for name, value in reasons.items() if isinstance(value, str)}
    assert len({*sentences.values()}) == len({id(value) for value in sentences.values()})
    assert len(sentences) > 20
