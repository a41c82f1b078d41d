"""What no build of kvraft can be faster than: a disk sync, a round trip over loopback, a hand-over between threads.

Each is measured alone, many times; medians and 99th percentiles, microseconds. A durable SET of a lone client takes at
least a round trip between client and leader, one between leader and follower, and two syncs at the same time. The last
measurement is that and nothing else: four processes, of one thread each, that block in `recv`, and have no protocol, no
timers and no store.
"""

import argparse
import os
import queue
import select
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.cluster import HOST, fresh_folder
from benchmarks.command import bounded, run

RECORD: Final = bytes(128)
"""About what one SET of a 64-byte value takes in a log."""
MESSAGE: Final = bytes(100)
PREALLOCATED_BYTES: Final = 16 * 1024 * 1024


def timed(count: int, work: Callable[[], object]) -> list[float]:
    """Do `work` so often; return how long each took, microseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def describe(title: str, taken: list[float]) -> None:
    """Print one line."""
    p99 = statistics.quantiles(taken, n=100)[-1]
    print(f"{title:48} median {statistics.median(taken):7.1f} us   p99 {p99:8.1f} us", flush=True)


def measure_sync(count: int) -> None:
    """Overwrite records of a preallocated file, and sync each, as the journal does."""
    folder = fresh_folder("limits")
    with journal(folder / "journal") as save:
        describe("pwrite of 128 bytes and fdatasync", timed(count, save))
    folder.rmdir()


@contextmanager
def journal(path: Path) -> Iterator[Callable[[], None]]:
    """A preallocated file, and a function that writes and syncs the next record."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, bytes(PREALLOCATED_BYTES))
        os.fsync(descriptor)
        offset = 0

        def save() -> None:
            nonlocal offset
            os.pwrite(descriptor, RECORD, offset % (PREALLOCATED_BYTES - len(RECORD)))
            offset += len(RECORD)
            os.fdatasync(descriptor)

        yield save
    finally:
        os.close(descriptor)
        path.unlink()


def measure_loopback(count: int) -> None:
    """Send a message over TCP to another process, which sends it back."""
    with socket.create_server((HOST, 0)) as server:
        child = os.fork()
        if not child:
            echo(server)
            os._exit(0)
        with socket.create_connection(server.getsockname()) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def round_trip() -> None:
                connection.sendall(MESSAGE)
                connection.recv(len(MESSAGE))

            describe("round trip over loopback, two processes", timed(count, round_trip))
        os.waitpid(child, 0)


def echo(server: socket.socket) -> None:
    """Send back what comes on one connection, until it is closed."""
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while message := connection.recv(len(MESSAGE)):
        connection.sendall(message)


def measure_write(count: int) -> None:
    """Send a message to a leader, which answers when one of two followers has synced it and it has itself."""
    folder = fresh_folder("limits")
    servers = [socket.create_server((HOST, 0)) for _ in range(3)]
    children = []
    try:
        for place, serve in enumerate((lead, save_and_answer, save_and_answer)):
            child = os.fork()
            if not child:
                try:
                    with journal(folder / str(place)) as save:
                        serve(servers, place, save)
                finally:
                    os._exit(0)
            children.append(child)
        with connect(servers[0]) as connection:

            def write() -> None:
                connection.sendall(MESSAGE)
                connection.recv(len(MESSAGE))

            describe("the same way as a SET, with nothing else", timed(count, write))
    finally:
        for child in children:
            os.waitpid(child, 0)
        for server in servers:
            server.close()
        folder.rmdir()


def connect(server: socket.socket) -> socket.socket:
    """Connect to a server of this process or its parent."""
    connection = socket.create_connection(server.getsockname())
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def lead(servers: list[socket.socket], _place: int, save: Callable[[], None]) -> None:
    """Pass each message to both followers, save it, and answer after the first follower."""
    followers = [connect(server) for server in servers[1:]]
    answered = dict.fromkeys(followers, 0)
    """How many bytes each has answered: the slower one's answer to a message may come during a later one."""
    sent = 0
    client, _ = servers[0].accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while message := client.recv(len(MESSAGE)):
        for follower in followers:
            follower.sendall(message)
        sent += len(message)
        save()
        while max(answered.values()) < sent:
            for follower in select.select(followers, (), ())[0]:
                answered[follower] += len(follower.recv(len(MESSAGE)))
        client.sendall(message)
    for follower in followers:
        follower.shutdown(socket.SHUT_WR)
        while follower.recv(len(MESSAGE)):
            pass  # answers to earlier messages
        follower.close()


def save_and_answer(servers: list[socket.socket], place: int, save: Callable[[], None]) -> None:
    """Save each message, then send it back."""
    leader, _ = servers[place].accept()
    leader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while message := leader.recv(len(MESSAGE)):
        save()
        leader.sendall(message)


def measure_hand_over(count: int) -> None:
    """Give a thread something to do, and wait until it says that it is done."""
    tasks: queue.SimpleQueue[bool] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def serve() -> None:
        while tasks.get():
            answers.put(True)

    thread = threading.Thread(target=serve)
    thread.start()

    def there_and_back() -> None:
        tasks.put(True)
        answers.get()

    describe("hand-over to a thread and back", timed(count, there_and_back))
    tasks.put(False)
    thread.join()


def measure(options: argparse.Namespace) -> None:
    """Measure all."""
    measure_sync(options.count)
    measure_loopback(options.count)
    measure_hand_over(options.count)
    measure_write(options.count)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=bounded(100, 1_000_000), default=5_000, help="of each")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
