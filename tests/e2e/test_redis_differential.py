"""Generated commands come to the same replies, byte for byte, from a real redis-server 7 and from kvraft.

What differs on purpose is in docs/redis.md, and is not generated here. Replies that depend on an order or on time are
compared as far as they are promised.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.e2e.processes import Cluster
from tests.e2e.redis_peer import Client, Reply, Words, redis_server

EXAMPLES: Final = 1_000
"""Sequences for each version of the protocol."""
COMMANDS: Final = 20
"""Commands of a sequence, or transactions of several."""
NEARLY_MS: Final = 3_000
"""By so much times may differ, milliseconds."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Connections to Redis and to a cluster of one node."""
    keep_nothing = ("--save", "", "--appendonly", "no")
    with (
        redis_server(tmp_path_factory.mktemp("redis"), *keep_nothing) as redis,
        Cluster(tmp_path_factory.mktemp("one"), 1, durability="memory") as cluster,
    ):
        cluster.start()
        cluster.await_leader()
        clients = (Client(redis), Client(cluster.address(0)[1]))
        try:
            yield clients
        finally:
            for client in clients:
                client.close()


# --- commands --------------------------------------------------------------------------------------------------------

KEYS: Final = st.sampled_from([b"a", b"b", b"ab", b"k\r\n", b"{tag}x", b"\xff\x00"])
NUMBERS: Final = st.sampled_from(
    [b"0", b"1", b"-1", b"7", b"-12", b"9223372036854775807", b"-9223372036854775808", b"10"]
)
ODD_NUMBERS: Final = st.sampled_from([b"+5", b"007", b"-0", b" 1", b"1e3", b"", b"x", b"9223372036854775808", b"1.5"])
FRACTIONS: Final = st.sampled_from(
    [
        b"0.1",
        b"-2.5",
        b"3.0e3",
        b"1e-17",
        b"0x10",
        b"1.",
        b".5",
        b"+5",
        b"-0.0",
        b"123456789012345678901234567890",
        b"1e400",
    ]
)
ODD_FRACTIONS: Final = st.sampled_from([b"", b" 1", b"nan", b"1_0", b"x", b"inf", b"-inf", b"1e", b"1e5000"])
VALUES: Final = st.one_of(
    NUMBERS, FRACTIONS, ODD_FRACTIONS, st.sampled_from([b"", b"value", b"line\r\nend", bytes(range(256)), b"x" * 3_000])
)
INTEGERS: Final = st.one_of(NUMBERS, NUMBERS, ODD_NUMBERS)
PLACES: Final = st.one_of(st.sampled_from([b"0", b"1", b"2", b"-1", b"-3", b"5", b"100"]), INTEGERS)
OFFSETS: Final = st.one_of(st.sampled_from([b"0", b"1", b"3", b"20", b"-1"]), ODD_NUMBERS)
SECONDS: Final = st.one_of(
    st.sampled_from([b"100", b"5000", b"1000000"]), st.sampled_from([b"0", b"-1", b"x", b"9223372036854775807"])
)
MILLISECONDS: Final = st.sampled_from([b"100000", b"5000000", b"0", b"-7", b"9223372036854775807", b"1.5"])
LATER_S: Final = st.sampled_from([100, 5_000, 10**6]).map(lambda later: b"%d" % (int(time.time()) + later))
LATER_MS: Final = st.sampled_from([10**5, 5 * 10**6]).map(lambda later: b"%d" % (int(time.time() * 1000) + later))
PAST: Final = st.sampled_from([b"1", b"1000", b"1500000000"])
PATTERNS: Final = st.sampled_from([b"*", b"a*", b"?", b"[ab]", b"[^a]*", b"*\r\n", b"\\a", b"a?", b"{*}*", b"nothing"])


def words(*parts: bytes | st.SearchStrategy[bytes] | st.SearchStrategy[Words]) -> st.SearchStrategy[Words]:
    """Draw a command of such parts; a tuple is several words."""
    drawn = [st.just((part,)) if isinstance(part, bytes) else part.map(_as_words) for part in parts]
    return st.tuples(*drawn).map(lambda found: tuple(word for part in found for word in part))


def _as_words(part: bytes | Words) -> Words:
    return (part,) if isinstance(part, bytes) else part


def several(part: st.SearchStrategy[bytes], least: int, most: int) -> st.SearchStrategy[Words]:
    """Draw some words."""
    return st.lists(part, min_size=least, max_size=most).map(tuple)


def maybe(*options: st.SearchStrategy[Words]) -> st.SearchStrategy[Words]:
    """Draw one of some options, or none."""
    return st.one_of(st.just(()), *options)


