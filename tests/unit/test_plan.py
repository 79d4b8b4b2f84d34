"""Hazard between packages: the -j of one make counts for the jobserver of another."""

from __future__ import annotations

import pytest

from ldshim.call.environment import Environment
from ldshim.reserve import makeflags, source
from tests.support.pool import Pool


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MAKEFLAGS": " -j4 --jobserver-auth=3,4"}, 4),
        ({"CARGO_MAKEFLAGS": "-j --jobserver-fds=6,7 --jobserver-auth=6,7", "MAKEFLAGS": " -j1"}, 0),
        ({"MAKEFLAGS": " -j4 --jobserver-auth=3,4", "MFLAGS": "-j8 --jobserver-auth=3,4"}, 8),
        ({}, 0),
    ],
)
def test_the_size_of_the_pool_is_known_only_if_every_variable_has_it(variables: dict[str, str], expected: int) -> None:
    """C11: cargo's jobserver under `make -j1` is not one job wide."""
    environment = Environment([(name.encode(), value.encode()) for name, value in variables.items()])
    assert expected == makeflags.pool_size(environment)


def test_the_ceiling_is_the_j_beside_the_jobserver() -> None:
    """C11: the ceiling of a jobserver is the -j in the same variable."""
    with Pool(b"abc") as pool:
        cargo = pool.makeflags.replace("-j4", "-j").encode()
        found = source.find_jobserver([("CARGO_MAKEFLAGS", cargo), ("MAKEFLAGS", b" -j1")], may_recover=False)
        assert (found.lease.source, found.client.jobs if found.client else None) == ("jobserver", 0)
        found.lease.release()
        found = source.find_jobserver([("MAKEFLAGS", pool.makeflags.encode())], may_recover=False)
        assert (found.client.jobs if found.client else None) == 4
        found.lease.release()
