"""The answers to clients of locks and leases are checked against the log and real time."""

from typing import Final

import pytest

from kvraft.commands import RemoveExpired
from kvraft.raft import InvariantViolated
from kvraft.simulation.lock_client import check_answers, check_reads, check_times, check_tokens
from kvraft.simulation.replay import Replay
from kvraft.simulation.revisions import Asked
from tests.simulation.requests import command, told
from tests.store.log import batch

FIRST: Final = "LOCK l TTL 0.3"
SECOND: Final = "LOCK l TTL 0.5 WAIT 9"
THIRD: Final = "LOCK l TTL 0.7 WAIT 0.1"
WRITE: Final = "TOKEN l 1 SET k v"
LOG: Final = Replay(
    {
        1: batch(1, command(FIRST), command(SECOND), command(THIRD), command(WRITE), time_us=1_000_000),
        2: batch(2, RemoveExpired(), time_us=1_100_000),
        3: batch(3, RemoveExpired(), command(WRITE), time_us=1_300_000),
    }
)


def test_what_happened_is_explained() -> None:
    """A lock that is granted at once, one after a wait, a wait that ended, and a write that came too late."""
    check_answers(
        [
            told(FIRST, {"token": 1, "ttl": 0.3}),
            told(SECOND, {"token": 4, "ttl": 0.5}),
            told(THIRD, {"error": "LOCK_TIMEOUT", "message": ""}),
            told(WRITE, {"status": "OK"}, high=1),
            told(WRITE, {"error": "STALE_TOKEN", "message": "", "token": 4}, low=2),
        ],
        LOG,
    )


@pytest.mark.parametrize(
    "asked",
    [
        told(FIRST, {"token": 2, "ttl": 0.3}),
        told(SECOND, {"token": 3, "ttl": 0.5}),
        told(SECOND, {"error": "LOCK_TIMEOUT", "message": ""}),
        told(THIRD, {"token": 4, "ttl": 0.7}),
        told(WRITE, {"status": "OK"}, low=2),
        told(FIRST, {"token": 1, "ttl": 0.3}, low=1),
    ],
)
def test_what_did_not_happen_is_not_explained(asked: Asked) -> None:
    """Another token, another end of a wait, and a command that was not carried out meanwhile."""
    with pytest.raises(InvariantViolated):
        check_answers([asked], LOG)


LEASES: Final = Replay(
    {
        1: batch(1, command("LEASE GRANT 0.3"), command("CAS k LEASE 1 ABSENT v"), time_us=1_000_000),
        2: batch(2, command("SET other v"), time_us=1_300_000),
        3: batch(3, RemoveExpired(), time_us=1_400_000),
    }
)


def test_what_is_told_of_locks_and_leases_stood_there() -> None:
    """A holder with its queue, a lease with its keys, and what each has left at most."""
    check_reads(
        [
            told("LEADER l", {"token": None}, high=1),
            told("LEADER l", {"token": 1, "owner": "", "ttl": 0.3, "waiting": 2}, high=1),
            told("LEADER l", {"token": 1, "owner": "", "ttl": 0.1, "waiting": 1}, low=2, high=2),
        ],
        LOG,
    )
    check_reads(
        [
            told("LEASE INFO 1", {"lease": 1, "granted": 0.3, "key_count": 1, "ttl": 0.2}, low=1, high=1),
            told("LEASE INFO 1", {"error": "NO_SUCH_LEASE", "message": ""}, low=2, high=2),
        ],
        LEASES,
    )


@pytest.mark.parametrize(
    ("asked", "log"),
    [
        (told("LEADER l", {"token": None}, low=1, high=2), LOG),
        (told("LEADER l", {"token": 1, "owner": "", "ttl": 0.0, "waiting": 1}, low=3), LOG),
        (told("LEADER l", {"token": 1, "owner": "", "ttl": 0.3, "waiting": 1}, low=2, high=2), LOG),
        (told("LEADER l", {"token": 1, "owner": "", "ttl": 0.1, "waiting": 2}, low=2, high=2), LOG),
        (told("LEASE INFO 1", {"lease": 1, "granted": 0.3, "key_count": 1, "ttl": 0.0}, low=2, high=2), LEASES),
        (told("LEASE INFO 1", {"lease": 1, "granted": 0.3, "key_count": 0, "ttl": 0.2}, low=1, high=1), LEASES),
        (told("LEASE INFO 1", {"error": "NO_SUCH_LEASE", "message": ""}, low=1, high=1), LEASES),
    ],
)
def test_what_is_told_of_locks_and_leases_and_was_never_so_is_found(asked: Asked, log: Replay) -> None:
    """A client without the lock, a lease whose time is over, and more time than there is."""
    with pytest.raises(InvariantViolated):
        check_reads([asked], log)


def test_a_replay_hides_the_keys_of_a_lease_that_has_ended() -> None:
    """From the stamp on by which its time is over, also while the keys are not removed yet."""
    before, hidden = LEASES.window(1, 1)[-1], LEASES.window(2, 2)[-1]

    assert sorted(LEASES.visible(before)) == [b"k"]
    assert sorted(LEASES.visible(hidden)) == [b"other"]
    assert b"k" in LEASES.twin.states[hidden.revision]


def test_tokens_grow_and_guard() -> None:
    """A token below one in an earlier answer, and a write under it, are found; what runs at the same time may be."""
    later = told(FIRST, {"token": 7, "ttl": 0.3}, 1.0)
    check_tokens([later, told(WRITE, {"status": "OK"}, 1.05), told("LEADER l", {"token": 7, "waiting": 0}, 2.0)])

    for asked in (
        told(WRITE, {"status": "OK"}, 2.0),
        told("RENEW l 1", {"token": 1, "ttl": 0.3}, 2.0),
        told("LEADER l", {"token": 6, "waiting": 0}, 2.0),
    ):
        with pytest.raises(InvariantViolated):
            check_tokens([later, asked])


def test_what_is_lost_before_its_time_is_found() -> None:
    """A later token, or a lease that is not there, unless it was given back or has moved (row 42)."""
    lock, other = told("LOCK l TTL 2", {"token": 3, "ttl": 2.0}), told("LOCK l TTL 1", {"token": 5, "ttl": 1.0}, 1.0)
    lease = told("LEASE GRANT 2", {"lease": 1, "ttl": 2.0})
    gone = told("LEASE KEEPALIVE 1", {"error": "NO_SUCH_LEASE", "message": ""}, 1.0)

    for asked in ([lock, other], [lease, gone]):
        with pytest.raises(InvariantViolated, match="it was lost, and it should have lasted"):
            check_times(asked)
    check_times([lock, other, told("UNLOCK l 3", {"status": "OK"}, 0.5)])
    check_times([lock, other, told("RENEW l 3 TTL 0.1", {"token": 3, "ttl": 0.1}, 0.5)])
    check_times([lease, gone, told("LEASE REVOKE 1", {"status": "OK", "revision": 0}, 0.5)])
    check_times([lock, told("LOCK l TTL 1", {"token": 5, "ttl": 1.0}, 2.0)])
