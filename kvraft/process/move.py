"""Tells the cluster the new address of a member that has moved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import msgspec

from kvraft.config import Address, WrongValue
from kvraft.process.ask import Ask, Member, MembersView

MOVE_PAUSE_S: Final = 1.0
"""Between two attempts to say that this node has moved, seconds."""


@attrs.define
class Moving:
    """Tells the cluster that a member is reached elsewhere now, until it is known. Runs in a thread of its own.

    The node asks by itself, since nobody can reach it where the log says; who it is stands in its request, so that a
    node with another incarnation moves no member. The address of a hello is not used: a connection's other end is not
    proven, and an address that is told in passing would be taken over in passing. A node that leads without being known
    where it is asks itself.

    Attributes:
        me: the member.
        incarnation: names its data directory.
        address: where it is reached now.
        contacts: by the id of each member, this one too, where it may be reached: where the log says, and where
            config.json says so, for a cluster that has moved as a whole.
        pause: waits so many seconds, and returns whether to give up.
        say: takes a sentence for the log.
        ask: see `ask`.
    """

    me: int
    incarnation: str
    address: Address
    contacts: Mapping[int, Sequence[Address]]
    pause: Callable[[float], bool]
    say: Callable[[str], None]
    ask: Ask

    def run(self) -> None:
        """Ask until it is done."""
        said = ""
        while True:
            why = self._try()
            if not why:
                self.say(f"node {self.me} is known at {self.address} now")
                return
            if why != said:
                self.say(f"node {self.me} is not known at {self.address} yet: {why}")
                said = why
            if self.pause(MOVE_PAUSE_S):
                return

    def _try(self) -> str:
        """Take one step; return why another one is needed, or nothing when it is done."""
        why, refusal = "no member answers", ""
        for contact in {each: None for places in self.contacts.values() for each in places}:
            try:
                view = msgspec.convert(self.ask(contact, "MEMBERS\n")[0], MembersView)
            except (OSError, msgspec.ValidationError):
                continue
            leader = view.find(view.leader)
            why = "no leader is known" if leader is None else f"the leader, node {leader.id}, does not answer"
            answer = self._ask_leader(leader) if leader is not None else {}
            if answer.get("status") == "OK":
                return ""
            refusal = refusal or str(answer.get("message") or "")
        return refusal or why

    def _ask_leader(self, leader: Member) -> dict[str, Any]:
        """Return what the leader answers, wherever it is reached; nothing if it does not, or does not lead any more."""
        for address in self._places_of(leader):
            with suppress(OSError):
                (answer,) = self.ask(address, f"MEMBER MOVE {self.me} {self.address} {self.incarnation}\n")
                if answer.get("error") != "NOT_LEADER":
                    return answer
        return {}

    def _places_of(self, leader: Member) -> Iterator[Address]:
        """Yield where a leader may be reached: it may have moved, too, or be this node."""
        with suppress(WrongValue):
            yield Address.parse(leader.address)
        for address in self.contacts.get(leader.id, ()):
            if str(address) != leader.address:
                yield address
