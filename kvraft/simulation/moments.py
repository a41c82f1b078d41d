"""Moments at which a fault is to happen: a node has decided something, or is about to send a message."""

from collections.abc import Callable
from functools import partial

from kvraft.raft import Message, Node
from kvraft.simulation.member import Member

Condition = Callable[[Node], bool]
Saying = Callable[[Member, int, Message], bool]
"""(sender, receiver, message)"""


class Moments:
    """The faults that wait for a moment. Each is called once, before all effects of its moment.

    It must not end a process, since it is called in the middle of that process's turn.
    """

    def __init__(self) -> None:
        self.decisions: dict[int, tuple[Condition, Callable[[Member], None]]] = {}
        self.sayings: dict[int, tuple[Saying, Callable[[Member, int], None]]] = {}
        self._number = 0

    def when_decided(self, is_it: Condition, strike: Callable[[Member], None]) -> Callable[[], None]:
        """Call `strike` with the first node that decides so, before the effects; return what cancels this."""
        number = self._number = self._number + 1
        self.decisions[number] = is_it, strike
        return partial(self._call_off, number)

    def when_said(self, is_it: Saying, strike: Callable[[Member, int], None]) -> Callable[[], None]:
        """Call `strike` with sender and receiver before the first such message leaves; return what cancels this."""
        number = self._number = self._number + 1
        self.sayings[number] = is_it, strike
        return partial(self._call_off, number)

    def decided(self, member: Member) -> None:
        """Handle a decision of a node."""
        for number, (is_it, strike) in [*self.decisions.items()]:
            if is_it(member.node):
                del self.decisions[number]
                strike(member)

    def said(self, sender: Member, to: int, message: Message) -> None:
        """Handle a message that a node is about to send."""
        for number, (is_it, strike) in [*self.sayings.items()]:
            if is_it(sender, to, message):
                del self.sayings[number]
                strike(sender, to)

    def _call_off(self, number: int) -> None:
        self.decisions.pop(number, None)
        self.sayings.pop(number, None)
