"""Channels: subscriptions, and what is published to them.

A message reaches the subscribers at every member that can be reached, once and in order for each publisher's node, or
not at all: nothing of it is stored. The reply to PUBLISH counts the subscribers at the node that was asked.
"""

from functools import partial
from typing import Final

from kvraft.commands import Caller
from kvraft.commands.glob import pattern as read_pattern
from kvraft.server.dialect import Note
from kvraft.server.resp.channels import SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX, confirmation
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import array, bulk, bulks, integer
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.names import check_patterns
from kvraft.server.resp.table import Act, Arguments, Command, Effect

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Longest channel and message together, bytes."""


def _subscribe(word: bytes, connection: Connection, arguments: Arguments, *, is_pattern: bool) -> Note:
    wanted = [*arguments[1:]]
    if is_pattern:
        for each in wanted:
            check_patterns(each)
    if len(connection.channels) + len(connection.patterns) + len(wanted) > SUBSCRIPTIONS_MAX:
        raise RespError(f"ERR one connection has at most {SUBSCRIPTIONS_MAX} subscriptions")
    if sum(map(len, (*connection.channels, *connection.patterns, *wanted))) > SUBSCRIPTION_BYTES_MAX:
        raise RespError(f"ERR the names of one connection's subscriptions have at most {SUBSCRIPTION_BYTES_MAX} bytes")

    def confirm(_: dict[str, object]) -> bytes:
        """Begin when the answer is written, so that no message goes out before it."""
        confirmed = []
        for channel in wanted:
            connection.node.channels.subscribe(connection, channel, is_pattern=is_pattern)
            confirmed.append(confirmation(word, channel, connection))
        return b"".join(confirmed)

    return confirm


def _unsubscribe(word: bytes, connection: Connection, arguments: Arguments, *, is_pattern: bool) -> Note:
    named = [*arguments[1:]]

    def confirm(_: dict[str, object]) -> bytes:
        ended = named or [*(connection.patterns if is_pattern else connection.channels)]
        confirmed = []  # in a list: a client may name 100,000, and to lengthen bytes takes a time that grows with them
        for channel in ended:
            connection.node.channels.unsubscribe(connection, channel, is_pattern=is_pattern)
            confirmed.append(confirmation(word, channel, connection))
        return b"".join(confirmed) or confirmation(word, None, connection)

    return confirm


def _publish(connection: Connection, arguments: Arguments) -> Effect:
    channel, message = arguments[1], arguments[2]
    if len(channel) + len(message) > MESSAGE_BYTES_MAX:
        raise RespError(f"ERR a channel and a message have at most {MESSAGE_BYTES_MAX} bytes together")

    def publish(_: dict[str, object]) -> bytes:
        node = connection.node
        node.database.publish(Caller(connection.address), channel, message)
        return integer(node.channels.publish(channel, message))

    return Effect(publish)


def _channels(connection: Connection, arguments: Arguments) -> Note:
    if len(arguments) > 3:  # noqa: PLR2004 - PUBSUB CHANNELS and a pattern
        shown = arguments[1].decode("latin-1")
        raise RespError(f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try PUBSUB HELP.")
    check_patterns(*arguments[2:])
    wanted = read_pattern(arguments[2] if len(arguments) == 3 else b"*")  # noqa: PLR2004
    return bulks(channel for channel in connection.node.channels.subscribers if wanted.matches(channel))


def _number_of_subscribers(connection: Connection, arguments: Arguments) -> Note:
    subscribers = connection.node.channels.subscribers
    counts = [(bulk(channel), integer(len(subscribers.get(channel, ())))) for channel in arguments[2:]]
    return array([part for pair in counts for part in pair])


def _number_of_patterns(connection: Connection, arguments: Arguments) -> Note:
    return integer(len(connection.node.channels.watchers))


def _pubsub(name: str, arity: int, act: Act, summary: str) -> Command:
    flags = ("pubsub", "loading", "stale")
    return Command(name=name, arity=arity, flags=flags, act=act, group="pubsub", since="2.8.0", summary=summary)


_FLAGS: Final = ("pubsub", "noscript", "loading", "stale")

COMMANDS: Final = (
    Command(
        name="subscribe",
        arity=-2,
        flags=_FLAGS,
        acts_when_answered=True,
        act=partial(_subscribe, b"subscribe", is_pattern=False),
        group="pubsub",
        since="2.0.0",
        summary="Listen for messages published to the given channels",
    ),
    Command(
        name="psubscribe",
        arity=-2,
        flags=_FLAGS,
        acts_when_answered=True,
        act=partial(_subscribe, b"psubscribe", is_pattern=True),
        group="pubsub",
        since="2.0.0",
        summary="Listen for messages published to channels matching the given patterns",
    ),
    Command(
        name="unsubscribe",
        arity=-1,
        flags=_FLAGS,
        acts_when_answered=True,
        act=partial(_unsubscribe, b"unsubscribe", is_pattern=False),
        group="pubsub",
        since="2.0.0",
        summary="Stop listening for messages posted to the given channels",
    ),
    Command(
        name="punsubscribe",
        arity=-1,
        flags=_FLAGS,
        acts_when_answered=True,
        act=partial(_unsubscribe, b"punsubscribe", is_pattern=True),
        group="pubsub",
        since="2.0.0",
        summary="Stop listening for messages posted to channels matching the given patterns",
    ),
    Command(
        name="publish",
        arity=3,
        flags=("pubsub", "loading", "stale", "fast"),
        act=_publish,
        group="pubsub",
        since="2.0.0",
        summary="Post a message to a channel",
    ),
    Command(
        name="pubsub",
        arity=-2,
        group="pubsub",
        since="2.8.0",
        summary="A container for Pub/Sub commands",
        subcommands=(
            _pubsub("channels", -2, _channels, "List active channels"),
            _pubsub("numsub", -2, _number_of_subscribers, "Get the count of subscribers for channels"),
            _pubsub("numpat", 2, _number_of_patterns, "Get the count of unique patterns pattern subscriptions"),
        ),
    ),
)
