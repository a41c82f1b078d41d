"""What a node may do with a client's request, checked from outside: propose it, send it on, answer it from its state.

Each rule is checked where it could be broken, since what follows from a breach needs a second coincidence: a write that
was refused and is in the log all the same, or a read that misses the one write which was confirmed just then.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from kvraft.commands import Mutation, Once
from kvraft.commands.placed_reads import StaleRead
from kvraft.errors import RequestFailed
from kvraft.process.assembly import Assembly
from kvraft.raft import Entry, InvariantViolated
from kvraft.simulation.conduct import Objection

SENT_MAX: Final = 1_000
"""Most writes whose sending is remembered."""


def watch_proposals(assembly: Assembly, committed: Mapping[int, Entry], object_to: Objection) -> None:
    """Check that nothing is proposed that was answered, and that what was proposed is refused only when it is certain.

    An entry of another leader may replace it in this node's log and not be committed: then another member may still
    hold what was proposed here, be elected, and commit it (row 12). An installed snapshot does not tell which entries
    it covers. `committed` holds all committed entries.
    """
    node, proposals = assembly.replica.node, assembly.replica._commits.under_way  # noqa: SLF001
    add, overwritten, take_up_to = proposals.add, proposals.overwritten, proposals.take_up_to

    def look_and_add(index: int, batch: Any, now: float) -> None:
        answered = sum(submission.answered for submission in batch.submissions)
        if answered:
            object_to(
                InvariantViolated(
                    f"node {node.id} proposes {answered} requests as entry {index} that were answered before"
                )
            )
        add(index, batch, now)

    def find_and_look(log: Any) -> Any:
        found = overwritten(log)
        for index, batch in found:
            if not (index <= node.commit or index in committed):
                for submission in batch.submissions:
                    where = f"proposed as entry {index}, and no other entry is committed there yet"
                    _watch_refusal(node.id, submission, object_to, where)
        return found

    def take_and_look(index: int) -> Any:
        found = take_up_to(index)
        for batch in found:
            for submission in batch.submissions:
                where = f"proposed before entry {index}, and the snapshot up to that entry may hold it"
                _watch_refusal(node.id, submission, object_to, where)
        return found

    proposals.add, proposals.overwritten = look_and_add, find_and_look  # type: ignore[method-assign]
    proposals.take_up_to = take_and_look  # type: ignore[method-assign]


def _watch_refusal(member: int, submission: Any, object_to: Objection, where: str) -> None:
    """Object to a definite refusal of what was proposed, or sent, there."""
    reply = submission._reply  # noqa: SLF001

    def look_and_reply(outcome: Any) -> None:
        if isinstance(outcome, RequestFailed) and outcome.definite:
            object_to(InvariantViolated(f"node {member} says {outcome.code} of what it has {where} (row 12)"))
        reply(outcome)

    submission._reply = look_and_reply  # noqa: SLF001


def watch_forwarding(assembly: Assembly, object_to: Objection) -> None:
    """Check that a write is sent on once more only if it was refused with certainty, or cannot be carried out twice."""
    forwarding: Any = assembly.replica.intake.forwarding
    send, lead, refused = forwarding._send, forwarding._lead_own, forwarding._refused  # noqa: SLF001
    sent: dict[int, Any] = {}
    """What was sent and may have been carried out, by its identity."""

    def note_and_refuse(passed: Any, code: str, text: str, is_definite: bool, details: Any) -> None:
        if is_definite:
            sent.pop(id(passed.submission), None)
        refused(passed, code, text, is_definite, details)

    def look_and_send(leader: int, passed: Any) -> None:
        look(leader, passed.submission)
        send(leader, passed)

    def look_and_lead(submission: Any) -> None:
        look(assembly.replica.node.id, submission)
        lead(submission)

    def look(leader: int, submission: Any) -> None:
        writes = [each for each in submission.operations if isinstance(each, Mutation)]
        if not writes or all(isinstance(each, Once) for each in writes):
            return
        if sent.get(id(submission)) is submission:
            object_to(
                InvariantViolated(
                    f"node {assembly.replica.node.id} passes {writes} on to node {leader}, and the leader to which it "
                    "was sent before may have carried it out (row 10)"
                )
            )
        sent[id(submission)] = submission
        if len(sent) > SENT_MAX:
            del sent[next(iter(sent))]

    forwarding._send, forwarding._lead_own = look_and_send, look_and_lead  # noqa: SLF001
    forwarding._refused = note_and_refuse  # noqa: SLF001


def watch_uncertain(assembly: Assembly, object_to: Objection) -> None:
    """Check that a write which a leader may have carried out, and has not answered, is not refused for certain later.

    It may be committed there also when the entry is replaced that this node itself has proposed for it (row 12).
    """
    forwarding: Any = assembly.replica.intake.forwarding
    refused, lost = forwarding._refused, forwarding.lost  # noqa: SLF001

    def note_and_refuse(passed: Any, code: str, text: str, is_definite: bool, details: Any) -> None:
        if not is_definite:
            note(passed)
        refused(passed, code, text, is_definite, details)

    def note_and_lose(peer: int) -> None:
        for passed in forwarding.under_way.values():
            if passed.sent_to == peer:
                note(passed)
        lost(peer)

    def note(passed: Any) -> None:
        if any(isinstance(each, Mutation) for each in passed.submission.operations):
            where = f"sent to node {passed.sent_to}, which has not said what became of it"
            _watch_refusal(assembly.replica.node.id, passed.submission, object_to, where)

    forwarding._refused, forwarding.lost = note_and_refuse, note_and_lose  # noqa: SLF001


def watch_local_reads(assembly: Assembly, reached: Callable[[], int], object_to: Objection) -> None:
    """Check that a follower answers a linearizable read from a state with all that was applied when the read arrived.

    `reached` returns the last entry that any node has applied: each write that was confirmed is one of these.
    """
    node, reads = assembly.replica.node, assembly.replica.intake.local_reads
    take = reads.take

    def take_and_watch(submission: Any) -> None:
        if not all(isinstance(each, StaleRead) for each in submission.operations):
            reply, needed = submission._reply, reached()  # noqa: SLF001

            def look_and_reply(outcome: Any) -> None:
                store = assembly.replica._state.store  # noqa: SLF001
                if not isinstance(outcome, RequestFailed) and store.applied_index < needed:
                    object_to(
                        InvariantViolated(
                            f"node {node.id} answers a read with its state at entry {store.applied_index}, and entry "
                            f"{needed} was applied when the read arrived (row 5)"
                        )
                    )
                reply(outcome)

            submission._reply = look_and_reply  # noqa: SLF001
        take(submission)

    reads.take = take_and_watch  # type: ignore[method-assign]
