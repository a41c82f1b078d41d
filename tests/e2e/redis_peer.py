"""A real redis-server beside kvraft, and connections that read replies as they are."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.conftest import missing_tool, require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import HOST, free_ports

REPLY_S: Final = 20.0

Words = tuple[bytes, ...]
Reply = tuple[bytes, object]
"""The first byte of a reply, and what it holds."""


class Client:
    """A connection that sends commands together and reads their replies as they are."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.create_connection((HOST, port), REPLY_S)
        self._input = self._socket.makefile("rb")

    def close(self) -> None:
        """Close it."""
        self._input.close()
        self._socket.close()

    def ask(self, commands: Sequence[Words]) -> list[Reply]:
        """Return the replies to some commands."""
        self.send(commands)
        return [self.read() for _ in commands]

    def ask_until_closed(self, commands: Sequence[Words]) -> list[Reply]:
        """Return the replies to some commands until the connection closes."""
        self.send(commands)
        replies = []
        while self._input.peek(1):
            replies.append(self.read())
        return replies

    def send(self, commands: Sequence[Words]) -> None:
        """Send some commands."""
        self._socket.sendall(b"".join(map(encoded, commands)))

    def read_all(self) -> list[Reply]:
        """Return the messages by now, up to the reply to a PING."""
        self.send([(b"PING",)])
        replies = [self.read()]
        while b"pong" not in str(replies[-1]).lower().encode():
            replies.append(self.read())
        return replies

    def read(self) -> Reply:
        """Return the next reply."""
        line = self._input.readline()
        assert line.endswith(b"\r\n"), f"the connection has ended with {line!r}"
        kind, content = line[:1], line[1:-2]
        if kind in b"$=" and content != b"-1":
            return kind, self._input.read(int(content) + 2)[:-2]
        if kind in b"*~>%" and content != b"-1":
            return kind, [self.read() for _ in range(int(content) * (2 if kind == b"%" else 1))]
        return kind, content


def encoded(words: Words) -> bytes:
    """Return a command as clients send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


@contextlib.contextmanager
def redis_server(folder: Path, *options: str, config: str = "") -> Iterator[int]:
    """Run a redis-server 7 that keeps nothing, in a folder of its own; give its port."""
    program = require_tool("redis-server")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=REPLY_S).stdout
    if "v=7." not in version:
        missing_tool(f"redis-server is to be of version 7, and this is {version}")
    (port,) = free_ports(1)
    (folder / "redis.conf").write_text(config, encoding="ascii")
    whole = [program, "redis.conf", "--port", str(port), "--bind", HOST, "--daemonize", "no", *options]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(whole, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until("redis-server listens", lambda: _is_open(port))
        yield port
    finally:
        server.kill()
        server.wait(REPLY_S)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), REPLY_S):
        return True
    return False
