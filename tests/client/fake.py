"""A node of one process and one thread: the real reading of lines and the real store, without Raft or a disk."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.server.test_data_requests import Lines

_READ_BYTES: Final = 65536


class FakeNode:
    """Answers on a port of its own, until it is closed.

    It leads unless a test sets another leader. A watch is answered, and sent every later write of any key.
    """

    def __init__(self) -> None:
        self.lines = Lines()
        self.leader: str | None = None
        """Where the leader is, unless this is it."""
        self.writes = 0
        """Reads of the socket that brought something: requests that were sent together count once."""
        self.before: Callable[[bytes], object] = lambda _: None
        """Called with each line before it is answered, by the thread that answers."""
        self.told: dict[bytes, bytes] = {}
        """Answers to lines that begin with these verbs."""
        self.drops_after: bytes | None = None
        """Once a line begins so, it is carried out and the connection ends without its answer."""
        self.locks: dict[bytes, int] = {}
        """The tokens of the locks that are held."""
        self.lock_ttls: list[float] = []
        """The times to live in all requests for locks, seconds."""
        self._owners: dict[bytes, str] = {}
        self.renewals = 0
        """Locks that were renewed."""
        self._last_token = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.accepted = 0
        """Connections that were made to it."""
        self.watchers: list[socket.socket] = []
        self._lock = threading.RLock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def drop(self) -> None:
        """End every connection."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.watchers.clear()

    def close(self) -> None:
        """End."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def tell(self, *lines: str) -> None:
        """Send something to all watches."""
        for watcher in self.watchers:
            with contextlib.suppress(OSError):  # it has gone
                watcher.sendall("".join(f"{line}\n" for line in lines).encode())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        held = b""
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(_READ_BYTES):
                self.writes += 1
                *lines, held = (held + data).split(b"\n")
                for line in lines:
                    self.before(line)
                    with self._lock:
                        answer = self.answer(connection, line)
                    if self.drops_after is not None and line.startswith(self.drops_after):
                        self.drops_after = None
                        return
                    connection.sendall(answer + b"\n")

    def answer(self, connection: socket.socket, line: bytes) -> bytes:
        """Return the answer to a line."""
        if line == b"KEEP":
            return b'{"status":"OK"}'
        if (told := self.told.get(line.split(b" ")[0])) is not None:
            return told
        if line.startswith(b"WATCH"):
            self.watchers.append(connection)
            return b'{"watch":1,"revision":%d}' % self.lines.store.revision
        if line.split(b" ")[0] in {b"LOCK", b"RENEW", b"UNLOCK", b"TOKEN", b"LEADER"}:
            return json.dumps(self._of_a_lock(line)).encode()
        if self.leader is not None:
            return json.dumps({"error": "NOT_LEADER", "leader_hint": self.leader}).encode()
        return json.dumps(self.lines.ask(line)).encode()

    def _of_a_lock(self, line: bytes) -> dict[str, Any]:
        """Answer what concerns a lock; a request that waits is answered at once that it was too long."""
        verb, name, *rest = line.split(b" ", 3)
        if verb == b"LOCK":
            self.lock_ttls.append(float(rest[1].split(b" ")[0]))
            if name in self.locks:
                code = "LOCK_TIMEOUT" if b" WAIT " in line else "LOCK_HELD"
                return {"error": code, "message": "", "token": self.locks[name]}
            self._last_token += 1
            self.locks[name] = self._last_token
            self._owners[name] = line.rpartition(b" ")[2].decode()
            return {"token": self._last_token, "ttl": 10.0}
        if verb == b"LEADER":
            held = self.locks.get(name)
            return {"token": held, "owner": self._owners[name], "ttl": 10.0, "waiting": 0} if held else {"token": None}
        token = int(rest[0])
        if self.locks.get(name) != token:
            return {"error": "STALE_TOKEN", "message": "", "token": self.locks.get(name)}
        if verb == b"UNLOCK":
            del self.locks[name]
            return {"status": "OK"}
        if verb == b"TOKEN":
            return self.lines.ask(rest[1])
        self.renewals += 1
        return {"token": token, "ttl": 10.0}


@contextlib.contextmanager
def fake_nodes(count: int = 1) -> Iterator[list[FakeNode]]:
    """Run nodes, of which the last one leads."""
    nodes = [FakeNode() for _ in range(count)]
    for node in nodes[:-1]:
        node.leader = nodes[-1].address
    try:
        yield nodes
    finally:
        for node in nodes:
            node.close()


def event(revision: int, key: str = "k", *, more: bool = False) -> str:
    """Return an event as a node writes it."""
    told = {"watch": 1, **({"more": True} if more else {}), "event": "PUT", "key": key, "value": str(revision)}
    return json.dumps({**told, "revision": revision, "create_revision": 1, "version": 1})
