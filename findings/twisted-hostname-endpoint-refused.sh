#!/bin/sh
# Twisted 26.10.0: HostnameEndpoint waits 0.3 s after an address that has already refused the connection.
#
# A good guess: HostnameEndpoint races the addresses of a name as Happy Eyeballs (RFC 8305) does. Its attempt delay is
# for addresses that stay silent; a refused connection is an answer, and the next address is tried at once.
# What happens: the attempts start on a fixed beat of 0.3 s, whatever became of those before. Two addresses that refuse
# within a millisecond put 0.6 s before the one that accepts.
# Why it matters: a name that resolves to ::1 and 127.0.0.1, with a server on the second only, costs 0.3 s on every
# connect. Election and fail-over timeouts of some hundred milliseconds are used up by that, without any error to see.
# Connect to literal addresses, or give a smaller attemptDelay.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check Twisted==26.10.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time

import twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

REFUSING = ["127.0.0.2", "127.0.0.3"]
ACCEPTING = "127.0.0.1"
taken = {}


@implementer(IHostResolution)
class Resolution:
    def __init__(self, name):
        self.name = name

    def cancel(self):
        pass


@implementer(IHostnameResolver)
class ThreeAddresses:
    """Resolves every name to two addresses where nothing listens, and one where the server does."""

    def resolveHostName(self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"):
        resolution = Resolution(hostName)
        receiver.resolutionBegan(resolution)
        for host in [*REFUSING, ACCEPTING]:
            receiver.addressResolved(IPv4Address("TCP", host, portNumber))
        receiver.resolutionComplete()
        return resolution


async def measure():
    factory = Factory.forProtocol(Protocol)
    port = reactor.listenTCP(0, factory, interface=ACCEPTING).getHost().port
    reactor.installNameResolver(ThreeAddresses())
    began = time.monotonic()
    for host in REFUSING:
        try:
            await TCP4ClientEndpoint(reactor, host, port).connect(factory)
        except ConnectionRefusedError:
            continue
        raise AssertionError(host + " accepted")
    taken["refusals"] = time.monotonic() - began
    for name, options in ("default", {}), ("attemptDelay=0.01", {"attemptDelay": 0.01}):
        began = time.monotonic()
        await HostnameEndpoint(reactor, "store.test", port, **options).connect(factory)
        taken[name] = time.monotonic() - began


def run():
    deferred = Deferred.fromCoroutine(measure())
    deferred.addTimeout(30, reactor)
    deferred.addErrback(lambda failure: failure.printTraceback())
    deferred.addBoth(lambda _: reactor.stop())


reactor.callWhenRunning(run)
reactor.run()
print(f"Twisted {twisted.__version__}")
for name, seconds in taken.items():
    print(f"  {name}: {seconds:.3f} s")
as_stated = len(taken) == 3 and taken["default"] >= 0.55 and taken["refusals"] < 0.3 and taken["attemptDelay=0.01"] < 0.4
sys.exit(not as_stated)
PY
