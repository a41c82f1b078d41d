"""The policy of a client, in virtual time: which node it asks, what it repeats, and which outcomes are unknown."""

from typing import Any

import pytest

from kvraft.client import (
    ClientClosed,
    ConditionFailed,
    If,
    InvalidRequest,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
    requests,
)
from kvraft.client.channel import TIMEOUT_S
from kvraft.client.link import CONNECT_S, SILENCE_S
from kvraft.client.nodes import Address
from kvraft.client.route import BACKOFF_MAX_S
from tests.client.virtual import NODES, Caller, hint

OK = {"status": "OK"}


def not_leader(node: int | None) -> dict[str, Any]:
    """Return the refusal of a node that names another, or none."""
    return {"error": "NOT_LEADER", "leader_hint": None if node is None else hint(node)}


def refusal(code: str) -> dict[str, Any]:
    """Return a refusal."""
    return {"error": code, "message": "because"}


def test_requests_are_pipelined_and_answered_in_their_order() -> None:
    """Whatever waits goes out after KEEP, and later requests do not wait for earlier answers."""
    caller = Caller()
    first, second = caller.ask(requests.set_("a", "1")), caller.ask(requests.get("a"))
    caller.connect()
    assert caller.sent == [b"KEEP", b"SET a 1", b"GET a"]
    third = caller.ask(requests.incr("n"))
    assert caller.sent[-1] == b"INCR n 1"

    caller.answer(OK, {"value": "1"})

    assert [caller.told(each) for each in (first, second, third)] == [None, b"1", ...]


def test_a_request_is_executed_once() -> None:
    """The same one again is refused at once: what it holds is the end of its first execution."""
    caller = Caller()
    asked = caller.ask(requests.incr("n"))
    caller.connect()
    caller.answer({"value": "1"})

    with pytest.raises(InvalidRequest, match="make a new one"):
        caller.ask(asked)


def test_answers_may_come_in_any_pieces() -> None:
    """A chunk may end in the middle of an answer, be it after one byte."""
    caller = Caller()
    asked = [caller.ask(requests.get("a")), caller.ask(requests.get("b"))]
    caller.connect()

    for byte in b'{"status":"OK"}\n{"value":"x"}\n{"value_base64":"/w=="}\n':
        caller.channel.received(bytes([byte]), caller.now)

    assert [caller.told(each) for each in asked] == [b"x", b"\xff"]


def test_a_hint_is_followed_at_once() -> None:
    """All that was refused is asked there, in its order, and the connection before is left only then."""
    caller = Caller()
    asked = [caller.ask(requests.set_("a", "1")), caller.ask(requests.set_("b", "2"))]
    node = caller.connect()
    leader = (node + 1) % 3

    caller.answer(not_leader(leader))
    assert caller.told(asked[1]) is ..., "its answer is still to come"
    assert caller.link is not None
    assert caller.link.address == NODES[node], "left before all was answered"
    caller.answer(not_leader(leader))

    assert caller.connect() == leader
    assert caller.answer(OK, OK) == [b"SET a 1", b"SET b 2"]
    assert [caller.told(each) for each in asked] == [None, None]


def test_a_hint_may_name_a_node_that_was_not_known() -> None:
    """Members come and go."""
    caller = Caller()
    asked = caller.ask(requests.get("a"))
    caller.connect()

    caller.answer({"error": "NOT_LEADER", "leader_hint": "10.0.0.9:9000"})
    caller.connect()

    assert caller.dialled[-1] == Address("10.0.0.9", 9000)
    caller.answer({"value": None})
    assert caller.told(asked) is None


def test_two_nodes_that_name_each_other_are_not_asked_in_a_busy_loop() -> None:
    """After a few hints in a row the client waits longer and longer, and gives up in time."""
    caller = Caller()
    asked = caller.ask(requests.set_("a", "1"), timeout_s=5.0)

    caller.serve(lambda node, _: not_leader((node + 1) % 2))

    error = caller.told(asked)
    assert isinstance(error, Unavailable)
    assert error.code == "NOT_LEADER"
    assert 5.0 / BACKOFF_MAX_S < len(caller.dialled) < 40
    assert caller.now <= 100.0 + 5.0 + 0.1


