"""Errors in the words of Redis, and the translation of kvraft's own errors into them."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands import Failure, InvalidCommand
from kvraft.errors import NotLeaderRefusal, RequestFailed
from kvraft.server.resp.encoding import error

SHOWN_BYTES: Final = 128
"""Most bytes of a client's input that an error repeats."""


class RespError(InvalidCommand):
    """A command that is refused when it is read. The text is the reply, and begins with its code.

    Bytes of the client stand in it decoded as Latin-1, and are sent as they came.
    """


SYNTAX: Final = "ERR syntax error"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = "ERR value is not a valid float"
NO_SUCH_KEY: Final = "ERR no such key"
WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
CLUSTER_DOWN: Final = "CLUSTERDOWN no leader is known; nothing was changed, try again"

INFINITE: Final = "ERR increment would produce NaN or Infinity"
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

_CODES: Final = {
    "NOT_A_FRACTION": NOT_A_FLOAT,
    "INFINITE": INFINITE,
    "VALUE_TOO_LONG": TOO_LONG,
    "NOT_A_NUMBER": NOT_AN_INTEGER,
    "OVERFLOW": "ERR increment or decrement would overflow",
    "NO_SUCH_KEY": NO_SUCH_KEY,
}
"""Redis' texts for failures for which the store has other codes."""

_RETRIED: Final = {"TIMEOUT": "CLUSTERDOWN", "OVERLOADED": "TRYAGAIN", "STOPPING": "CLUSTERDOWN"}
"""Refusals of commands that certainly had no effect: Redis' codes after which a client may try again."""


def arity_text(name: str) -> str:
    """Return the text of that error."""
    return f"ERR wrong number of arguments for '{name}' command"


def wrong_arity(name: str) -> bytes:
    """Return the error for a wrong number of arguments; `name` is in lower case, with its container before a bar."""
    if name == "exec":  # Redis says so of EXEC alone, for its clients look for that code
        return error(f"EXECABORT Transaction discarded because of: {arity_text(name).removeprefix('ERR ')}")
    return error(arity_text(name))


def unknown_command(arguments: Sequence[bytes]) -> bytes:
    """Return the error for a command that does not exist."""
    shown, room = "", SHOWN_BYTES
    for argument in arguments[1:]:
        if room <= 0:
            break
        word = argument[:room].partition(b"\0")[0].decode("latin-1")  # C's texts end there
        shown += f"'{word}' "
        room -= len(word) + 3
    name = arguments[0][:SHOWN_BYTES].decode("latin-1")
    return _latin(f"ERR unknown command '{name}', with args beginning with: {shown}")


def unknown_subcommand(container: str, subcommand: bytes) -> bytes:
    """Return the error for a subcommand that does not exist."""
    shown = subcommand[:SHOWN_BYTES].decode("latin-1")
    return _latin(f"ERR unknown subcommand '{shown}'. Try {container.upper()} HELP.")


def _latin(text: str) -> bytes:
    """Return an error that repeats bytes of the client as they are."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")


def invalid(reason: InvalidCommand) -> bytes:
    """Return the error for a command that is refused when it is read."""
    return _latin(str(reason)) if isinstance(reason, RespError) else error(f"ERR {reason}")


def failed(failure: Failure) -> bytes:
    """Return the error for a command that failed when it was applied."""
    return error(_CODES.get(failure.code) or f"{failure.code} {failure.message}")


def refused(reason: RequestFailed) -> bytes:
    """Return the error for a command without a result, unless the client is sent to the leader."""
    if isinstance(reason, NotLeaderRefusal):
        return error(CLUSTER_DOWN)
    return error(f"{_RETRIED.get(reason.code, reason.code)} {reason}")
