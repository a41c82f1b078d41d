"""Parses the lines of an operator: membership changes, leadership transfers, snapshots and events."""

from collections.abc import Callable, Sequence
from typing import Final

from kvraft.commands import (
    AddMember,
    AdminCommand,
    InvalidCommand,
    ListEvents,
    ListMembers,
    MoveMember,
    RemoveMember,
    ReplaceMember,
    TakeSnapshot,
    TransferLeadership,
)
from kvraft.config import Address, WrongValue
from kvraft.config.values import ID_MAX

NODE_ID_DIGITS_MAX: Final = 10
ADDRESS_BYTES_MAX: Final = 300
"""Longest address, bytes: a host name has at most 253, and the port follows."""
WORDS_WITH_INCARNATION: Final = 3
"""Arguments of MEMBER MOVE from a node that reports its own move: it adds its incarnation after its address."""
EVENT_DIGITS_MAX: Final = 15
"""Most digits in the number of an event."""
_SHOWN_BYTES: Final = 20
"""Most bytes of a wrong id that its error repeats."""

ADMIN_USAGES: Final = {
    b"MEMBERS": "MEMBERS",
    b"MEMBER": "MEMBER ADD <id> <host:port>, MEMBER REMOVE <id>, MEMBER REPLACE <old id> <new id> <host:port> or "
    "MEMBER MOVE <id> <host:port>; each may end with FORCE",
    b"TRANSFER": "TRANSFER <id>",
    b"SNAPSHOT": "SNAPSHOT",
    b"EVENTS": "EVENTS [<number of the last event that is known>]",
}
"""The syntax of every administrative command."""

_FORCE: Final = b"FORCE"


class WrongAdminUsage(Exception):
    """The syntax of an administrative command is wrong."""


def read_admin(verb: bytes, arguments: bytes) -> AdminCommand:
    """Parse the `arguments` of a verb of ADMIN_USAGES.

    Raises:
        WrongAdminUsage: their number or a keyword is wrong.
        InvalidCommand: one of them is not allowed.
    """
    return _READERS[verb](arguments.split())


def _members(words: Sequence[bytes]) -> AdminCommand:
    _expect(words, 0)
    return ListMembers()


def _snapshot(words: Sequence[bytes]) -> AdminCommand:
    _expect(words, 0)
    return TakeSnapshot()


def _events(words: Sequence[bytes]) -> AdminCommand:
    if not words:
        return ListEvents()
    _expect(words, 1)
    if not words[0].isdigit() or len(words[0]) > EVENT_DIGITS_MAX:
        raise InvalidCommand(f"{_text(words[0][:_SHOWN_BYTES])!r} is no number of an event; it is a whole number")
    return ListEvents(int(words[0]))


def _transfer(words: Sequence[bytes]) -> AdminCommand:
    _expect(words, 1)
    return TransferLeadership(_node_id(words[0]))


def _member(words: Sequence[bytes]) -> AdminCommand:
    if not words:
        raise WrongAdminUsage
    verb, *rest = words
    force = bool(rest) and rest[-1].upper() == _FORCE
    if force:
        rest.pop()
    match verb.upper():
        case b"ADD":
            _expect(rest, 2)
            return AddMember(_node_id(rest[0]), _address(rest[1]), force)
        case b"REMOVE":
            _expect(rest, 1)
            return RemoveMember(_node_id(rest[0]), force)
        case b"MOVE":
            incarnation = _text(rest.pop()) if len(rest) == WORDS_WITH_INCARNATION else None
            _expect(rest, 2)
            return MoveMember(_node_id(rest[0]), _address(rest[1]), incarnation, force)
        case b"REPLACE":
            _expect(rest, 3)
            return ReplaceMember(_node_id(rest[0]), _node_id(rest[1]), _address(rest[2]), force)
        case _:
            raise WrongAdminUsage


_READERS: Final[dict[bytes, Callable[[Sequence[bytes]], AdminCommand]]] = {
    b"MEMBERS": _members,
    b"MEMBER": _member,
    b"TRANSFER": _transfer,
    b"SNAPSHOT": _snapshot,
    b"EVENTS": _events,
}


def _expect(words: Sequence[bytes], count: int) -> None:
    if len(words) != count:
        raise WrongAdminUsage


def _node_id(word: bytes) -> int:
    if not word.isdigit() or len(word) > NODE_ID_DIGITS_MAX or int(word) > ID_MAX:
        raise InvalidCommand(f"{_text(word[:_SHOWN_BYTES])!r} is no node id; it is a whole number up to {ID_MAX}")
    return int(word)


def _address(word: bytes) -> str:
    if len(word) > ADDRESS_BYTES_MAX:
        raise InvalidCommand(f"an address has at most {ADDRESS_BYTES_MAX} bytes; write host:port")
    try:
        Address.parse(_text(word))
    except WrongValue as mistake:
        raise InvalidCommand(f"the address is wrong: {mistake}") from None
    return _text(word)


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