TIMES: Final = st.one_of(
    words(b"EX", SECONDS), words(b"px", MILLISECONDS), words(b"EXAT", LATER_S), words(b"PXAT", LATER_MS), words(b"EX")
)
SET_OPTIONS: Final = st.lists(
    st.one_of(st.sampled_from([(b"NX",), (b"XX",), (b"get",), (b"KEEPTTL",), (b"PERSIST",), (b"what",)]), TIMES),
    max_size=2,
).map(lambda found: tuple(word for part in found for word in part))
CONDITIONS: Final = several(st.sampled_from([b"NX", b"XX", b"GT", b"lt", b"WHAT"]), 0, 2)

STRINGS: Final = (
    words(b"GET", KEYS),
    words(b"SET", KEYS, VALUES),
    words(b"SET", KEYS, VALUES, SET_OPTIONS),
    words(b"setnx", KEYS, VALUES),
    words(b"SETEX", KEYS, SECONDS, VALUES),
    words(b"PSETEX", KEYS, MILLISECONDS, VALUES),
    words(b"GETSET", KEYS, VALUES),
    words(b"GETDEL", KEYS),
    words(b"MGET", several(KEYS, 0, 4)),
    words(b"MSET", several(KEYS, 0, 5)),
    words(b"MSETNX", several(KEYS, 1, 4)),
    words(b"APPEND", KEYS, VALUES),
    words(b"STRLEN", KEYS),
    words(b"INCR", KEYS),
    words(b"DECR", KEYS),
    words(b"INCRBY", KEYS, INTEGERS),
    words(b"DECRBY", KEYS, INTEGERS),
    words(b"INCRBYFLOAT", KEYS, FRACTIONS | ODD_FRACTIONS),
    words(b"GETRANGE", KEYS, PLACES, PLACES),
    words(b"SUBSTR", KEYS, PLACES, PLACES),
    words(b"SETRANGE", KEYS, OFFSETS, VALUES),
)
KEY_COMMANDS: Final = (
    words(b"DEL", several(KEYS, 1, 3)),
    words(b"UNLINK", several(KEYS, 0, 3)),
    words(b"EXISTS", several(KEYS, 1, 3)),
    words(b"TOUCH", several(KEYS, 1, 3)),
    words(b"TYPE", KEYS),
    words(b"EXPIRE", KEYS, SECONDS, CONDITIONS),
    words(b"PEXPIRE", KEYS, MILLISECONDS, CONDITIONS),
    words(b"EXPIREAT", KEYS, LATER_S | PAST, CONDITIONS),
    words(b"PEXPIREAT", KEYS, LATER_MS | PAST, CONDITIONS),
    words(st.sampled_from([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), KEYS),
    words(b"PERSIST", KEYS),
    words(b"RENAME", KEYS, KEYS),
    words(b"RENAMENX", KEYS, KEYS),
    words(
        b"COPY", KEYS, KEYS, maybe(st.sampled_from([(b"REPLACE",), (b"replace", b"DB", b"0"), (b"DB", b"x"), (b"X",)]))
    ),
    words(b"RANDOMKEY"),
    words(b"DBSIZE"),
    words(b"KEYS", PATTERNS),
    words(
        b"SCAN",
        b"0",
        b"COUNT",
        b"100",
        maybe(words(b"MATCH", PATTERNS), words(b"TYPE", st.sampled_from([b"string", b"list"]))),
    ),
    words(b"SCAN", st.sampled_from([b"x", b"1.5", b"99999999999999999999", b"+", b" 0"])),
    words(b"SCAN", st.sampled_from([b"", b"+0", b"00"]), b"COUNT", b"100"),
    words(b"SCAN", b"0", st.sampled_from([(b"COUNT", b"0"), (b"COUNT", b"x"), (b"MATCH",), (b"WHAT", b"x")])),
    words(st.sampled_from([b"FLUSHDB", b"FLUSHALL"]), maybe(st.sampled_from([(b"ASYNC",), (b"SYNC",), (b"X",)]))),
)
WRONG: Final = (
    st.sampled_from([b"GET", b"SET", b"INCRBY", b"MSET", b"RENAME", b"EXPIRE", b"SCAN", b"EXEC", b"DISCARD"]).map(
        lambda name: (name,)
    ),
    words(b"NOSUCH", several(VALUES, 0, 2)),
    words(b"GET", KEYS, KEYS),
    words(b"ECHO", VALUES),
    words(b"PUBLISH", KEYS, VALUES),
    words(b"PUBSUB", st.sampled_from([(b"CHANNELS",), (b"NUMPAT",), (b"numsub", b"a"), (b"channels", b"a", b"b")])),
    words(b"PING"),
    words(b"SELECT", st.sampled_from([b"0", b"99", b"x", b"3000000000", b"-1", b"+0"])),
    words(b"HELLO", st.sampled_from([b"4", b"+3", b"03", b" 3", b"x", b"99999999999999999999"])),
    words(b"EXPIRE", KEYS, b"100", b"\xff"),
    words(b"CLIENT", st.sampled_from([(b"LIST", b"ID"), (b"KILL", b"ID")]), b"9" * 5_000),
)
SINGLE: Final = st.one_of(*STRINGS, *STRINGS, *KEY_COMMANDS, *WRONG)
NESTED: Final = st.one_of(SINGLE, SINGLE, SINGLE, SINGLE, words(b"WATCH", KEYS), words(b"MULTI"), words(b"UNWATCH"))
BLOCKS: Final = st.tuples(
    st.lists(st.one_of(words(b"WATCH", several(KEYS, 1, 3)), SINGLE, words(b"UNWATCH")), max_size=3),
    st.lists(NESTED, max_size=6),
    st.sampled_from([(b"EXEC",), (b"EXEC",), (b"EXEC",), (b"DISCARD",)]),
).map(lambda parts: [*parts[0], (b"MULTI",), *parts[1], parts[2]])
SEQUENCES: Final = st.lists(st.one_of(SINGLE.map(lambda one: [one]), BLOCKS), min_size=COMMANDS, max_size=COMMANDS).map(
    lambda found: [command for part in found for command in part]
)


# --- comparison ------------------------------------------------------------------------------------------------------


def comparable(command: Words, reply: Reply) -> object:
    """Return a reply as far as it is promised."""
    name = command[0].upper()
    kind, content = reply
    if kind == b"*" and isinstance(content, list):
        if name == b"KEYS":
            return kind, sorted(content)
        if name == b"SCAN":
            return kind, content[0], sorted(content[1][1])
    if name == b"RANDOMKEY" and kind == b"$":
        return kind, content == b"-1"
    return reply


def is_same(command: Words, theirs: Reply, ours: Reply) -> bool:
    """Whether two replies are the same, or times that differ by little."""
    name = command[0].upper()
    if name in {b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"} and theirs[0] == ours[0] == b":":
        one, other = (int(str(reply[1], "ascii")) for reply in (theirs, ours))  # type: ignore[call-overload]
        nearly = NEARLY_MS if name.startswith(b"P") else NEARLY_MS // 1000
        return one == other or (min(one, other) >= 0 and abs(one - other) <= nearly)
    return comparable(command, theirs) == comparable(command, ours)


def said(number: int, commands: Sequence[Words], their: Reply, our: Reply) -> str:
    """Describe a command of a sequence with both replies, and what was sent before it."""
    return f"{number}: {commands[number]!r}: Redis {their!r}, kvraft {our!r}; before it: {commands[:number]!r}"


def ask_both(clients: tuple[Client, Client], commands: Sequence[Words]) -> tuple[list[Reply], list[Reply]]:
    """Send the same to both, so that they work at the same time; return the replies of each."""
    for client in clients:
        client.send(commands)
    one, other = ([client.read() for _ in commands] for client in clients)
    return one, other


def compare(commands: Sequence[Words], theirs: Sequence[Reply], ours: Sequence[Reply]) -> None:
    """Hold the replies to a sequence against each other, those within blocks one by one."""
    queued: list[Words] = []
    in_block = False
    for number, (command, their, our) in enumerate(zip(commands, theirs, ours, strict=True)):
        name = command[0].upper()
        if in_block and name == b"EXEC" and their[0] == our[0] == b"*" and isinstance(their[1], list):
            assert isinstance(our[1], list), said(number, commands, their, our)
            assert len(queued) == len(their[1]) == len(our[1]), said(number, commands, their, our)
            for each, one, other in zip(queued, their[1], our[1], strict=True):
                assert is_same(each, one, other), f"{each!r} in {said(number, commands, their, our)}"
        else:
            assert is_same(command, their, our), said(number, commands, their, our)
        if their == (b"+", b"QUEUED"):
            queued.append(command)
        elif name == b"MULTI" and their[0] == b"+":
            in_block, queued = True, []
        elif name in {b"EXEC", b"DISCARD"} and len(command) == 1:
            in_block = False


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_generated_commands_are_answered_as_redis_answers_them(protocol: bytes, both: tuple[Client, Client]) -> None:
    """In RESP2 and RESP3, alone and between MULTI and EXEC, right and wrong ones."""
    counted = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[*HealthCheck],
    )
    @given(SEQUENCES)
    def check(commands: list[Words]) -> None:
        nonlocal counted
        counted += len(commands)
        ask_both(both, [(b"RESET",), (b"FLUSHALL",), (b"HELLO", protocol)])
        compare(commands, *ask_both(both, commands))

    check()
    assert counted >= EXAMPLES * COMMANDS


MESSAGES: Final[list[tuple[int, Words]]] = [
    (0, (b"SUBSCRIBE", b"a", b"b", b"a")),
    (0, (b"PSUBSCRIBE", b"a*", b"[^a]", b"\\a")),
    (1, (b"PUBLISH", b"a", b"line\r\nend")),
    (1, (b"PUBLISH", b"ab", b"")),
    (1, (b"PUBLISH", b"x", b"1")),
    (1, (b"PUBSUB", b"NUMSUB", b"a", b"b", b"x")),
    (1, (b"PUBSUB", b"NUMPAT")),
    (0, (b"UNSUBSCRIBE", b"b", b"x")),
    (0, (b"PUNSUBSCRIBE", b"a*")),
    (1, (b"MULTI",)),
    (1, (b"PUBLISH", b"a", b"1")),
    (1, (b"PUBLISH", b"b", b"2")),
    (1, (b"EXEC",)),
    (0, (b"PUNSUBSCRIBE", b"[^a]", b"\\a")),
    (0, (b"UNSUBSCRIBE",)),
    (0, (b"UNSUBSCRIBE",)),
    (0, (b"PSUBSCRIBE", b"__keyevent@0__:*")),
    (1, (b"SET", b"k", b"v")),
    (1, (b"DEL", b"k")),
    (0, (b"PUNSUBSCRIBE",)),
    (0, (b"SUBSCRIBE", b"__keyspace@0__:k")),
    (1, (b"SET", b"k", b"v")),
    (1, (b"MSET", b"other", b"1", b"k", b"2")),
    (0, (b"UNSUBSCRIBE",)),
    (0, (b"SUBSCRIBE", b"__keyevent@0__:expired")),
    (1, (b"PSETEX", b"k", b"20", b"v")),
]
"""Which of two connections sends what."""
TOGETHER: Final[list[list[Words]]] = [
    [(b"SUBSCRIBE", b"a"), (b"PING",), (b"UNSUBSCRIBE",), (b"PING",), (b"SET", b"k", b"v")],
    [(b"SUBSCRIBE", b"a"), (b"RESET",), (b"PUBLISH", b"a", b"x"), (b"PING",)],
    [(b"SET", b"k", b"v"), (b"PSUBSCRIBE", b"a*"), (b"PING", b"x"), (b"PUNSUBSCRIBE", b"a*"), (b"GET", b"k")],
    [(b"MULTI",), (b"SUBSCRIBE", b"a"), (b"PING",), (b"EXEC",), (b"PING",), (b"RESET",), (b"PUBLISH", b"a", b"x")],
    [(b"SUBSCRIBE", b"a"), (b"QUIT",), (b"PING",)],
]
"""Commands that are sent at once on a connection of their own."""
TOLD_S: Final = 0.05
"""So long after a command notifications of it have been delivered, seconds."""
EXPIRED_S: Final = 2.0
"""So long after it a key has expired, seconds."""


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_messages_are_told_as_redis_tells_them(protocol: bytes, both: tuple[Client, Client]) -> None:
    """Confirmations, messages of channels and patterns, what EXEC publishes, and notifications of keys."""
    told: list[list[Reply]] = []
    for known in both:
        setup = [(b"FLUSHALL",), (b"CONFIG", b"SET", b"notify-keyspace-events", b"KE$gx")]
        known.ask([(b"RESET",), *setup])
        subscriber, publisher = Client(known.port), Client(known.port)
        subscriber.ask([(b"HELLO", protocol)])
        told.append([])
        for number, words_ in MESSAGES:
            (publisher if number else subscriber).send([words_])
            if number:
                told[-1].append(publisher.read())
                time.sleep(EXPIRED_S if words_[0] == b"PSETEX" else TOLD_S)
            told[-1] += sorted(subscriber.read_all())  # Redis lists the patterns in an order of its own
        for each in (subscriber, publisher):
            each.close()

    assert told[0] == told[1]


@pytest.mark.parametrize("commands", TOGETHER)
@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_subscriptions_hold_for_what_is_sent_with_them(
    protocol: bytes, commands: list[Words], both: tuple[Client, Client]
) -> None:
    """Each command sees those before it, although all of them arrive together."""
    told: list[list[Reply]] = []
    for known in both:
        client = Client(known.port)
        client.ask([(b"HELLO", protocol)])
        told.append(client.ask_until_closed(commands) if (b"QUIT",) in commands else client.ask(commands))
        client.close()

    assert told[0] == told[1]