@pytest.mark.parametrize("code", ["NOT_LEADER", "OVERLOADED", "STOPPING", "TIMEOUT", "STATE_DIFFERS", "BUSY"])
def test_a_refusal_for_the_moment_is_asked_again(code: str) -> None:
    """Also a write: it certainly had no effect."""
    caller = Caller()
    asked = caller.ask(requests.incr("n"))
    refusals = [{"leader_hint": None, **refusal(code)}] * 3
    served: list[bytes] = []

    def decide(_node: int, line: bytes) -> dict[str, Any]:
        served.append(line)
        return refusals.pop() if refusals else {"value": "1", "revision": 1}

    caller.serve(decide)

    assert caller.told(asked) == 1
    assert served == [b"INCR n 1"] * 4


def test_an_overloaded_leader_is_not_left() -> None:
    """It is still the one to ask, a moment later."""
    caller = Caller()
    asked = caller.ask(requests.set_("a", "1"))
    caller.connect()

    caller.answer(refusal("OVERLOADED"))
    assert caller.sent == []
    caller.advance(BACKOFF_MAX_S)

    assert caller.answer(OK) == [b"SET a 1"]
    assert caller.told(asked) is None
    assert len(caller.dialled) == 1


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", None])
def test_a_write_whose_answer_is_lost_is_unknown_and_never_sent_again(code: str | None) -> None:
    """Whether the node says so, or the connection ends."""
    caller = Caller()
    write, read = caller.ask(requests.incr("n")), caller.ask(requests.get("n"))
    node = caller.connect()

    if code is None:
        caller.lose()
    else:
        caller.answer(refusal(code), refusal(code))

    error = caller.told(write)
    assert isinstance(error, OutcomeUnknown)
    assert not error.definite
    caller.until_wanted()
    assert caller.connect() != node
    assert caller.answer({"value": "1"}) == [b"GET n"], "the read is asked elsewhere, and the write is not"
    assert caller.told(read) == b"1"


def test_a_write_that_was_never_sent_is_asked_elsewhere() -> None:
    """A node that cannot be reached has done nothing."""
    caller = Caller()
    asked = caller.ask(requests.incr("n"))
    caller.lose()
    caller.until_wanted()
    caller.lose()
    caller.until_wanted()

    caller.connect()
    caller.answer({"value": "1", "revision": 1})

    assert caller.told(asked) == 1
    assert len(set(caller.dialled)) == 3


def test_a_node_that_does_not_let_itself_be_connected_to_is_given_up() -> None:
    """The machine may be off: nothing refuses then."""
    caller = Caller()
    caller.ask(requests.get("a"))

    caller.advance(CONNECT_S + BACKOFF_MAX_S)

    assert len(set(caller.dialled)) == 2


def test_a_silent_leader_is_given_up() -> None:
    """It may be paused, and another one may lead. An answer that comes keeps it."""
    caller = Caller()
    first = caller.ask(requests.get("a"))
    second = caller.ask(requests.set_("a", "1"))
    caller.connect()
    caller.advance(SILENCE_S * 0.9)
    caller.answer({"value": None})
    caller.advance(SILENCE_S * 0.9)
    assert caller.told(second) is ...

    caller.advance(SILENCE_S * 0.2)

    assert caller.told(first) is None
    assert isinstance(caller.told(second), OutcomeUnknown)


def test_silence_counts_from_the_first_request_after_a_rest() -> None:
    """A connection on which nothing is owed may be silent for hours."""
    caller = Caller()
    caller.ask(requests.get("a"))
    caller.connect()
    caller.answer({"value": None})
    caller.advance(3600)

    asked = caller.ask(requests.get("a"))
    caller.advance(SILENCE_S * 0.9)
    caller.answer({"value": "1"})

    assert caller.told(asked) == b"1"
    assert len(caller.dialled) == 1


def test_a_deadline_says_whether_the_request_can_have_happened() -> None:
    """What was sent is unknown, what only reads or was never sent is not."""
    caller = Caller()
    unsent = caller.ask(requests.incr("n"), timeout_s=0.5)
    caller.advance(1.0)
    assert isinstance(caller.told(unsent), Unavailable)

    write, read = caller.ask(requests.incr("n"), timeout_s=1.0), caller.ask(requests.get("n"), timeout_s=1.0)
    caller.until_wanted()
    caller.connect()
    caller.advance(1.0)

    assert isinstance(caller.told(write), OutcomeUnknown)
    assert isinstance(caller.told(read), Unavailable)
    later = caller.ask(requests.get("m"))
    caller.answer({"value": "9", "revision": 1}, {"value": "n"}, {"value": "m"})
    assert caller.told(later) == b"m", "answers that come too late are not taken for others"


