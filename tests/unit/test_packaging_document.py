"""Every snippet of ldshim/doc/packaging.md is run by a test: a packager copies it as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import packages

TESTS = [path for path in Path(__file__).parents[1].rglob("test_*.py") if path.name != Path(__file__).name]


def test_every_snippet_has_a_name_that_a_test_asks_for() -> None:
    """Each fenced block stands right below a `<!-- NAME -->` that is written in a test, and each name has a block."""
    text = packages.DOCUMENT.read_text()
    names = re.findall(r"^<!-- (.+) -->\n```", text, re.MULTILINE)
    asked = "".join(path.read_text() for path in TESTS)
    assert [] == [name for name in names if f'"{name}"' not in asked]
    assert [len(names)] * 2 == [text.count("```") // 2, text.count("<!-- ")]


def test_a_snippet_is_the_text_of_its_block_with_our_farm() -> None:
    """The installed directory is exchanged, nothing else; a name that is not there is an error and no empty text."""
    assert "export PATH := /a/farm:$(PATH)\n" == packages.snippet("debian/rules", "/a/farm")
    with pytest.raises(AssertionError, match="no snippet nothing"):
        packages.snippet("nothing")
