"""Joins a new node to a running cluster, given the address of one member: `--join`.

The node asks that member for the members of the cluster, and asks the leader for MEMBER ADD. A node that was
interrupted asks again, and finds that it is a member already. All this happens before the node takes part in Raft, so
it may block.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import msgspec

from kvraft.config import Address, WrongValue
from kvraft.errors import exit_status
from kvraft.process.ask import Ask, Member, MembersView
from kvraft.process.seed import SEED_VERSION, JoinFailed, Seed
from kvraft.store import FEATURE_LEVEL, UnknownFeatureLevel

UNREACHABLE_S: Final = 5.0
"""Longest time without an answer from the member, seconds: it may be starting."""
PATIENCE_S: Final = 30.0
"""Longest time in which the cluster answers but cannot add the node, seconds: an election or another change of members
is in progress."""
JOIN_PAUSE_S: Final = 0.2
"""Pause between two requests, seconds."""

_FINAL: Final = frozenset({"REFUSED", "INVALID", "USAGE", "UNKNOWN_COMMAND"})
"""Errors that a repeated request would get again."""


@attrs.define
class Joining:
    """One attempt to join.

    Attributes:
        me: this node's id.
        incarnation: names its data directory.
        address: the address at which it will be reached.
        contact: a member of the cluster.
        cluster_id: the cluster that the data directory belongs to; None when it belongs to none.
        keep: makes the seed durable.
        ask: see `kvraft.process.ask`.
    """

    me: int
    incarnation: str
    address: Address
    contact: Address
    cluster_id: str | None
    keep: Callable[[Seed], None]
    ask: Ask
    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _told: Seed | None = None

    def join(self) -> Seed:
        """Become a member, and return the seed with the other members.

        Raises:
            JoinFailed: there was no answer, or the cluster refused this node.
        """
        give_up = self.seconds() + PATIENCE_S
        heard = self.seconds()
        why = ""
        while self.seconds() < give_up:
            try:
                why = self._try()
                if not why:
                    assert self._told is not None, "a node that was let in has received the cluster's members"
                    return self._told
                heard = self.seconds()
            except OSError as error:
                why = f"node {self.me} cannot join: no answer from {self.contact} ({error})"
                if self.seconds() - heard >= UNREACHABLE_S:
                    break
            self.sleep(JOIN_PAUSE_S)
        else:
            raise JoinFailed(exit_status.NOPERM, f"node {self.me} could not join within {PATIENCE_S:g} s: {why}")
        raise JoinFailed(
            exit_status.NOHOST, f"{why}; is a node running there? Name any member of the cluster with --join"
        )

    def check(self) -> None:
        """Check that `contact` is not a member of another cluster than this node's; no answer is no error.

        Raises:
            JoinFailed: it is.
        """
        with suppress(OSError):
            self._look()

    def _try(self) -> str:
        """Try once to join; return why another try is needed, or "" when this node is a member."""
        view, cluster_id = self._look()
        if view.changing:
            return "the members are just being changed"
        self._keep(view, cluster_id)
        mine = view.find(self.me)
        if mine is not None:
            self._check_mine(mine)
            return ""
        self._check_new(view)
        leader = view.find(view.leader)
        if leader is None:
            return f"{self.contact} has no leader"
        (answer,) = self.ask(Address.parse(leader.address), f"MEMBER ADD {self.me} {self.address}\n")
        if answer.get("status") == "OK":
            return ""
        why = str(answer.get("message") or answer.get("error"))
        if answer.get("error") in _FINAL and "already" not in why:  # the next try finds out which node has the id
            raise JoinFailed(exit_status.NOPERM, f"node {self.me} cannot join: {why}")
        return why

    def _look(self) -> tuple[MembersView, str | None]:
        members, status = self.ask(self.contact, "MEMBERS\nSTATUS\n")
        try:
            view = msgspec.convert(members, MembersView)
            for member in view.members:
                Address.parse(member.address)
        except (msgspec.ValidationError, WrongValue) as error:
            raise OSError(f"what answers there is no kvraft node that this one can read: {error}") from error
        level = status.get("feature_level")
        if isinstance(level, int) and level > FEATURE_LEVEL:
            raise JoinFailed(exit_status.PROTOCOL, f"node {self.me} cannot join: {UnknownFeatureLevel(level)}")
        cluster_id = status.get("cluster_id")
        if None not in {cluster_id, self.cluster_id} and cluster_id != self.cluster_id:
            raise JoinFailed(
                exit_status.NOPERM,
                f"node {self.me} cannot join: its data directory belongs to cluster {self.cluster_id}, and "
                f"{self.contact} to cluster {cluster_id}; give the node an empty data directory, or name a member of "
                "its own cluster",
            )
        return view, cluster_id

    def _keep(self, view: MembersView, cluster_id: str | None) -> None:
        others = [member for member in view.members if member.id != self.me]
        seed = Seed(
            SEED_VERSION,
            self.me,
            str(self.address),
            cluster_id,
            {member.id: member.address for member in others},
            [member.id for member in others if member.role == "learner"],
            view.removed,
        )
        if seed != self._told:
            self.keep(seed)
            self._told = seed

    def _check_mine(self, mine: Member) -> None:
        """Raise JoinFailed if the id belongs to another node."""
        is_other = mine.incarnation not in {None, self.incarnation}
        if is_other or (mine.incarnation is None and mine.address != str(self.address)):
            raise JoinFailed(
                exit_status.NOPERM,
                f"node {self.me} cannot join: the id {self.me} belongs to the member at {mine.address}, which has "
                "another data directory; choose an id that was never used",
            )

    def _check_new(self, view: MembersView) -> None:
        """Raise JoinFailed for what the leader would refuse, with a specific exit status."""
        if self.me in view.removed or self.me < view.removed_below:
            raise JoinFailed(
                exit_status.REMOVED,
                f"node {self.me} cannot join: it was removed from this cluster; choose an id that was never used, and "
                "an empty data directory",
            )
        for member in view.members:
            if member.address == str(self.address):
                raise JoinFailed(
                    exit_status.NOPERM,
                    f"node {self.me} cannot join: {self.address} is the address of node {member.id}; name another one "
                    "with --address",
                )
