"""The warden's verbs move somebody else's tokens: as many as they say, and the same ones back (C14, C18)."""

from __future__ import annotations

from ldshim.reserve.lease import JobserverLease, Lease
from tests.process.test_jobserver import TOKENS, client
from tests.support.pool import Pool


def test_a_lease_speaks_for_its_jobserver() -> None:
    """C14: the warden's verbs move the same tokens, and releasing twice gives back once."""
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
    """C18: without a source there is only the implicit thread, and every verb is harmless."""
    lease = Lease()
    assert 0 == lease.grow(8)
    lease.shrink(8)
    lease.release()
    assert ("none", 0, []) == (lease.source, lease.held, lease.fds())
