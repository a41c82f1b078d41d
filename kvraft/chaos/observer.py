"""Asks the nodes themselves, past the proxy: who leads, who answers, and whether they hold the same."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.task import deferLater

from kvraft.chaos.connection import Answer, ask
from kvraft.chaos.nodes import Nodes

STATUS_S: Final = 1.0
"""Longest wait for a node that is asked for its status."""
COMMAND_S: Final = 5.0
"""Longest wait for the answer to a command."""
POLL_S: Final = 0.1


class NeverHappened(Exception):
    """A state that must come by itself did not come in time; the text says which."""


class Observer:
    """Knows what the nodes say of themselves.

    Args:
        reactor: connects and keeps the time.
        nodes: who is asked.
    """

    def __init__(self, reactor: Any, nodes: Nodes) -> None:
        self._reactor = reactor
        self._nodes = nodes

    async def status(self, node: int) -> Answer:
        """What a node says of itself; empty when it does not answer."""
        return await ask(self._reactor, self._nodes.real_address(node), "STATUS", STATUS_S)

    async def command(self, node: int, line: str) -> Answer:
        """Give a node a command; return its answer, empty when there is none."""
        return await ask(self._reactor, self._nodes.real_address(node), line, COMMAND_S)

    async def leader(self) -> int | None:
        """Return who leads in the highest term that anybody who runs knows of, None when nobody says that he does."""
        best: tuple[int, int] | None = None
        for node in self._nodes.running:
            status = await self.status(node)
            if status.get("role") == "leader":
                best = max(best or (-1, -1), (status["term"], node))
        return None if best is None else best[1]

    # --- what must come ----------------------------------------------------------------------------------------------

    async def await_answers(self, patience_s: float) -> float:
        """Wait until every node answers; return how long that took, in seconds.

        Raises:
            NeverHappened: one does not.
        """
        return await self.wait_for("an answer from every node", self._all_answer, patience_s)

    async def await_progress(self, patience_s: float) -> float:
        """Wait until all nodes name one leader and it answers a read; return how long that took, in seconds.

        Raises:
            NeverHappened: they do not agree, or it makes no progress.
        """
        return await self.wait_for("one leader whom all follow and who answers", self._is_led, patience_s)

    async def await_equality(self, patience_s: float) -> float:
        """Wait until all nodes have applied the same and hold the same; return how long that took, in seconds.

        Raises:
            NeverHappened: they never do; the text tells what they hold.
        """
        return await self.wait_for("nodes that hold the same", self._are_equal, patience_s)

    async def wait_for(self, what: str, condition: Callable[[], Awaitable[bool]], patience_s: float) -> float:
        """Wait until `condition` holds; return how long that took, in seconds.

        Raises:
            NeverHappened: it does not.
        """
        began = self._reactor.seconds()
        while not await condition():
            if self._reactor.seconds() - began > patience_s:
                statuses = {node: await self.status(node) for node in self._nodes.ids}
                brief = {node: {key: each.get(key) for key in _TOLD} for node, each in statuses.items()}
                raise NeverHappened(f"after {patience_s:g} s still no {what}: {brief}")
            await deferLater(self._reactor, POLL_S, lambda: None)
        took: float = self._reactor.seconds() - began
        return took

    async def _all_answer(self) -> bool:
        return all([await self.status(node) for node in self._nodes.ids])

    async def _is_led(self) -> bool:
        statuses = [await self.status(node) for node in self._nodes.ids]
        leaders = {status.get("leader") for status in statuses}
        leader = leaders.pop()
        if leaders or leader is None:
            return False
        return "value" in await self.command(leader, "GET kvraft")

    async def _are_equal(self) -> bool:
        statuses = [await self.status(node) for node in self._nodes.ids]
        return all(statuses) and len({tuple(status[key] for key in _SAME) for status in statuses}) == 1


_SAME: Final = ("applied", "checksum", "revision", "keys")
_TOLD: Final = ("role", "term", "leader", "commit", *_SAME)
