"""Rules about changes of the members, checked from outside."""

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred

from kvraft.commands import AddMember, AdminCommand, Caller, MoveMember, RemoveMember, ReplaceMember
from kvraft.raft import Entry, EntryKind, InvariantViolated, Membership, Node
from kvraft.replica.intake import Intake
from kvraft.simulation.conduct import demand


@attrs.define
class Departures:
    """The latest committed configuration of one process. That of config.json, at index 0, may be wrong."""

    settled: Membership | None = None

    def after_change(self, node: Node) -> None:
        """Check that whoever has left by a committed configuration counts as removed for ever (row 19)."""
        membership = node.membership
        if membership is self.settled or not 0 < node.membership_index <= node.commit:
            return
        before, self.settled = self.settled, membership
        if before is not None:
            missing = sorted(each for each in before.members - membership.members if each not in membership.departed)
            demand(
                not missing, f"node {node.id}: the members {missing} have left, and do not count as removed (row 19)"
            )


def check_end(member: int, committed: Mapping[int, Entry]) -> None:
    """Check that a node which ends as removed is not needed any more: the committed configuration is without it.

    An outgoing voter of a joint configuration still has its vote (§6).

    Raises:
        InvariantViolated: the latest committed configuration has it.
    """
    changes = (index for index, entry in committed.items() if entry.kind == EntryKind.MEMBERSHIP)
    latest = max(changes, default=0)
    has_left = latest > 0 and member not in Membership.decode(committed[latest].payload).members
    demand(has_left, f"node {member} ends as removed, and is a member by the configuration of entry {latest}")


def watch_answers(node: Node, intake: Intake, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a change that is answered with OK is committed, with all its steps."""
    administer = intake.administer

    def administer_and_look(caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        done = administer(caller, command)
        if isinstance(command, AddMember | RemoveMember | ReplaceMember | MoveMember):
            done.addCallback(look, command)
        return done

    def look(answer: dict[str, object], command: AdminCommand) -> dict[str, object]:
        if node.membership.outgoing or node.commit < node.membership_index:
            object_to(
                InvariantViolated(
                    f"node {node.id} answers {command} with {answer}, and has committed entry {node.commit}; the "
                    f"configuration is that of entry {node.membership_index}"
                )
            )
        return answer

    intake.administer = administer_and_look  # type: ignore[method-assign]


def watch_regained_vote(
    node: Node, promised: Callable[[], tuple[int, int]], object_to: Callable[[InvariantViolated], None]
) -> None:
    """Check that a node which has started without its data does not vote too early, nor in a term in which it may have
    voted before.

    `promised` returns the term of the latest acknowledgement of all its processes, and the highest entry in it.
    """
    regain = node.regain_vote

    def regain_and_look() -> None:
        regain()
        term, index = promised()
        if node.term > 0 and node.vote is None:
            object_to(
                InvariantViolated(
                    f"node {node.id} has lost its data and may vote in term {node.term}, in which it may have voted"
                )
            )
        if 0 < node.term <= term and node.match_index < index:
            object_to(
                InvariantViolated(
                    f"node {node.id} has lost its data and may vote again; it has acknowledged entry {index} in term "
                    f"{term}, and its log matches the leader's up to {node.match_index} in term {node.term}"
                )
            )

    node.regain_vote = regain_and_look  # type: ignore[method-assign]
