#!/bin/sh
# Twisted 26.10.0: an exception in one AMP responder closes the connection, and all other calls on it fail with it.
#
# A good guess: the caller whose command failed gets an error, as with HTTP/2, gRPC or Perspective Broker of the same
# package. Calls are numbered so that many can be open at a time, and the others go on.
# What happens: an exception that the command does not list in its errors is logged and answered with "Unknown Error",
# and then the server closes the connection. A call that was open before it, whose work is done already, fails with
# ConnectionDone, and so does every later call on this connection. An error that is listed goes to its caller alone, and
# so does any under the entry Exception of that list.
# Why it matters: one request with a key that is not there, from one part of a program, fails the writes of all the
# others, and they cannot know whether those were made. If it is repeated after each reconnection it stops the peer for
# good. Give each command errors = {Exception: b"ERROR"}. A protocol with many calls on a connection should close it
# only when the bytes on it can no longer be understood.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check twisted==26.10.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys

import twisted
from twisted.internet import defer, endpoints, protocol, task
from twisted.logger import globalLogBeginner
from twisted.protocols import amp


class Write(amp.Command):
    response = [(b"revision", amp.Integer())]


class Read(amp.Command):
    arguments = [(b"key", amp.Unicode())]
    response = [(b"value", amp.Unicode())]


class ReadListed(Read):
    errors = {KeyError: b"KEY"}


class ReadAny(Read):
    errors = {Exception: b"ERROR"}


class Server(amp.AMP):
    def __init__(self):
        super().__init__()
        self.written, self.finish = 0, defer.Deferred()

    @Write.responder
    def write(self):
        self.written += 1
        revision = self.written
        return self.finish.addCallback(lambda _: {"revision": revision})

    @Read.responder
    @ReadListed.responder
    @ReadAny.responder
    def read(self, key):
        return {"value": {"there": "value"}[key]}


async def outcome(call):
    try:
        return str(await call)
    except Exception as error:
        return f"raises {type(error).__name__}"


async def look(reactor, command):
    servers = []
    factory = protocol.Factory.forProtocol(lambda: servers.append(Server()) or servers[-1])
    factory.noisy = False
    port = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client = await endpoints.connectProtocol(endpoint, amp.AMP())
    open_write = client.callRemote(Write)
    read = await outcome(client.callRemote(command, key="missing"))
    servers[0].finish.callback(None)
    write = await outcome(open_write)
    later = await outcome(client.callRemote(Read, key="there"))
    client.transport.abortConnection()
    await port.stopListening()
    return read, f"{write}, {servers[0].written} made", later


async def main(reactor):
    seen = {}
    for command in Read, ReadListed, ReadAny:
        seen[", ".join(error.__name__ for error in command.errors) or "no errors listed"] = await look(reactor, command)
    print(f"Twisted {twisted.__version__}; a read of a key that is missing, with a write open before it")
    for name, (read, write, later) in seen.items():
        print(f"  {name}: read {read}; write {write}; next read {later}")
    fine = "{'revision': 1}, 1 made", "{'value': 'value'}"
    sys.exit(list(seen.values()) != [
        ("raises UnknownRemoteError", "raises ConnectionDone, 1 made", "raises ConnectionDone"),
        ("raises KeyError", *fine), ("raises Exception", *fine)])


globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
PY
