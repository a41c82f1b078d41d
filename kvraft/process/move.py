"""Reports the new address of a member that has moved to the cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import msgspec

from kvraft.config import Address, WrongValue
from kvraft.process.ask import Ask, Member, MembersView

MOVE_PAUSE_S: Final = 1.0
"""Pause between two attempts, seconds."""


@attrs.define
class Moving:
    """Sends MEMBER MOVE with a member's new address to the leader until it is committed. Runs in its own thread.

    The moved node must send the request, since the others cannot reach it at the address in the log. The request holds
    its incarnation, so that another node with the same id cannot move the member. The address in a hello is not used:
    the other end of a connection is not authenticated, so any hello could change a member's address. A node that leads
    and has moved sends the request to itself.

    Attributes:
        me: the member.
        incarnation: names its data directory.
        address: the address at which it is reached now.
        contacts: for each member including this one, the addresses at which it may be reached: the one in the log, and
            the one in config.json, for a cluster whose members have all moved.
        pause: waits so many seconds, and returns whether to give up.
        say: takes a sentence for the log.
        ask: see `kvraft.process.ask`.
    """

    me: int
    incarnation: str
    address: Address
    contacts: Mapping[int, Sequence[Address]]
    pause: Callable[[float], bool]
    say: Callable[[str], None]
    ask: Ask

    def run(self) -> None:
        """Try until the move is done."""
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
        """Try once; return why another try is needed, or "" when the move is done."""
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
        """Return the leader's answer; an empty one if it does not answer at any address, or does not lead any more."""
        for address in self._places_of(leader):
            with suppress(OSError):
                (answer,) = self.ask(address, f"MEMBER MOVE {self.me} {self.address} {self.incarnation}\n")
                if answer.get("error") != "NOT_LEADER":
                    return answer
        return {}

    def _places_of(self, leader: Member) -> Iterator[Address]:
        """Yield the addresses at which the leader may be reached: it may have moved too, or be this node."""
        with suppress(WrongValue):
            yield Address.parse(leader.address)
        for address in self.contacts.get(leader.id, ()):
            if str(address) != leader.address:
                yield address
