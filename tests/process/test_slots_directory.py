"""The directory we share with ourselves: found, made, verified each time, and refused when it is not ours alone (C16)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldshim.call import own_directory
from ldshim.call.environment import Environment
from tests.support import tools

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


def get(**variables: str) -> Callable[[bytes], bytes]:
    """Answer as Environment.get does."""
    return Environment([(name.encode(), value.encode()) for name, value in variables.items()]).get


def hand_over(path: Path) -> None:
    """Give a path to another user."""
    if os.geteuid() != 0:
        tools.missing("root, to own files as another user")
    os.chown(path, 65534, 65534)


def test_the_users_runtime_directory_is_preferred(tmp_path: Path) -> None:
    """C16: $XDG_RUNTIME_DIR/ldshim, mode 0700, made when it is missing and taken as it is afterwards."""
    tmp_path.chmod(0o700)
    expected = bytes(tmp_path / "ldshim")
    assert [expected, expected] == [own_directory.directory(get(XDG_RUNTIME_DIR=f"{tmp_path}/"), tmp=b"/nowhere") for _ in range(2)]
    assert 0o40700 == (tmp_path / "ldshim").stat().st_mode


@pytest.mark.parametrize("runtime", ["", "relative", "missing", "open to all", "foreign"])
def test_a_runtime_directory_that_is_none_is_not_used(runtime: str, tmp_path: Path) -> None:
    """C16: unset, relative, missing, writable by others or left over from another user: the fallback below /tmp serves."""
    named = tmp_path / "run"
    if runtime in ("open to all", "foreign"):
        named.mkdir()
        named.chmod(0o777 if runtime == "open to all" else 0o700)
        if runtime == "foreign":
            hand_over(named)
    value = runtime if runtime in ("", "relative") else str(named)
    found = own_directory.directory(get(XDG_RUNTIME_DIR=value), tmp=bytes(tmp_path))
    assert bytes(tmp_path / f"ldshim-{os.geteuid()}") == found


@pytest.mark.parametrize(
    ("kind", "objection"),
    [
        ("foreign", "belongs to user 65534"),
        ("writable", "can be written by others"),
        ("link", "is not a directory"),
        ("file", "is not a directory"),
    ],
)
def test_a_directory_that_somebody_else_made_is_refused(kind: str, objection: str, tmp_path: Path) -> None:
    """C16: not ours alone means refused, with the path and the reason, before and after it is opened, and it is left as it was."""
    path = tmp_path / f"ldshim-{os.geteuid()}"
    if kind == "link":
        target = tmp_path / "target"
        target.mkdir(0o700)
        path.symlink_to(target)
    elif kind == "file":
        path.touch()
    else:
        path.mkdir(0o700)
    if kind == "foreign":
        hand_over(path)
    elif kind == "writable":
        path.chmod(0o770)
    before = path.lstat()
    assert f"{path} {objection}" == own_directory.directory(get(), tmp=bytes(tmp_path))
    opened = own_directory.open_directory(bytes(path))
    assert isinstance(opened, str)
    assert str(path) in opened
    assert before == path.lstat()


def test_a_directory_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """C16: no place at all is a reason, not an error."""
    place = tmp_path / "nowhere"
    expected = f"{place}/ldshim-{os.geteuid()} cannot be made: No such file or directory"
    assert expected == own_directory.directory(get(), tmp=bytes(place))


def test_fakeroot_shares_the_real_users_directory() -> None:
    """C16: under fakeroot the directory is that of the user who really runs it, and it is accepted as ours."""
    fakeroot = tools.need("fakeroot")
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from ldshim.call import own_directory\n"
        "path = own_directory.directory(lambda name: b'', tmp=os.fsencode(sys.argv[1]))\n"
        "print(os.geteuid(), path, isinstance(own_directory.open_directory(path), int))\n"
    )
    setpriv = [tools.need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # not below pytest's, which only its owner may enter
        hand_over(Path(place))
        command = [*setpriv, fakeroot, "/usr/bin/python3", "-c", code, place]
        said = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, check=True).stdout
        path = os.fsencode(place) + b"/ldshim-65534"
        assert f"0 {path!r} True" == said.decode().strip()
