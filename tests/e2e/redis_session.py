"""Sessions of real Redis clients, each of which writes on through a change of the leader.

`python redis_session.py PORT PORT PORT` runs them side by side. Each writes a line `<client> ok` for each key that it
has written, until the input of the process ends; then it reads all of them back, and writes `<client> read` and how
many were as they should be. What a client raises while the leader changes is tried again, as its user would.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

HOST: Final = "127.0.0.1"
PAUSE_S: Final = 0.1
FAILOVER_S: Final = 15.0
"""Longest time for which a client may find no node that carries out its requests."""
LOCK_S: Final = 2.0
"""So long a lock lives whose holder is gone."""

finished = threading.Event()


def say(*words: object) -> None:
    """Write a line for the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")  # in one piece, for there are several threads
    sys.stdout.flush()


def await_end_of_input() -> None:
    """Take note when the test has seen enough."""
    sys.stdin.read()
    finished.set()


def insist(attempt: Callable[[], Any], errors: tuple[type[Exception], ...]) -> Any:
    """Do what a user does who meets `errors`: try again for a while."""
    until = time.monotonic() + FAILOVER_S
    while True:
        try:
            return attempt()
        except errors:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def converse(name: str, set_: Callable[[str, str], Any], get: Callable[[str], Any]) -> None:
    """Write until it is enough, and read everything back."""
    written = 0
    while not finished.is_set():
        set_(f"{name}:{written}", str(written))
        written += 1
        say(name, "ok")
        time.sleep(PAUSE_S)
    found = sum(get(f"{name}:{number}") == str(number) for number in range(written))
    say(name, "read", found, "of", written)


def sentinel(ports: list[int]) -> None:
    """redis-py, blocking, by Sentinel."""
    import redis
    from redis.sentinel import Sentinel

    leader = Sentinel([(HOST, port) for port in ports], socket_timeout=1).master_for(
        "mymaster", socket_timeout=5, decode_responses=True
    )
    errors = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)
    converse("sentinel", lambda key, value: insist(lambda: leader.set(key, value), errors), leader.get)


def cluster(ports: list[int]) -> None:
    """redis-py, blocking, RedisCluster."""
    import redis
    from redis.cluster import ClusterNode, RedisCluster

    client = RedisCluster(startup_nodes=[ClusterNode(HOST, port) for port in ports], decode_responses=True)
    errors = (redis.ConnectionError, redis.TimeoutError, redis.RedisError)
    readers = RedisCluster(
        startup_nodes=[ClusterNode(HOST, port) for port in ports],
        decode_responses=True,
        read_from_replicas=True,  # it sends READONLY
    )

    def get(key: str) -> Any:
        """Read from all nodes in turn; what one has may be a moment old."""

        def found() -> Any:
            value = readers.get(key)
            if value is None:
                raise redis.RedisError(f"{key} is not there yet")
            return value

        return insist(found, errors)

    converse("cluster", lambda key, value: insist(lambda: client.set(key, value), errors), get)


def cluster_of_asyncio(ports: list[int]) -> None:
    """redis-py, asyncio, RedisCluster."""
    import redis
    from redis.asyncio.cluster import ClusterNode, RedisCluster

    async def main() -> None:
        nodes = [ClusterNode(HOST, port) for port in ports]
        async with RedisCluster(startup_nodes=nodes, decode_responses=True) as client:
            await converse_later("cluster_of_asyncio", client, redis.RedisError)

    asyncio.run(main())


async def converse_later(name: str, client: Any, error: type[Exception]) -> None:
    """Do what `converse` does, with a client of asyncio."""

    async def insist_on(*words: str) -> Any:
        until = time.monotonic() + FAILOVER_S
        while True:
            try:
                return await client.execute_command(*words)
            except error:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(PAUSE_S)

    written = 0
    while not finished.is_set():
        await insist_on("SET", f"{name}:{written}", str(written))
        written += 1
        say(name, "ok")
        await asyncio.sleep(PAUSE_S)
    values = [await insist_on("GET", f"{name}:{number}") for number in range(written)]
    say(name, "read", sum(value == str(number) for number, value in enumerate(values)), "of", written)


