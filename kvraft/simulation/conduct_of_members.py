"""Rules about changes of the members, checked from outside."""

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from kvraft.commands import AddMember, AdminCommand, Caller, MoveMember, RemoveMember, ReplaceMember
from kvraft.raft import InvariantViolated, Membership, Node
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
