"""Writes that are carried out once, however often they are sent: those with an Idempotency-Key.

A write and the mark that it was carried out are one transaction. The mark is a key of the store, so every member has
it, and it stays through failovers, snapshots and restarts for `KEPT_S`. A request whose mark exists is not carried
out. Its answer comes from the mark: the revision of the write, and whether the comparisons of a transaction held. The
results of a transaction are not kept; a read at that revision shows its effect.

A refusal leaves no mark, since it has changed nothing: the same request may succeed when it is sent again.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from kvraft.commands import Delete, InvalidCommand, Item, Outcome, Set, Transact, transact
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.transactions import Compare, Nested, Put, Read, Relation, Remove, SimpleStep, Target
from kvraft.server.http import answers
from kvraft.server.http.answers import Answer
from kvraft.server.http.call import Call
from kvraft.server.http.routes import IDEMPOTENCY_KEY

MARKS: Final = b".idempotency/"
"""What the keys of the marks begin with."""
KEPT_S: Final = 3_600
"""How long the mark of a request is kept, seconds of cluster time."""
NAME_CHARACTERS_MAX: Final = 200
"""Longest Idempotency-Key."""
DIGEST_BYTES: Final = 16
"""Bytes of the digest of a request, so that another request with the same Idempotency-Key is noticed."""
REPLAYED: Final = "Idempotency-Replayed"
"""The header of an answer to what was carried out earlier."""
_HELD: Final = b"+"
_DID_NOT_HOLD: Final = b"-"


def ask(
    call: Call,
    write: Set | Delete | Transact,
    answer: Callable[[Outcome], Answer],
    replay: Callable[[bool, int], Answer],
    *,
    keeps_either: bool = False,
) -> None:
    """Have a write carried out that has an Idempotency-Key.

    Args:
        call: the request.
        write: what it asks.
        answer: makes its answer.
        replay: makes the answer of one that was carried out earlier: whether its comparisons held, and its revision.
        keeps_either: whether it counts as carried out when its comparisons do not hold, too.
    """
    name = _name(call)
    mark = MARKS + name
    digest = _digest(call)
    compares, then, otherwise = _parts(write)
    kept = Put(mark, _HELD + digest, KEPT_S * SECOND_US)
    kept_else = Put(mark, _DID_NOT_HOLD + digest, KEPT_S * SECOND_US)
    both = Nested(compares, [*then, kept], [*otherwise, kept_else] if keeps_either else otherwise)
    is_new = Compare(mark, Target.EXISTS, Relation.EQUAL, 0)

    def told(outcome: Outcome) -> Answer:
        (result,) = outcome.results
        if outcome.succeeded:
            assert isinstance(result, Outcome), "a nested transaction has an outcome"
            marked = result.succeeded or keeps_either
            results = result.results[:-1] if marked else result.results
            return answer(Outcome(result.succeeded, outcome.revision, results))
        assert isinstance(result, Item), "a mark that is there can be read"
        content = result.value
        if content[1:] != digest:
            return answers.error("IDEMPOTENCY_KEY_REUSED", "another request was carried out under this Idempotency-Key")
        return _replayed(replay(content[:1] == _HELD, result.modify_revision))

    call.ask(transact([is_new], [both], [Read(mark)]), told)


def _replayed(answer: Answer) -> Answer:
    return Answer(answer.status, answer.body, answer.media_type, {**answer.headers, REPLAYED: "true"})


def _name(call: Call) -> bytes:
    name = call.header(IDEMPOTENCY_KEY) or ""
    if len(name) > 1 and name.startswith('"') and name.endswith('"'):
        name = name[1:-1]
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isascii() or not name.isprintable():
        raise InvalidCommand(f"an Idempotency-Key has 1 to {NAME_CHARACTERS_MAX} characters of ASCII")
    return name.encode()


def _digest(call: Call) -> bytes:
    request = call.request
    content = b"%b %b\n%b" % (request.method, request.uri, call.body)
    return blake2b(content, digest_size=DIGEST_BYTES).hexdigest().encode()


def _parts(write: Set | Delete | Transact) -> tuple[list[Compare], list[SimpleStep], list[SimpleStep]]:
    """Return the comparisons of a write and its two lists of steps.

    Raises:
        InvalidCommand: one of them is a transaction, and it would be nested twice.
    """
    if isinstance(write, Set):
        return [], [Put(write.key, write.value)], []
    if isinstance(write, Delete):
        return [], [Remove(write.key)], []
    lists: list[list[SimpleStep]] = []
    for steps in (write.then, write.otherwise):
        simple = [step for step in steps if not isinstance(step, Nested)]
        if len(simple) != len(steps):
            raise InvalidCommand("a transaction with an Idempotency-Key has no nested one")
        lists.append(simple)
    then, otherwise = lists
    return list(write.compares), then, otherwise
