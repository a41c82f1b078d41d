"""What clients have asked, by command and outcome: counted once a submission."""

import pytest

from kvraft.commands import AcquireLock, Failure, ListMembers, delete_key, get_key, set_key
from kvraft.errors import Overloaded
from kvraft.metrics.requests import UNCOUNTED_MAX, CommandCounts, Effect, RequestCounts
from tests.server.twins import Client, MemoryDatabase

SET = set_key(b"k", b"v")
FAILED = Failure("FULL", "no room")


def told(counts: RequestCounts) -> dict[str, dict[str, int]]:
    """Return the outcomes of each command."""
    return {command.name: {code: count for code, count in command.outcomes if count} for command in counts}


def test_each_request_of_a_submission_has_its_outcome() -> None:
    """Commands of one kind or of several, carried out, failed one by one, or refused together."""
    counts = RequestCounts("line")
    counts.note([SET], [1], 0.001)
    counts.note([SET, SET], [1, FAILED], 0.001)
    counts.note([SET, get_key(b"k"), SET], [FAILED, None, 1], 0.001)
    counts.note([get_key(b"k"), SET], Overloaded("later"), 0.001)
    assert told(counts) == {"set": {"OK": 3, "FULL": 2, "OVERLOADED": 1}, "get": {"OK": 1, "OVERLOADED": 1}}


def test_a_submission_is_timed_once_for_each_command_in_it() -> None:
    """However many requests of a kind it holds."""
    counts = RequestCounts("line")
    counts.note([SET] * 5, [1] * 5, 0.5)
    counts.note([SET, delete_key(b"k")], [1, 1], 0.25)
    assert {command.name: command.seconds.count for command in counts} == {"set": 2, "delete": 1}
    assert [command.seconds.total_s for command in counts] == [0.75, 0.25]


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        (type(SET), Effect.WRITE),
        (type(get_key(b"k")), Effect.READ),
        (AcquireLock, Effect.OTHER),
        (ListMembers, Effect.OTHER),
    ],
)
def test_commands_write_or_read_or_wait(kind: type, effect: Effect) -> None:
    """A lock's time says how long others held it, so it is no write's; an operator's command is neither."""
    assert CommandCounts(kind).effect is effect


def test_submissions_of_one_request_are_counted_together() -> None:
    """When many are uncounted, and at each look: none is lost, and their number is bounded."""
    counts = RequestCounts("line")
    for _ in range(UNCOUNTED_MAX + 1):
        counts.note_one(type(set_key(b"k", b"v")), 0.003)
    (command,) = counts
    assert len(command.uncounted) == 1
    assert command.requests == UNCOUNTED_MAX + 1
    assert command.seconds.count == command.requests == UNCOUNTED_MAX + 1
    assert not command.uncounted


def test_names_are_those_of_metrics() -> None:
    """Small letters and underscores."""
    assert CommandCounts(ListMembers).name == "list_members"


def test_a_connection_counts_what_it_answers() -> None:
    """Lines that arrive together are one submission; failures and refusals are counted by their code."""
    database, counts = MemoryDatabase(waits=True), RequestCounts("line")
    client = Client(database, counts=counts)
    client.sends(b"SET a 1\nGET a\n")
    client.passes(0.05)
    database.answer_next()
    assert told(counts) == {"set": {"OK": 1}, "get": {"OK": 1}}
    assert [command.seconds.total_s for command in counts] == [pytest.approx(0.05), pytest.approx(0.05)]

    database.results = [FAILED]
    client.sends(b"SET a 1\n")
    database.answer_next()
    database.refusal = Overloaded("later")
    client.sends(b"SET a 1\n")
    database.answer_next()
    assert told(counts)["set"] == {"OK": 1, "FULL": 1, "OVERLOADED": 1}


def test_what_needs_no_store_is_not_counted() -> None:
    """PING and mistakes are answered by the connection; an operator's command is counted."""
    counts = RequestCounts("line")
    client = Client(counts=counts)
    client.sends(b"PING\nNONSENSE\nMEMBERS\n")
    assert told(counts) == {"list_members": {"OK": 1}}


def test_failures_among_answers_that_wait_for_the_client_are_counted() -> None:
    """Answers to a client that does not read are counted although it has not read them."""
    database, counts = MemoryDatabase(waits=True), RequestCounts("line")
    client = Client(database, counts=counts)
    database.results = [FAILED]
    client.sends(b"SET a 1\n")
    client.protocol.pauseProducing()
    database.answer_next()
    assert told(counts)["set"] == {"FULL": 1}
