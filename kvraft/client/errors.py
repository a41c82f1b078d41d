"""The errors that a client raises: one tree, in which each error says whether the write can have taken effect.

::

    ClientError                 `code` as in docs/protocol.md, `definite`, `details`
    ├── Definite                the request had no effect and never will have one
    │   ├── Unavailable         no node executed it in time, and none will; try again
    │   ├── ConditionFailed     the condition of a write did not hold; `found`, `revision`
    │   ├── NoSuchKey           the key does not exist, or has expired
    │   ├── NoSuchLease         the lease has ended, or never existed
    │   ├── LockHeld            another client holds the lock; `token`
    │   ├── StaleToken          the lock is not held with this token any more; `token`
    │   ├── NotACounter         the value is no 64-bit integer, or the sum would be none
    │   ├── QuotaExceeded       the store is full
    │   ├── TooLarge            a key, a value, a transaction or its result exceeds its limit
    │   ├── Compacted           that revision is not kept any more; `oldest_revision`
    │   ├── FutureRevision      the store has not reached that revision
    │   ├── InvalidRequest      it can never be executed as it is; the text says why
    │   │   └── NodesUnknown    no addresses of the cluster are given
    │   ├── Refused             an operator's command that cannot be executed now; the text says why
    │   └── ClientClosed        the client was closed before it was sent
    └── OutcomeUnknown          it may have taken effect, or still may: read it back before you repeat it

A read has no effect, so it never ends with `OutcomeUnknown`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from kvraft.client.values import Item, read_item


class ClientError(Exception):
    """A request that has no result. `str()` says what to do."""

    definite: ClassVar[bool] = False
    """Whether the request certainly had no effect."""

    def __init__(self, message: str, code: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        """The code in the node's answer, see docs/protocol.md; empty without an answer."""
        self.details: Mapping[str, Any] = details or {}
        """The node's whole answer, decoded."""


class Definite(ClientError):
    """The request had no effect and never will have one."""

    definite = True


class Unavailable(Definite):
    """No node executed the request in time: no leader was found, or each node refused for the moment."""


class ConditionFailed(Definite):
    """The condition of a write did not hold, and nothing was changed."""

    @property
    def found(self) -> Item | None:
        """The item of the key; None: the key does not exist."""
        found = self.details.get("found")
        return None if found is None else read_item(found)

    @property
    def revision(self) -> int:
        """The revision of the store at which the condition did not hold."""
        return int(self.details.get("revision", 0))


class NoSuchKey(Definite):
    """The key does not exist, or has expired."""


class NoSuchLease(Definite):
    """The lease has ended, or never existed."""


class _OfALock(Definite):
    @property
    def token(self) -> int | None:
        """The token with which the lock is held, None if it is free."""
        token: int | None = self.details.get("token")
        return token


class LockHeld(_OfALock):
    """Another client holds the lock, and held it for the whole wait."""


class StaleToken(_OfALock):
    """The lock is not held with this token any more, and nothing was changed."""


class NotACounter(Definite):
    """The value is no 64-bit integer, or the sum would be none."""


class QuotaExceeded(Definite):
    """The store is full, and the write would make it larger."""


class TooLarge(Definite):
    """A key, a value, a transaction or its result exceeds its limit."""


class Compacted(Definite):
    """That revision is not kept any more."""

    @property
    def oldest_revision(self) -> int:
        """The oldest revision that can be read."""
        return int(self.details.get("oldest_revision", 0))


class FutureRevision(Definite):
    """The store has not reached that revision."""


class InvalidRequest(Definite):
    """The request can never be executed as it is; the text says why."""


class NodesUnknown(InvalidRequest):
    """No addresses of the cluster are given, or they are malformed."""


class Refused(Definite):
    """An operator's command cannot be executed now; the text says why."""


class ClientClosed(Definite):
    """The client was closed before the request was sent."""


class OutcomeUnknown(ClientError):
    """The write may have taken effect, or still may: read it back before you repeat it."""


_BY_CODE: Final[dict[str, type[ClientError]]] = {
    "CONDITION_FAILED": ConditionFailed,
    "NO_SUCH_KEY": NoSuchKey,
    "NO_SUCH_LEASE": NoSuchLease,
    "LOCK_HELD": LockHeld,
    "LOCK_TIMEOUT": LockHeld,
    "STALE_TOKEN": StaleToken,
    "NOT_A_NUMBER": NotACounter,
    "OVERFLOW": NotACounter,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "VALUE_TOO_LONG": TooLarge,
    "TOO_MANY_KEYS": TooLarge,
    "RESULT_TOO_LARGE": TooLarge,
    "TOO_LARGE": TooLarge,
    "LINE_TOO_LONG": TooLarge,
    "COMPACTED": Compacted,
    "FUTURE_REVISION": FutureRevision,
    "USAGE": InvalidRequest,
    "UNKNOWN_COMMAND": InvalidRequest,
    "UNKNOWN_PROTOCOL": InvalidRequest,
    "INVALID": InvalidRequest,
    "NOT_LEADER": Unavailable,
    "OVERLOADED": Unavailable,
    "TIMEOUT": Unavailable,
    "STOPPING": Unavailable,
    "STATE_DIFFERS": Unavailable,
    "UNKNOWN": OutcomeUnknown,
    "INTERNAL": OutcomeUnknown,
}

_BUT_A_WRITE_MAY_HAVE_HAPPENED: Final = "; it may have been carried out: read it back before you repeat it"


def from_answer(answer: Mapping[str, Any]) -> ClientError:
    """Return the error for a node's error answer. A code of a later version counts as a definite error."""
    code = str(answer["error"])
    kind = _BY_CODE.get(code, Refused)
    message = str(answer.get("message") or _without_message(answer))
    return kind(message, code, answer)


def _without_message(answer: Mapping[str, Any]) -> str:
    hint = answer.get("leader_hint")
    return f"this node does not lead; ask {hint}" if hint else "no leader is known; try again in a moment"


def unknown(why: str) -> OutcomeUnknown:
    """Return the error for a write that was sent and whose outcome is unknown."""
    return OutcomeUnknown(why + _BUT_A_WRITE_MAY_HAVE_HAPPENED)
