#!/bin/sh
# aiohttp 3.14.5: a PUT or DELETE whose connection breaks before the answer is sent again, without any retry asked for.
#
# A good guess: a client without a retry setting sends each request once. When the server closes the connection in place of
# an answer, session.put() raises ServerDisconnectedError and the caller decides.
# What happens: aiohttp takes the method as enough to try once more. A PUT or DELETE is sent a second time, on a new
# connection, and the caller sees only the second answer. POST raises. Twisted's Agent with a pool also does this, on
# connections kept open from an earlier request, for DELETE and not for PUT.
# Why it matters: what a store does with PUT is often conditional. Here a PUT with If-Match is done, its answer is lost,
# and the repeat finds the version changed: the caller reads 412 for a write that was made, and takes a lock that is its
# own for somebody else's. Without a condition the write is done twice, the second time perhaps over that of another
# client. A store needs a request id to tell a repeat from a second write.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 Twisted==26.10.0
timeout 60 "$tmp/venv/bin/python" -W ignore::DeprecationWarning - <<'PY'
import asyncio
import re
import socket
import sys
import threading

import aiohttp
import twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

state = {"version": 1, "done": 0, "lose": False}


def answer(method, head):
    """One key with a version: each write that is not refused by its If-Match makes a new version."""
    condition = re.search(rb"if-match: (\d+)", head, re.I)
    if method != b"GET":
        if condition and int(condition[1]) != state["version"]:
            return b"412 Precondition Failed"
        state["version"] += 1
        state["done"] += 1
    return b"200 OK"


def serve(connection):
    data = b""
    while b"\r\n\r\n" in data or (received := connection.recv(65536)):
        if b"\r\n\r\n" not in data:
            data += received
            continue
        head, _, data = data.partition(b"\r\n\r\n")
        method = head.split(b" ")[0]
        status = answer(method, head)
        if method != b"GET" and state["lose"]:
            state["lose"] = False
            break
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
url = f"http://127.0.0.1:{listener.getsockname()[1]}/key"
seen = {}


def reset():
    state.update(version=1, done=0, lose=True)


async def with_aiohttp(method, **headers):
    async with aiohttp.ClientSession() as session:
        reset()
        try:
            async with session.request(method, url, headers=headers) as reply:
                return reply.status, state["done"]
        except aiohttp.ServerDisconnectedError as error:
            return type(error).__name__, state["done"]


async def with_agent(method):
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor))
    await readBody(await agent.request(b"GET", url.encode()))
    reset()
    try:
        reply = await agent.request(method.encode(), url.encode(), Headers({}))
        return reply.code, state["done"]
    except Exception as error:
        return type(error).__name__, state["done"]


async def measure_aiohttp():
    for method in "PUT", "DELETE", "POST":
        seen["aiohttp", method] = await with_aiohttp(method)
    seen["aiohttp", "PUT If-Match: 1"] = await with_aiohttp("PUT", **{"If-Match": "1"})


async def measure_agent():
    for method in "PUT", "DELETE":
        seen["Agent", method] = await with_agent(method)


def run():
    deferred = Deferred.fromCoroutine(measure_agent())
    deferred.addTimeout(20, reactor)
    deferred.addErrback(lambda failure: failure.printTraceback())
    deferred.addBoth(lambda _: reactor.stop())


asyncio.run(measure_aiohttp())
reactor.callWhenRunning(run)
reactor.run()
print(f"aiohttp {aiohttp.__version__}, Twisted {twisted.__version__}: the server does the write and closes")
for (client, method), (result, done) in seen.items():
    print(f"  {client:8}{method:16} the caller gets {result}, writes done: {done}")
sys.exit(list(seen.values()) != [
    (200, 2), (200, 2), ("ServerDisconnectedError", 1), (412, 1), ("ResponseNeverReceived", 1), (200, 2)])
PY
