"""The warden's methods take and return exactly as many tokens as they report, and the same bytes (C14, C18)."""

from __future__ import annotations

from ldshim.reserve.lease import JobserverLease, Lease
from tests.process.test_jobserver import TOKENS, client
from tests.support.pool import Pool


def test_a_lease_returns_the_tokens_that_it_took() -> None:
    """C14: grow, shrink and release move the same tokens, and a second release returns nothing."""
    with Pool(TOKENS) as pool:
        lease = JobserverLease(client(pool), "recovered")
        assert ("recovered", lease.jobserver.name) == (lease.source, lease.name)
        assert [2, 3, 0] == [lease.grow(2), lease.grow(9), lease.grow(1)]
        lease.shrink(4)
        assert (1, 4, 2) == (lease.held, pool.available(), len(lease.fds()))
        lease.release()
        lease.release()
        assert (0, []) == (lease.held, lease.fds())


def test_a_lease_on_nothing_takes_nothing() -> None:
    """C18: without a source there is only the implicit slot, and every method has no effect."""
    lease = Lease()
    assert 0 == lease.grow(8)
    lease.shrink(8)
    lease.release()
    assert ("none", 0, []) == (lease.source, lease.held, lease.fds())
