"""The operator of a simulated cluster: transfers leadership, takes snapshots, changes the members, and retries."""

from collections.abc import Sequence
from typing import Final

from kvraft.simulation.clients import Answer
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.member import address_of

TRIES: Final = 8
"""How often a command is sent to another node before it is given up."""
RETRY_PAUSE_S: Final = 0.2
"""Time between two attempts, seconds."""
MEMBERS_MIN: Final = 3
MEMBERS_MAX: Final = 5
NODES_MAX: Final = 12
"""Most nodes that are started in one run."""


class Operator:
    """Sends commands to the present leader."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random = cluster.world.random("operator")
        self._open = 0
        self._is_stopped = False

    @property
    def is_idle(self) -> bool:
        """Whether every command is answered or given up."""
        return self._open == 0

    def stop(self) -> None:
        """Do not retry commands any more."""
        self._is_stopped = True

    def resume(self) -> None:
        """Retry commands again."""
        self._is_stopped = False

    def ask(self, line: str, member: int | None = None, *, tries: int = TRIES) -> None:
        """Send one command, to the leader or to the given node."""
        cluster = self._cluster
        target = member
        if target is None:
            leader = cluster.leader
            target = leader if leader is not None else self._random.choice([*cluster.members])

        self._open += 1

        def finished(answers: Sequence[Answer] | None) -> None:
            self._open -= 1
            answer = answers[0] if answers else {}
            cluster.world.tell("operator", f"{line} at node {target}: {answer}")
            lost = not answers or answer.get("error") == "NOT_LEADER"
            if lost and tries > 1 and member is None:
                cluster.world.at(cluster.world.now + RETRY_PAUSE_S, None, self._ask_again, line, tries - 1)

        cluster.client(keeps=False).ask(address_of(target), [line], finished)

    def _ask_again(self, line: str, tries: int) -> None:
        if not self._is_stopped:
            self.ask(line, tries=tries)

    def change_members(self, *, only_new: bool = False) -> None:
        """Begin one change of the members that is possible now; with `only_new` one that adds a node."""
        cluster = self._cluster
        leader = cluster.leader
        if leader is None:
            return
        membership = cluster.members[leader].node.membership
        new = max(cluster.members) + 1
        choices = []
        if new < NODES_MAX and len(membership.members) < MEMBERS_MAX:
            choices.append("add")
        if new < NODES_MAX:
            choices.append("replace")
        if len(membership.voters) > MEMBERS_MIN and not only_new:
            choices.append("remove")
        match self._random.choice(choices) if choices else None:
            case "add":
                cluster.start(new)
                self.ask(f"MEMBER ADD {new} {address_of(new)}")
            case "replace":
                old = self._random.choice(sorted(membership.voters))
                cluster.start(new)
                self.ask(f"MEMBER REPLACE {old} {new} {address_of(new)}")
            case "remove":
                self.ask(f"MEMBER REMOVE {self._random.choice(sorted(membership.members))}")
