"""The HTTP status of each error. The error codes are those of docs/protocol.md, as in every protocol."""

from collections.abc import Mapping
from typing import Final

BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
NOT_ALLOWED: Final = 405
TOO_SLOW: Final = 408
CONFLICT: Final = 409
GONE: Final = 410
CONDITION_FAILED: Final = 412
TOO_LONG: Final = 413
MISDIRECTED: Final = 421
UNPROCESSABLE: Final = 422
HEADER_TOO_LONG: Final = 431
INTERNAL: Final = 500
NOT_IMPLEMENTED: Final = 501
UNAVAILABLE: Final = 503
UNKNOWN_OUTCOME: Final = 504
FULL: Final = 507

_CODES: Final[Mapping[int, tuple[str, ...]]] = {
    BAD_REQUEST: ("USAGE", "INVALID", "UNKNOWN_PROTOCOL", "UNKNOWN_COMMAND"),
    FORBIDDEN: ("WRONG_ORIGIN",),
    NOT_FOUND: ("NOT_FOUND", "NO_SUCH_KEY", "NO_SUCH_LEASE", "NO_SUCH_WATCH"),
    NOT_ALLOWED: ("METHOD_NOT_ALLOWED",),
    TOO_SLOW: ("REQUEST_TOO_SLOW",),
    CONFLICT: (
        *("LOCK_HELD", "LOCK_TIMEOUT", "STALE_TOKEN", "SUPERSEDED", "LEASE_ID_REFUSED"),
        *("SESSION_EXPIRED", "NUMBER_TOO_LOW", "FUTURE_REVISION", "REFUSED"),
    ),
    GONE: ("COMPACTED",),
    CONDITION_FAILED: ("CONDITION_FAILED",),
    TOO_LONG: ("BODY_TOO_LONG", "TOO_LARGE", "LINE_TOO_LONG", "VALUE_TOO_LONG"),
    MISDIRECTED: ("WRONG_HOST",),
    UNPROCESSABLE: (
        *("NOT_A_NUMBER", "OVERFLOW", "NOT_A_FRACTION", "INFINITE"),
        *("TOO_MANY_KEYS", "RESULT_TOO_LARGE", "IDEMPOTENCY_KEY_REUSED"),
    ),
    HEADER_TOO_LONG: ("HEADER_TOO_LONG",),
    INTERNAL: ("INTERNAL",),
    NOT_IMPLEMENTED: ("LEVEL_TOO_LOW", "UNSUPPORTED"),
    UNAVAILABLE: (
        *("NOT_LEADER", "OVERLOADED", "TIMEOUT", "STOPPING", "STATE_DIFFERS", "BUSY"),
        *("TOO_STALE", "SLOW_WATCHER", "TOO_MANY_WAITERS", "NOT_READY"),
    ),
    UNKNOWN_OUTCOME: ("UNKNOWN",),
    FULL: ("QUOTA_EXCEEDED", "SESSIONS_FULL", "TOO_MANY_LEASES", "TOO_MANY_LOCKS"),
}
STATUSES: Final[Mapping[str, int]] = {code: status for status, codes in _CODES.items() for code in codes}
"""The status of each code."""


def status_of(code: str) -> int:
    """Return the status that goes with an error."""
    return STATUSES.get(code, INTERNAL)
