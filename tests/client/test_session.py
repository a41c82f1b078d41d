"""Numbers of writes: what is sent again is carried out once, in virtual time and against a node that counts."""

from random import Random
from typing import Any

import pytest

from kvraft.client import OutcomeUnknown, Unavailable, requests
from kvraft.client.channel import Channel
from kvraft.client.session import WINDOW
from tests.client.virtual import NODES, Caller

OK = {"status": "OK"}
OPENED = {"client": 7, "ttl": 60.0}


def caller_in_a_session() -> Caller:
    """Return a client whose session is open on its connection."""
    caller = Caller()
    caller.channel = Channel(NODES, Random(1), exactly_once=True)
    caller.machine = caller.channel
    caller.ask(requests.set_("a", "1"))
    caller.connect()
    assert caller.answer(OPENED) == [b"SESSION TTL 60"]
    assert caller.answer(OK) == [b"#7:1 SET a 1"]
    return caller


def test_writes_have_numbers_and_reads_have_none() -> None:
    """The session is opened before the first write, and everything stays in its order."""
    caller = caller_in_a_session()
    caller.ask(requests.incr("n"))
    caller.ask(requests.get("n"))
    caller.ask(requests.raw(b"TRANSFER 1"))

    assert caller.sent == [b"#7:2 INCR n 1", b"GET n", b"TRANSFER 1"]


def test_reads_open_no_session() -> None:
    """A client that only reads costs the nodes nothing."""
    caller = Caller()
    caller.channel = Channel(NODES, Random(1), exactly_once=True)
    caller.machine = caller.channel
    caller.ask(requests.get("n"))
    caller.connect()

    assert caller.sent == [b"KEEP", b"GET n"]


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", None])
def test_a_write_whose_answer_is_lost_is_sent_again_with_its_number(code: str | None) -> None:
    """To the next node, in its place; later writes have later numbers."""
    caller = caller_in_a_session()
    first, second = caller.ask(requests.incr("n")), caller.ask(requests.incr("n"))

    if code is None:
        caller.lose()
    else:
        caller.answer(*[{"error": code, "message": "because"}] * 2)
    caller.until_wanted()
    caller.connect()

    assert caller.answer({"value": "1", "revision": 1}, {"value": "2", "revision": 2}) == [
        b"#7:2 INCR n 1",
        b"#7:3 INCR n 1",
    ]
    assert [caller.told(first), caller.told(second)] == [1, 2]


def test_only_so_many_writes_are_under_way() -> None:
    """The nodes keep so many answers: the next one waits for the oldest, and the limit is exact."""
    caller = caller_in_a_session()
    asked = [caller.ask(requests.incr("n")) for _ in range(WINDOW + 5)]
    assert len(caller.sent) == WINDOW
    caller.advance(0.5)

    caller.answer({"value": "1", "revision": 1})
    assert len(caller.sent) == WINDOW
    assert caller.sent[-1] == b"#7:%d INCR n 1" % (WINDOW + 2)

    caller.answer(*[{"value": "1", "revision": 1}] * WINDOW)
    caller.answer(*[{"value": "1", "revision": 1}] * 4)
    assert all(caller.told(each) == 1 for each in asked)


def test_a_session_that_has_expired_is_replaced() -> None:
    """What was sent once under the old one is asked under the new one: it had no effect."""
    caller = caller_in_a_session()
    asked = caller.ask(requests.incr("n"))

    caller.answer({"error": "SESSION_EXPIRED", "message": "gone"})

    assert caller.answer({"client": 9, "ttl": 60.0}) == [b"SESSION TTL 60"]
    assert caller.answer({"value": "1", "revision": 1}) == [b"#9:1 INCR n 1"]
    assert caller.told(asked) == 1


@pytest.mark.parametrize("code", ["SESSION_EXPIRED", "NUMBER_TOO_LOW"])
def test_a_write_that_may_have_happened_before_its_number_was_forgotten_is_unknown(code: str) -> None:
    """It must not be sent under another number."""
    caller = caller_in_a_session()
    asked = caller.ask(requests.incr("n"))
    caller.lose()
    caller.until_wanted()
    caller.connect()

    caller.answer({"error": code, "message": "gone"})

    assert isinstance(caller.told(asked), OutcomeUnknown)
    assert caller.sent == []


def test_a_deadline_after_an_answer_was_lost_is_unknown() -> None:
    """Whatever refusals came since."""
    caller = caller_in_a_session()
    asked = caller.ask(requests.incr("n"), timeout_s=2.0)
    caller.lose()

    caller.serve(lambda _node, _line: {"error": "NOT_LEADER", "leader_hint": None}, 5.0)

    assert isinstance(caller.told(asked), OutcomeUnknown)


def test_a_deadline_before_the_session_is_open_is_definite() -> None:
    """The write was never sent."""
    caller = Caller()
    caller.channel = Channel(NODES, Random(1), exactly_once=True)
    caller.machine = caller.channel
    asked = caller.ask(requests.incr("n"), timeout_s=1.0)
    caller.connect()
    assert caller.sent == [b"KEEP", b"SESSION TTL 60"]

    caller.advance(1.5)

    assert isinstance(caller.told(asked), Unavailable)


@pytest.mark.parametrize("code", ["UNKNOWN_COMMAND", "LEVEL_TOO_LOW"])
def test_nodes_of_an_earlier_version_are_asked_without_numbers(code: str) -> None:
    """What they lose is unknown then."""
    caller = Caller()
    caller.channel = Channel(NODES, Random(1), exactly_once=True)
    caller.machine = caller.channel
    asked = caller.ask(requests.incr("n"))
    caller.connect()

    caller.answer({"error": code, "message": "because"})

    assert caller.sent == [b"INCR n 1"]
    caller.lose()
    assert isinstance(caller.told(asked), OutcomeUnknown)


def test_each_write_is_carried_out_once_whatever_is_lost() -> None:
    """Requests and answers are lost at random, leaders change: the sum is exact, and so is each answer."""
    for seed in range(40):
        random = Random(seed)
        caller = Caller()
        caller.channel = Channel(NODES, Random(seed), exactly_once=True)
        caller.machine = caller.channel
        answers: dict[bytes, dict[str, Any]] = {}
        leader = 0

        def decide(node: int, line: bytes, random: Random = random, answers: Any = answers) -> dict[str, Any] | None:
            nonlocal leader
            if random.random() < 0.1:
                leader = random.randrange(3)
            if node != leader:
                return {"error": "NOT_LEADER", "leader_hint": random.choice([None, str(NODES[leader])])}
            if line.startswith(b"SESSION"):
                return OPENED
            if random.random() < 0.1:
                return None
            number = line.partition(b" ")[0]
            answers.setdefault(number, {"value": str(len(answers) + 1), "revision": 1})
            lost = random.random()
            return None if lost < 0.1 else {"error": "UNKNOWN", "message": ""} if lost < 0.2 else answers[number]

        asked = [caller.ask(requests.incr("n"), timeout_s=300.0) for _ in range(20)]
        caller.serve(decide, 300.0)
        # A change of leaders may change the order of what is in flight.
        assert {caller.told(each) for each in asked} == set(range(1, 21)), f"seed {seed}"
        assert len(answers) == 20
