"""Nodes without processes, sockets and time: what a machine of the client meets, step by step."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from kvraft.client.channel import Channel
from kvraft.client.errors import ClientError
from kvraft.client.link import Link, Machine
from kvraft.client.nodes import Address
from kvraft.client.requests import Request

NODES = tuple(Address("10.0.0.1", 8080 + node) for node in range(3))
"""Where the nodes are."""


def hint(node: int) -> str:
    """Return how a node is named in a hint."""
    return str(NODES[node])


class Network:
    """A machine with its time, and the connection that it has."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now = 100.0
        self.link: Link | None = None
        self.sent: list[bytes] = []
        """Lines that were sent on this connection and are not answered yet."""
        self.dialled: list[Address] = []
        """Every address to which a connection was asked for."""

    def look(self) -> None:
        """Take what the machine asks for and sends."""
        if self.machine.link is not self.link:
            self.link = self.machine.link
            self.sent.clear()
            if self.link is not None:
                self.dialled.append(self.link.address)
        self.sent += self.machine.take_output().splitlines()

    def connect(self) -> int:
        """Let the connection that is asked for stand; return the node."""
        self.look()
        assert self.link is not None, "no connection is asked for"
        self.machine.connected(self.now)
        self.look()
        address = self.dialled[-1]
        return NODES.index(address) if address in NODES else -1

    def lose(self) -> None:
        """Let the connection end, or fail."""
        self.machine.lost(self.now)
        self.look()

    def say(self, *answers: dict[str, Any]) -> None:
        """Let the node say something, all in one chunk."""
        self.machine.received(b"".join(json.dumps(each).encode() + b"\n" for each in answers), self.now)
        self.look()

    def answer(self, *answers: dict[str, Any]) -> list[bytes]:
        """Answer as many lines as there are answers, and KEEP before them; return the lines."""
        kept = [{"status": "OK"}] if self.sent[:1] == [b"KEEP"] else []
        lines, self.sent = self.sent[: len(kept) + len(answers)], self.sent[len(kept) + len(answers) :]
        self.say(*kept, *answers)
        return lines[len(kept) :]

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake the machine whenever it has asked for it."""
        until = self.now + seconds
        for _ in range(10_000):
            wake_at = self.machine.wake_at()
            if wake_at is None or wake_at > until:
                break
            self.now = max(self.now, wake_at)
            self.machine.woken(self.now)
            self.look()
        else:
            raise AssertionError("the machine wakes all the time")
        self.now = until

    def until_wanted(self) -> None:
        """Let time pass until a connection is asked for."""
        for _ in range(1_000):
            self.look()
            if self.link is not None:
                return
            self.advance(0.01)
        raise AssertionError("no connection is asked for")


class Caller(Network):
    """A client, its answers, and the nodes as it meets them."""

    def __init__(self, seed: int = 1, pending_max: int = 1000) -> None:
        self.channel = Channel(NODES, Random(seed), pending_max)
        super().__init__(self.channel)
        self._told: list[tuple[Request[Any], Any, ClientError | None]] = []

    def ask(self, request: Request[Any], timeout_s: float = 10.0) -> Request[Any]:
        """Submit a request."""
        self.channel.submit(request, self.now, timeout_s)
        self.look()
        return request

    def told(self, request: Request[Any]) -> object:
        """Return the result of a request, its error, or ... while it has none."""
        self._told += self.channel.take_finished()
        ends = [(value, error) for ended, value, error in self._told if ended is request]
        assert len(ends) <= 1, f"{request.line!r} ended twice"
        value, error = ends[0] if ends else (..., None)
        return value if error is None else error

    def serve(self, decide: Callable[[int, bytes], dict[str, Any] | None], seconds: float = 30.0) -> None:
        """Answer everything as `decide` says, for at most a time; None: the connection ends."""
        until = self.now + seconds
        while self.now < until and self.machine.wake_at() is not None:
            self.look()
            if self.link is not None and not self.link.is_connected:
                self.connect()
            if self.link is None or not self.sent:
                self.advance(0.01)
                continue
            line = self.sent.pop(0)
            answer = {"status": "OK"} if line == b"KEEP" else decide(NODES.index(self.link.address), line)
            if answer is None:
                self.lose()
            else:
                self.say(answer)
