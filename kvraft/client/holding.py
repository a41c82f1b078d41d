"""Locks and leases, which are held for a time: when to renew one, and until when it is certainly held. It does no I/O.

The time to live counts from before the request was sent, by the clock of this machine. So this client stops using a
lock before the cluster grants it to another client, whatever the network does. A process that was paused may continue
after its time to live is over. So its writes carry a token, and fail when the lock is no longer held with that token.
"""

import uuid
from typing import Final

import msgspec

from kvraft.client.errors import ClientError, InvalidRequest, Unavailable
from kvraft.client.numbers import time_to_live
from kvraft.client.quoting import argument
from kvraft.client.requests import Answer, Effect, Request, T
from kvraft.client.values import Text, content, to_bytes

RENEWALS: Final = 3
"""Renewals in one time to live: a third of it passes between two, so that one may fail."""
RETRY_S: Final = 0.1
"""Pause after a renewal that failed, seconds."""
WAIT_S: Final = 10.0
"""Longest wait for a lock in one request, seconds. For a longer wait the request is repeated."""
TTL_S: Final = 10.0
"""Default time to live of a lock or lease, seconds: it becomes free this long after its holder has died."""
IDENTITY_BYTES_MAX: Final = 95
"""Longest identity of a lock's holder: an owner name has at most 128 bytes, of which 33 make it unique."""
_GONE: Final = frozenset({"STALE_TOKEN", "NO_SUCH_LEASE", "NO_SUCH_LOCK"})
_AGAIN: Final = frozenset({"LOCK_TIMEOUT", "SUPERSEDED"})
"""Answers to a LOCK after which it is sent again, until the caller's wait is over."""
ANSWER_S: Final = 10.0
"""Longest time for the answer to a LOCK, beyond its wait, seconds."""


class Held:
    """A lock or lease: it is held for a time to live from each renewal on."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s: Final = time_to_live(ttl_s)
        self.deadline = 0.0
        """Until this time it is certainly held."""
        self.renew_at = 0.0
        self._has_begun = False
        self.is_gone = False
        """Whether a node has answered that it is not held any more, or it was released."""

    def begin(self) -> None:
        """It is to be acquired.

        Raises:
            InvalidRequest: it was before. What became of it stays visible, so each is acquired once.
        """
        if self._has_begun:
            raise InvalidRequest("a lock or lease is entered once; ask the client for another one")
        self._has_begun = True

    def granted(self, asked_at: float) -> None:
        """It was granted or renewed by a request that was not sent before `asked_at`."""
        self.deadline = asked_at + self.ttl_s
        self.renew_at = asked_at + self.ttl_s / RENEWALS

    def failed(self, error: ClientError, now: float) -> None:
        """A renewal has failed: it is repeated, unless the node answered that the lock or lease does not exist."""
        self.renew_at = now + RETRY_S
        if error.code in _GONE:
            self.is_gone = True

    def is_held(self, now: float) -> bool:
        """Whether it is certainly held."""
        return not self.is_gone and now < self.deadline

    def pause_s(self, now: float) -> float:
        """Return how long to wait before it must be renewed, or is lost."""
        return max(0.0, min(self.renew_at, self.deadline) - now)


def _seconds(seconds: float) -> bytes:
    return f"{seconds:.6f}".encode()


class Leader(msgspec.Struct, frozen=True):
    """The holder of a lock."""

    token: int
    identity: bytes
    """The identity that the holder gave in its LOCK."""
    waiting: int
    """Number of requests that wait for the lock."""


def new_owner(identity: Text = b"") -> bytes:
    """Return an owner name that is unique to one acquisition, so that its LOCK may be sent again.

    It begins with the client's identity.

    Raises:
        InvalidRequest: the identity is too long.
    """
    said = to_bytes(identity)
    if len(said) > IDENTITY_BYTES_MAX:
        raise InvalidRequest(f"an identity has at most {IDENTITY_BYTES_MAX} bytes, and this one {len(said)}")
    return said + b"#" + uuid.uuid4().hex.encode() if said else uuid.uuid4().hex.encode()


def acquire(name: Text, ttl_s: float, wait_s: float, owner: bytes) -> Request[int]:
    """Acquire a lock; the result is its token. It may be sent again: the same owner gets the same token."""
    wait = b" WAIT " + _seconds(wait_s) if wait_s > 0 else b""
    line = b"LOCK %b TTL %b%b OWNER %b" % (argument(to_bytes(name)), _seconds(ttl_s), wait, argument(owner))
    return Request(line, _token, Effect.NONE)


def renew(name: Text, token: int) -> Request[int]:
    """Restart the time to live of a lock."""
    return Request(b"RENEW %b %d" % (argument(to_bytes(name)), token), _token, Effect.NONE)


def release(name: Text, token: int) -> Request[None]:
    """Release a lock."""
    return Request(b"UNLOCK %b %d" % (argument(to_bytes(name)), token), lambda _: None, Effect.NONE)


def leader(name: Text) -> Request[Answer]:
    """Ask for the holder of a lock."""
    return Request(b"LEADER " + argument(to_bytes(name)), dict, Effect.NONE)


def leads(name: Text) -> Request[Leader | None]:
    """Ask for the holder of a lock; the result is None if the lock is free."""
    return Request(leader(name).line, _leader, Effect.NONE)


def _leader(answer: Answer) -> Leader | None:
    if answer["token"] is None:
        return None
    identity, _, _ = (content(answer, "owner") or b"").rpartition(b"#")
    return Leader(answer["token"], identity, answer["waiting"])


def guarded(name: Text, token: int, request: Request[T]) -> Request[T]:
    """Apply a write only if a lock is held with this token at the write's position in the log."""
    return Request(b"TOKEN %b %d %b" % (argument(to_bytes(name)), token, request.line), request.read, Effect.UNNUMBERED)


def _token(answer: Answer) -> int:
    token: int = answer["token"]
    return token


def grant(ttl_s: float) -> Request[int]:
    """Grant a lease; the result is its number. It may be sent again: a lease that is not renewed ends by itself."""
    return Request(b"LEASE GRANT " + _seconds(ttl_s), _lease, Effect.NONE)


def keep_alive(lease: int) -> Request[int]:
    """Restart the time to live of a lease."""
    return Request(b"LEASE KEEPALIVE %d" % lease, _lease, Effect.NONE)


def revoke(lease: int) -> Request[None]:
    """End a lease, and remove its keys."""
    return Request(b"LEASE REVOKE %d" % lease, lambda _: None, Effect.UNNUMBERED)


def lease_of(key: Text) -> Request[int]:
    """Ask for the lease of a key; the result is 0 where it has none."""
    return Request(b"LEASE OF " + argument(to_bytes(key)), _lease, Effect.NONE)


def granted_ttl(lease: int) -> Request[float]:
    """Ask for the time to live that a lease has after each renewal, seconds."""
    return Request(b"LEASE INFO %d" % lease, lambda answer: float(answer["granted"]), Effect.NONE)


def _lease(answer: Answer) -> int:
    lease: int = answer["lease"]
    return lease


def is_asked_again(error: ClientError, left_s: float | None) -> bool:
    """Whether to send a LOCK again after this error; `left_s`: how long its caller still waits, None: without limit."""
    return (left_s is None or left_s > 0) and (error.code in _AGAIN or isinstance(error, Unavailable))


def what_is_waited_for(left_s: float | None) -> float:
    """Return the WAIT of the next LOCK request, seconds; `left_s`: how long its caller still waits."""
    return WAIT_S if left_s is None else min(WAIT_S, max(0.0, left_s))