def test_every_request_ends_in_time() -> None:
    """Whatever the nodes do."""
    for seed in range(20):
        caller = Caller(seed)
        asked = [caller.ask(requests.set_(f"k{number}", "v")) for number in range(5)]
        answers = [not_leader(1), refusal("OVERLOADED"), None, not_leader(None), refusal("TIMEOUT"), OK]

        caller.serve(lambda node, _, answers=answers, seed=seed: answers[(node * 7 + seed) % 6])  # type: ignore[misc]

        assert caller.now - 100.0 <= TIMEOUT_S + 0.1
        assert all(caller.told(each) is not ... for each in asked)


def test_a_definite_error_is_the_requests_own() -> None:
    """It ends the request, with what the node has found."""
    caller = Caller()
    asked = caller.ask(requests.cas("a", If.absent(), "1"))
    caller.connect()

    found = {"value": "0", "create_revision": 1, "mod_revision": 2, "version": 2}
    caller.answer({**refusal("CONDITION_FAILED"), "found": found, "revision": 7})

    error = caller.told(asked)
    assert isinstance(error, ConditionFailed)
    assert error.definite
    assert error.found is not None
    assert (error.found.value, error.revision) == (b"0", 7)


def test_a_line_that_is_too_long_harms_no_other() -> None:
    """The node closes then, and carries out nothing that was sent after it."""
    caller = Caller()
    long, other = caller.ask(requests.set_("a", "1" * 100)), caller.ask(requests.incr("n"))
    caller.connect()

    caller.answer(refusal("LINE_TOO_LONG"))

    assert isinstance(caller.told(long), TooLarge)
    caller.connect()
    assert caller.answer({"value": "1", "revision": 1}) == [b"INCR n 1"]
    assert caller.told(other) == 1


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"{}\n{}\n{}\n{}\n", b"[1]\n"])
def test_what_speaks_no_kvraft_is_left(data: bytes) -> None:
    """A write to it is unknown, not done."""
    caller = Caller()
    asked = caller.ask(requests.incr("n"))
    caller.connect()

    caller.channel.received(data, caller.now)

    assert isinstance(caller.told(asked), OutcomeUnknown)


def test_only_so_many_requests_wait() -> None:
    """The limit is exact, and what is beyond it certainly did not happen."""
    caller = Caller(pending_max=2)
    caller.ask(requests.get("a"))
    caller.ask(requests.get("a"))

    assert isinstance(caller.told(caller.ask(requests.incr("n"))), Unavailable)
    caller.connect()
    caller.answer({"value": None})
    assert caller.told(caller.ask(requests.get("a"))) is ...


def test_a_client_that_is_closed_says_what_is_unknown() -> None:
    """What was sent may have happened, what waits has not, and nothing is taken any more."""
    caller = Caller()
    sent = caller.ask(requests.incr("n"))
    caller.connect()
    caller.answer(refusal("OVERLOADED"))
    waits = sent
    caller.advance(0.001)
    other = caller.ask(requests.incr("m"))
    caller.channel.close()

    assert isinstance(caller.told(waits), ClientClosed)
    assert isinstance(caller.told(other), ClientClosed)
    assert isinstance(caller.told(caller.ask(requests.get("a"))), ClientClosed)


def test_a_connection_that_ends_at_rest_is_made_anew_when_it_is_needed() -> None:
    """Without a wait: that the node closed it says nothing about the cluster."""
    caller = Caller()
    caller.ask(requests.get("a"))
    caller.connect()
    caller.answer({"value": None})
    caller.lose()
    assert caller.link is None

    asked = caller.ask(requests.get("a"))
    caller.connect()
    caller.answer({"value": "1"})

    assert caller.told(asked) == b"1"


def test_waits_differ_from_client_to_client() -> None:
    """All clients of a leader that is lost fail together, and must not come back together."""
    waits = set()
    for seed in range(8):
        caller = Caller(seed)
        caller.ask(requests.get("a"))
        caller.lose()
        waits.add(caller.machine.wake_at())

    assert len(waits) == 8