def plain(ports: list[int]) -> None:
    """redis-py, blocking, without help: its user goes where the error says, or on to the next node."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    clients = {port: redis.Redis(HOST, port, decode_responses=True, retry=Retry(NoBackoff(), 0)) for port in ports}
    port = ports[0]

    def ask(call: Callable[[Any], Any]) -> Any:
        nonlocal port
        try:
            return call(clients[port])
        except redis.exceptions.MovedError as moved:
            port = moved.port
            raise
        except redis.ConnectionError:
            port = ports[(ports.index(port) + 1) % len(ports)]
            raise

    errors = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)
    converse(
        "plain",
        lambda key, value: insist(lambda: ask(lambda client: client.set(key, value)), errors),
        lambda key: insist(lambda: ask(lambda client: client.get(key)), errors),
    )


def asynchronous(ports: list[int]) -> None:
    """redis-py, asyncio, by Sentinel."""
    import redis
    from redis.asyncio.sentinel import Sentinel

    async def main() -> None:
        sentinels = Sentinel([(HOST, port) for port in ports], socket_timeout=1)
        leader = sentinels.master_for("mymaster", socket_timeout=5, decode_responses=True)
        await converse_later("asynchronous", leader, redis.RedisError)

    asyncio.run(main())


def lock(ports: list[int]) -> None:
    """redis-py's Lock, by Sentinel: two contend for it, and a third looks that they never hold it both."""
    import redis
    from redis.sentinel import Sentinel

    holders: list[int] = []
    counts = [0, 0]
    overlaps = 0

    def contend(number: int) -> None:
        nonlocal overlaps
        leader = Sentinel([(HOST, port) for port in ports], socket_timeout=1).master_for("mymaster", socket_timeout=5)
        errors = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError, redis.exceptions.LockError)

        def hold() -> None:
            nonlocal overlaps
            with leader.lock("lock", timeout=LOCK_S, sleep=PAUSE_S / 10):
                begun = time.monotonic()
                holders.append(number)
                overlaps += len(holders) > 1
                time.sleep(PAUSE_S / 4)
                holders.remove(number)
                assert time.monotonic() - begun < LOCK_S / 2, "this machine is too slow for such a short lock"

        while not finished.is_set():
            insist(hold, errors)
            counts[number] += 1
            say("lock ok")
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("lock read", sum(counts) - overlaps, "of", sum(counts))


def command_line(ports: list[int]) -> None:
    """redis-cli -c, once for each command."""

    def call(*arguments: str) -> str:
        said = ""
        for port in ports:
            done = subprocess.run(
                ["redis-cli", "-e", "-c", "-h", HOST, "-p", str(port), *arguments],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode == 0:
                return done.stdout.strip()
            said += done.stdout + done.stderr
        raise OSError(said)

    converse(
        "command_line",
        lambda key, value: insist(lambda: call("SET", key, value), (OSError,)),
        lambda key: insist(lambda: call("GET", key), (OSError,)),
    )


def twisted(ports: list[int]) -> None:
    """txredisapi, by Sentinel."""
    import txredisapi
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater

    loop: Any = reactor

    async def main() -> None:
        sentinel = txredisapi.Sentinel([(HOST, port) for port in ports])
        leader = sentinel.master_for("mymaster", convertNumbers=False)
        written = 0
        while not finished.is_set():
            until = time.monotonic() + FAILOVER_S
            while True:
                try:
                    await leader.set(f"twisted:{written}", str(written))
                    break
                except (txredisapi.ConnectionError, txredisapi.ResponseError, txredisapi.RedisError):
                    if time.monotonic() > until:
                        raise
                    await deferLater(loop, PAUSE_S)
            written += 1
            say("twisted ok")
            await deferLater(loop, PAUSE_S)
        found = 0
        for number in range(written):
            found += await leader.get(f"twisted:{number}") == str(number)
        say("twisted read", found, "of", written)

    Deferred.fromCoroutine(main()).addErrback(lambda failure: say("failed", failure)).addBoth(lambda _: loop.stop())
    loop.run(installSignalHandlers=False)


def main(ports: list[int]) -> None:
    """Run all sessions, the one of Twisted in this thread."""
    threading.Thread(target=await_end_of_input, daemon=True).start()
    threads = [
        threading.Thread(target=session, args=(ports,))
        for session in (sentinel, cluster, plain, asynchronous, cluster_of_asyncio, lock, command_line)
    ]
    for thread in threads:
        thread.start()
    twisted(ports)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main([*map(int, sys.argv[1:])])
