"""Golden records: for every real command line, the family, the mode, the edits and the reason.

A failure here is a change of behaviour. If it is meant, `pytest tests/unit/test_golden.py --update-golden` writes the new records, and the
diff of tests/golden is reviewed. The records run through the analysis without the system (golden_records.py). A sample also runs the
installed command, with tools that print the record's banner and inputs made by real compilers (test_golden_explain.py).
"""

from __future__ import annotations

import json

import pytest

from tests.support import golden_records

RECORDS = golden_records.load()
REPLACED = ("-flto=", "-plugin-opt=jobs=", "jobs=")
ADDED = ("--threads=", "--thinlto-jobs=", "--thread-count", "-plugin-opt=jobs=", "-flto-jobs=", "-Wl,--th", "-Wl,-plugin-opt=jobs=")


@pytest.fixture(scope="session", autouse=True)
def _update(request: pytest.FixtureRequest) -> None:
    """Write all results anew where that was asked for, before any comparison."""
    if not request.config.getoption("--update-golden"):
        return
    for path in golden_records.files():
        records = json.loads(path.read_text())
        for record in records:
            with pytest.MonkeyPatch.context() as patch:
                record["expect"] = golden_records.answer(record, patch)
        golden_records.save(path, records)
    RECORDS.update(golden_records.load())


@pytest.mark.parametrize("name", RECORDS)
def test_the_result_is_the_records(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2 C8 C9 C10 C20: a real command line has the reviewed result: family, mode, number, arguments, variables and reason."""
    record = RECORDS[name]
    assert record["expect"] == golden_records.answer(record, monkeypatch)


def test_there_are_enough_and_each_names_its_origin() -> None:
    """Each record names its origin, and the collection has enough of them."""
    assert len(RECORDS) >= 150
    assert [] == [name for name, record in RECORDS.items() if len(record["from"]) < 10]


@pytest.mark.parametrize("name", RECORDS)
def test_only_arguments_about_jobs_differ(name: str) -> None:
    """C2 C4: without the added and replaced arguments the call is the original, in its order; each such argument is about jobs."""
    record = RECORDS[name]
    left = list(record["argv"])
    for word in record["expect"]["argv"]:
        if left and (left[0] == word or any(left[0].startswith(stem) and word.startswith(stem) for stem in REPLACED)):
            left.pop(0)
        else:
            assert word.startswith(ADDED), word
    assert left == []


@pytest.mark.parametrize("name", RECORDS)
def test_only_make_and_collect_variables_differ(name: str) -> None:
    """C3: only variables that name a jobserver or repeat the driver's options change."""
    changed = set(RECORDS[name]["expect"]["env"])
    assert set() == changed - {"MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS", "COLLECT_GCC_OPTIONS"}
