"""Subscriptions to channels. A node tells its own subscribers of a new leader; clients cannot publish yet."""

from functools import partial
from typing import Final

from kvraft.server.dialect import Note
from kvraft.server.resp.channels import SUBSCRIPTIONS_MAX, confirmation
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.table import Arguments, Command


def _subscribe(word: bytes, connection: Connection, arguments: Arguments, *, is_pattern: bool) -> Note:
    wanted = [*arguments[1:]]
    if len(connection.channels) + len(connection.patterns) + len(wanted) > SUBSCRIPTIONS_MAX:
        raise RespError(f"ERR one connection has at most {SUBSCRIPTIONS_MAX} subscriptions")

    def confirm(_: dict[str, object]) -> bytes:
        """Begin when the answer is written, so that nothing is told before it."""
        confirmed = b""
        for channel in wanted:
            connection.node.channels.subscribe(connection, channel, is_pattern=is_pattern)
            confirmed += confirmation(word, channel, connection)
        return confirmed

    return confirm


def _unsubscribe(word: bytes, connection: Connection, arguments: Arguments, *, is_pattern: bool) -> Note:
    named = [*arguments[1:]]

    def confirm(_: dict[str, object]) -> bytes:
        ended = named or [*(connection.patterns if is_pattern else connection.channels)]
        confirmed = b""
        for channel in ended:
            connection.node.channels.unsubscribe(connection, channel, is_pattern=is_pattern)
            confirmed += confirmation(word, channel, connection)
        return confirmed or confirmation(word, None, connection)

    return confirm


_FLAGS: Final = ("pubsub", "noscript", "loading", "stale")

COMMANDS: Final = (
    Command(
        name="subscribe",
        arity=-2,
        flags=_FLAGS,
        act=partial(_subscribe, b"subscribe", is_pattern=False),
        group="pubsub",
        since="2.0.0",
        summary="Listen for messages published to the given channels",
    ),
    Command(
        name="psubscribe",
        arity=-2,
        flags=_FLAGS,
        act=partial(_subscribe, b"psubscribe", is_pattern=True),
        group="pubsub",
        since="2.0.0",
        summary="Listen for messages published to channels matching the given patterns",
    ),
    Command(
        name="unsubscribe",
        arity=-1,
        flags=_FLAGS,
        act=partial(_unsubscribe, b"unsubscribe", is_pattern=False),
        group="pubsub",
        since="2.0.0",
        summary="Stop listening for messages posted to the given channels",
    ),
    Command(
        name="punsubscribe",
        arity=-1,
        flags=_FLAGS,
        act=partial(_unsubscribe, b"punsubscribe", is_pattern=True),
        group="pubsub",
        since="2.0.0",
        summary="Stop listening for messages posted to channels matching the given patterns",
    ),
)
