"""A load of SETs through one Python client: prints the requests a second. Started by `benchmarks.python_clients`.

Each client is used as its documentation says, with the same number of requests in flight: by as many tasks as that, or
threads where it blocks. It needs only the client, so that it runs in an environment that has nothing else.
"""

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

VALUE: Final = "v" * 64
KEYS: Final = 10_000
WARMUP_SECONDS: Final = 1.0


class Tally:
    """Counts requests between the end of the warm-up and the end."""

    def __init__(self, seconds: float) -> None:
        self.begins = time.monotonic() + WARMUP_SECONDS
        self.ends = self.begins + seconds
        self.count = 0
        self._lock = threading.Lock()

    def keys(self, worker: int) -> Iterator[str]:
        """Yield keys until the end; a key that was yielded before has been written when the next is asked for."""
        number = worker
        while time.monotonic() < self.ends:
            yield f"key:{number % KEYS:012d}"
            number += 61
            if time.monotonic() >= self.begins:
                with self._lock:
                    self.count += 1

    async def tasks(self, concurrency: int, put: Callable[[str], Awaitable[Any]]) -> None:
        """Write with so many tasks of asyncio."""

        async def work(worker: int) -> None:
            for key in self.keys(worker):
                await put(key)

        await asyncio.gather(*map(work, range(concurrency)))


def _async_client(nodes: str, concurrency: int, tally: Tally) -> None:
    from kvraft.client import AsyncClient

    async def run() -> None:
        async with AsyncClient(nodes) as client:
            await tally.tasks(concurrency, lambda key: client.set(key, VALUE))

    asyncio.run(run())


def _twisted_client(nodes: str, concurrency: int, tally: Tally) -> None:
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.task import react

    from kvraft.client.twisted import Client

    async def work(client: Client, worker: int) -> None:
        for key in tally.keys(worker):
            await client.set(key, VALUE)

    async def run(reactor: Any) -> None:
        async with Client(reactor, nodes) as client:
            await gatherResults([Deferred.fromCoroutine(work(client, each)) for each in range(concurrency)])

    try:
        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
    except SystemExit as end:
        if end.code:
            raise


def _etcd3gw(nodes: str, concurrency: int, tally: Tally) -> None:
    etcd3gw = importlib.import_module("etcd3gw.client")
    host, _, port = nodes.split(",", maxsplit=1)[0].rpartition(":")

    def work(worker: int) -> None:
        client = etcd3gw.Etcd3Client(host=host, port=int(port), api_path="/v3/")
        for key in tally.keys(worker):
            client.put(key, VALUE)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _aetcd(nodes: str, concurrency: int, tally: Tally) -> None:
    aetcd = importlib.import_module("aetcd")
    host, _, port = nodes.split(",", maxsplit=1)[0].rpartition(":")

    async def run() -> None:
        async with aetcd.Client(host=host, port=int(port)) as client:
            value = VALUE.encode()
            await tally.tasks(concurrency, lambda key: client.put(key.encode(), value))

    asyncio.run(run())


LOADS: Final = {"AsyncClient": _async_client, "Twisted": _twisted_client, "etcd3gw": _etcd3gw, "aetcd": _aetcd}


def main() -> None:
    """Run one: its name, the nodes with the leader first, requests in flight, seconds."""
    name, nodes, concurrency, seconds = sys.argv[1:]
    tally = Tally(float(seconds))
    LOADS[name](nodes, int(concurrency), tally)
    print(tally.count / float(seconds))


if __name__ == "__main__":
    main()
