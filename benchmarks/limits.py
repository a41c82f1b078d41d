"""What no build of kvraft can be faster than: a disk sync, a round trip over loopback, a hand-over between threads.

Each is measured alone, many times; medians and 99th percentiles, microseconds. A durable SET of a lone client takes at
least a round trip between client and leader, one between leader and follower, and two syncs at the same time.
"""

import argparse
import os
import queue
import socket
import statistics
import threading
import time
from collections.abc import Callable
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
    path = folder / "journal"
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

        describe("pwrite of 128 bytes and fdatasync", timed(count, save))
    finally:
        os.close(descriptor)
        path.unlink()
        folder.rmdir()


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
    """Measure all three."""
    measure_sync(options.count)
    measure_loopback(options.count)
    measure_hand_over(options.count)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=bounded(100, 1_000_000), default=5_000, help="of each")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
