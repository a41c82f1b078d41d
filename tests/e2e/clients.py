"""What a client of a cluster does, over plain blocking sockets, with a bound on every wait."""

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

Address = tuple[str, int]

ANSWER_S: Final = 20.0
"""Longest wait for one answer. Far beyond what a node takes, so that a busy machine fails no test."""
PATIENCE_S: Final = 30.0
"""Longest wait for a state that the cluster must reach by itself."""
POLL_S: Final = 0.05
PIPELINE: Final = 200
"""Requests that are sent before their answers are read."""
CHUNK_BYTES: Final = 65536


class TookTooLong(AssertionError):
    """The cluster did not reach a state in time."""


def wait_until(what: str, condition: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Return what `condition` returns as soon as that is true; `what` says what was waited for when it never is.

    Raises:
        TookTooLong: it is still false after `patience_s` seconds.
    """
    deadline = time.monotonic() + patience_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TookTooLong(f"after {patience_s:g} s still waiting for {what}; last seen: {result!r}")
        time.sleep(POLL_S)


def open_connection(address: Address, timeout_s: float = ANSWER_S) -> socket.socket:
    """Connect; every later call on the socket is bounded too."""
    return socket.create_connection(address, timeout=timeout_s)


def converse(address: Address, data: bytes, *, timeout_s: float = ANSWER_S) -> bytes:
    """Send `data`, close that side, and return all that comes until the node closes too."""
    with open_connection(address, timeout_s) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)


def receive_all(connection: socket.socket) -> bytes:
    """Return everything up to the end of the connection."""
    received = []
    while data := connection.recv(CHUNK_BYTES):
        received.append(data)
    return b"".join(received)


def drain(connection: socket.socket) -> bytes:
    """Return everything up to the end of the connection, be it a close or a reset."""
    received = []
    with ended_by_the_node():
        while data := connection.recv(CHUNK_BYTES):
            received.append(data)
    return b"".join(received)


def send_all(connection: socket.socket, data: bytes) -> None:
    """Send `data` and close that side, as far as the node lets us."""
    with ended_by_the_node():
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def ended_by_the_node() -> Iterator[None]:
    """Suppress what a connection raises that the node has ended; to be kept waiting is an error still."""
    try:
        yield
    except ConnectionError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise


def ask(address: Address, line: str) -> dict[str, Any]:
    """Return the answer to one request.

    Raises:
        OSError: the node does not answer.
    """
    answer = converse(address, line.encode() + b"\n")
    if not answer.endswith(b"\n"):
        raise ConnectionError(f"the connection ended before the answer to {line!r}: {answer!r}")
    found: dict[str, Any] = json.loads(answer)
    return found


class Connection:
    """A connection that stays, with its answers as JSON values."""

    def __init__(self, address: Address) -> None:
        self._socket = open_connection(address)
        self._answers = self._socket.makefile("rb")
        try:
            self.request("KEEP")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, *lines: str) -> list[dict[str, Any]]:
        """Send `lines` at once and return an answer to each.

        Raises:
            OSError: the connection is lost; what was sent may have been carried out.
        """
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())
        return [self._read() for _ in lines]

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended before the answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Give the connection back."""
        self._answers.close()
        self._socket.close()


def parse_address(text: str) -> Address:
    """Read "host:port"."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def read_back(addresses: Sequence[Address], keys: Sequence[str]) -> dict[str, str | None]:
    """Return the values of `keys`, asked of whichever node leads; changes of leadership are waited for."""
    values: dict[str, str | None] = {}

    def ask_everybody() -> bool:
        return any(_read_from(address, keys, values) for address in addresses)

    wait_until(f"an answer to {len(keys)} reads", ask_everybody)
    return values


def _read_from(address: Address, keys: Sequence[str], values: dict[str, str | None]) -> bool:
    """Read what of `keys` is not in `values` yet; return whether `address` answered it all."""
    try:
        with Connection(address) as connection:
            for some in _chunks([key for key in keys if key not in values]):
                for key, answer in zip(some, connection.request(*(f"GET {key}" for key in some)), strict=True):
                    if "value" not in answer:
                        return False
                    values[key] = answer["value"]
    except OSError:
        return False
    return True


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(items), PIPELINE):
        yield items[begin : begin + PIPELINE]


def write(addresses: Sequence[Address], items: Mapping[str, str]) -> None:
    """Set all of `items`, at whichever node leads. Sets that failed are repeated, which changes nothing about them."""
    left = dict(items)

    def try_everybody() -> bool:
        return any(_write_to(address, left) for address in addresses)

    wait_until(f"{len(items)} writes", try_everybody)


def _write_to(address: Address, left: dict[str, str]) -> bool:
    """Set what is `left` and drop it; return whether all was taken."""
    try:
        with Connection(address) as connection:
            for some in _chunks(list(left)):
                answers = connection.request(*(f"SET {key} {left[key]}" for key in some))
                for key, answer in zip(some, answers, strict=True):
                    if answer != {"status": "OK"}:
                        return False
                    del left[key]
    except OSError:
        return False
    return True
