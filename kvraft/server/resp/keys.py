"""Commands on keys, whatever stands under them."""

import random
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from kvraft.commands import Item, Operation, Page, Scanned, delete_key, get_key
from kvraft.commands.key_queries import PLACES, any_key, exists, matching, scan, time_left
from kvraft.commands.keys import WHOLE_KEYS_MAX, When, change_expiry, copy_key, delete_many, move_key, remove_all
from kvraft.commands.strings import NEVER
from kvraft.server.resp import encoding
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import INTEGER, OK, OK_BYTES, Reply, array, bulk, bulk_or_null, error, reply
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.expiry_arguments import SECOND_MS, any_time, integer, milliseconds_left, now_ms
from kvraft.server.resp.steps import Step, Steps
from kvraft.server.resp.table import Arguments, Ask, Command

Request = tuple[Operation, Reply]
KEYS_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of the keys that KEYS finds."""
_CURSOR: Final = re.compile(rb"(?:\+?[0-9]{1,20})?")
_CURSOR_MAX: Final = 2**64 - 1
_STRING: Final = b"string"
_HALF_SECOND_MS: Final = SECOND_MS // 2


def _del(arguments: Arguments) -> Request:
    if len(arguments) == 2:  # noqa: PLR2004 - one key, as most often
        return delete_key(arguments[1]), INTEGER
    return delete_many(list(arguments[1:])), INTEGER


def _exists(arguments: Arguments) -> Request:
    return exists(list(arguments[1:])), INTEGER


def _type_of(item: Item | None) -> bytes:
    return encoding.simple("none" if item is None else "string")


def _type(arguments: Arguments) -> Request:
    return get_key(arguments[1]), (_type_of, _type_of)


# --- expiry ----------------------------------------------------------------------------------------------------------


def _expire(name: str, unit_ms: int, absolute: bool, arguments: Arguments) -> Request:
    when = _when(arguments)
    return change_expiry(arguments[1], any_time(arguments[2], unit_ms, name, absolute=absolute), when), INTEGER


def _when(arguments: Arguments) -> When:
    options = set()
    for word in arguments[3:]:
        option = word.upper()
        if option not in {b"NX", b"XX", b"GT", b"LT"}:
            raise RespError(f"ERR Unsupported option {word.decode('latin-1')}")
        options.add(option)
    if b"NX" in options and len(options) > 1:
        raise RespError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if options >= {b"GT", b"LT"}:
        raise RespError("ERR GT and LT options at the same time are not compatible")
    if b"GT" in options:
        return When.LATER
    if b"LT" in options:
        return When.EARLIER_IF_ANY if b"XX" in options else When.EARLIER
    if b"NX" in options:
        return When.HAS_NONE
    return When.HAS_ONE if b"XX" in options else When.ALWAYS


def _persist(arguments: Arguments) -> Request:
    return change_expiry(arguments[1], NEVER), INTEGER


def _ttl(unit_ms: int, absolute: bool, arguments: Arguments) -> Request:
    def tell(left_us: int) -> bytes:
        if left_us < 0:
            return encoding.integer(left_us)
        told = milliseconds_left(left_us) + (now_ms() if absolute else 0)
        return encoding.integer(told if unit_ms == 1 else (told + _HALF_SECOND_MS) // SECOND_MS)

    return time_left(arguments[1]), (tell, tell)


# --- other names -----------------------------------------------------------------------------------------------------


def _rename(arguments: Arguments) -> Request:
    return move_key(arguments[1], arguments[2]), OK


def _renamenx(arguments: Arguments) -> Request:
    return move_key(arguments[1], arguments[2], replaces=False), INTEGER


def _copy(arguments: Arguments) -> Request:
    replaces, place = False, 3
    while place < len(arguments):
        option = arguments[place].upper()
        if option == b"REPLACE":
            replaces = True
        elif option == b"DB" and place + 1 < len(arguments):
            place += 1
            if integer(arguments[place]) != 0:
                raise RespError("ERR DB index is out of range")
        else:
            raise RespError(SYNTAX)
        place += 1
    if arguments[1] == arguments[2]:
        raise RespError("ERR source and destination objects are the same")
    return copy_key(arguments[1], arguments[2], replaces=replaces), INTEGER


# --- all keys --------------------------------------------------------------------------------------------------------


def _one_key(found: Scanned, protocol: int) -> bytes:
    return bulk_or_null(found.keys[0] if found.keys else None, protocol)


def _randomkey(arguments: Arguments) -> Request:
    return any_key(random.randrange(PLACES)), reply(_one_key)


def _some_keys(wanted: bool, found: Scanned) -> bytes:
    keys = found.keys if wanted else []
    return array([bulk(b"%d" % found.following), array([*map(bulk, keys)])])


def _scan(arguments: Arguments) -> Request:
    cursor = int(arguments[1] or b"0") if _CURSOR.fullmatch(arguments[1]) else None  # as C's strtoul reads it
    if cursor is None or cursor > _CURSOR_MAX:
        raise RespError("ERR invalid cursor")
    count, pattern, wanted = 10, None, True
    for place in range(2, len(arguments), 2):
        option = arguments[place].upper()
        if option not in {b"COUNT", b"MATCH", b"TYPE"} or place + 1 == len(arguments):
            raise RespError(SYNTAX)
        word = arguments[place + 1]
        if option == b"COUNT":
            count = integer(word)
            if count < 1:
                raise RespError(SYNTAX)
        elif option == b"MATCH":
            pattern = None if word == b"*" else word
        else:
            wanted = word.lower() == _STRING
    tell = partial(_some_keys, wanted)
    return scan(cursor, count, pattern), (tell, tell)


def _keys_found(page: Page) -> bytes:
    if page.following is not None:
        return error("ERR KEYS looks at too many keys for a transaction; use SCAN, or KEYS outside of it")
    return array([bulk(key) for key, _ in page.items])


def _keys_queued(arguments: Arguments) -> Request:
    return matching(arguments[1], count=WHOLE_KEYS_MAX), (_keys_found, _keys_found)


def _keys(connection: Connection, arguments: Arguments) -> Ask:
    found: list[bytes] = []
    room = KEYS_BYTES_MAX

    def go_on(page: Page) -> Step:
        nonlocal room
        for key, _ in page.items:
            found.append(bulk(key))
            room -= len(found[-1])
        if room < 0:
            return error(f"ERR KEYS finds more than {KEYS_BYTES_MAX} bytes of keys; use SCAN")
        return array(found) if page.following is None else matching(arguments[1], page.following)

    return Steps.begin(connection, matching(arguments[1]), go_on)


def _check_flush(arguments: Arguments) -> None:
    if len(arguments) > 2 or (len(arguments) == 2 and arguments[1].upper() not in {b"ASYNC", b"SYNC"}):  # noqa: PLR2004
        raise RespError(SYNTAX)


def _flush_queued(arguments: Arguments) -> Request:
    _check_flush(arguments)
    return remove_all(whole=True), OK


def _flush(connection: Connection, arguments: Arguments) -> Ask:
    _check_flush(arguments)

    def go_on(page: Page) -> Step:
        return OK_BYTES if page.following is None else remove_all(page.following, page.revision)

    return Steps.begin(connection, remove_all(), go_on)


_ONE: Final = (1, 1, 1)
_TWO: Final = (1, 2, 1)
_ALL: Final = (1, -1, 1)
_READ: Final = ("readonly", "fast")
_WRITE: Final = ("write", "fast")

Read = Callable[[Arguments], Request]
_EXPIRING: Final[tuple[tuple[str, int, bool, str, str], ...]] = (
    ("expire", SECOND_MS, False, "1.0.0", "Set a key's time to live in seconds"),
    ("pexpire", 1, False, "2.6.0", "Set a key's time to live in milliseconds"),
    ("expireat", SECOND_MS, True, "1.2.0", "Set the expiration for a key as a UNIX timestamp"),
    ("pexpireat", 1, True, "2.6.0", "Set the expiration for a key as a UNIX timestamp in milliseconds"),
)
_TELLING: Final[tuple[tuple[str, int, bool, str, str], ...]] = (
    ("ttl", SECOND_MS, False, "1.0.0", "Get the time to live for a key in seconds"),
    ("pttl", 1, False, "2.6.0", "Get the time to live for a key in milliseconds"),
    ("expiretime", SECOND_MS, True, "7.0.0", "Get the expiration Unix timestamp for a key"),
    ("pexpiretime", 1, True, "7.0.0", "Get the expiration Unix timestamp for a key in milliseconds"),
)
# fmt: off
_SIMPLE: Final[tuple[tuple[str, int, tuple[str, ...], tuple[int, int, int], Read, str, str, bool], ...]] = (
    ("del", -2, ("write",), _ALL, _del, "1.0.0", "Delete a key", False),
    ("unlink", -2, _WRITE, _ALL, _del, "4.0.0", "Delete a key", False),
    ("exists", -2, _READ, _ALL, _exists, "1.0.0", "Determine if a key exists", False),
    ("touch", -2, _READ, _ALL, _exists, "3.2.1", "Alters the last access time of a key(s)", False),
    ("type", 2, _READ, _ONE, _type, "1.0.0", "Determine the type stored at key", False),
    ("persist", 2, _WRITE, _ONE, _persist, "2.2.0", "Remove the expiration from a key", False),
    ("rename", 3, ("write",), _TWO, _rename, "1.0.0", "Rename a key", False),
    ("renamenx", 3, _WRITE, _TWO, _renamenx, "1.0.0", "Rename a key, only if the new key does not exist", False),
    ("copy", -3, ("write", "denyoom"), _TWO, _copy, "6.2.0", "Copy a key", False),
    ("randomkey", 1, ("readonly",), (0, 0, 0), _randomkey, "1.0.0", "Return a random key from the keyspace", True),
    ("scan", -2, ("readonly",), (0, 0, 0), _scan, "2.8.0", "Incrementally iterate the keys space", True),
)
COMMANDS: Final = (
    *(
        Command(name=name, arity=arity, flags=flags, keys=keys, read=read, since=since, summary=summary,
                is_heavy=is_heavy)
        for name, arity, flags, keys, read, since, summary, is_heavy in _SIMPLE
    ),
    *(
        Command(name=name, arity=-3, flags=_WRITE, keys=_ONE, read=partial(_expire, name, unit_ms, absolute),
                since=since, summary=summary)
        for name, unit_ms, absolute, since, summary in _EXPIRING
    ),
    *(
        Command(name=name, arity=2, flags=_READ, keys=_ONE, read=partial(_ttl, unit_ms, absolute), since=since,
                summary=summary)
        for name, unit_ms, absolute, since, summary in _TELLING
    ),
    Command(name="keys", arity=2, flags=("readonly",), act=_keys, read_queued=_keys_queued,
            summary="Find all keys matching the given pattern"),
    *(
        Command(name=name, arity=-1, flags=("write",), act=_flush, read_queued=_flush_queued, group="server",
                summary="Remove all keys")
        for name in ("flushdb", "flushall")
    ),
)
# fmt: on
