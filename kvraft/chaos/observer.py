"""Asks the nodes directly, without the proxy: which one leads, which ones answer, whether their states are equal."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.task import deferLater

from kvraft.chaos.connection import Answer, ask
from kvraft.chaos.nodes import Nodes

STATUS_S: Final = 1.0
"""Longest wait for the status of a node, seconds."""
COMMAND_S: Final = 5.0
"""Longest wait for the answer to a command, seconds."""
POLL_S: Final = 0.1


class NeverHappened(Exception):
    """An expected state was not reached in time; the text says which."""


class Observer:
    """Reads the status of the nodes.

    Args:
        reactor: connects and keeps the time.
        nodes: the nodes.
    """

    def __init__(self, reactor: Any, nodes: Nodes) -> None:
        self._reactor = reactor
        self._nodes = nodes

    async def status(self, node: int) -> Answer:
        """Return the status of a node; empty when it does not answer."""
        return await ask(self._reactor, self._nodes.real_address(node), "STATUS", STATUS_S)

    async def command(self, node: int, line: str) -> Answer:
        """Send a command to a node; return its answer, empty when there is none."""
        return await ask(self._reactor, self._nodes.real_address(node), line, COMMAND_S)

    async def leader(self) -> int | None:
        """Return the leader of the highest term among the running nodes that report to lead; None if none does."""
        best: tuple[int, int] | None = None
        for node in self._nodes.running:
            status = await self.status(node)
            if status.get("role") == "leader":
                best = max(best or (-1, -1), (status["term"], node))
        return None if best is None else best[1]

    # --- expected states ---------------------------------------------------------------------------------------------

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
        return await self.wait_for("one leader that all nodes follow and that answers", self._is_led, patience_s)

    async def await_equality(self, patience_s: float) -> float:
        """Wait until all nodes have applied the same log and hold equal states; return how long it took, in seconds.

        Raises:
            NeverHappened: they do not; the text holds their states.
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
