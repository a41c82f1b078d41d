"""SCRATCH stand-in."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITCPTransport, IConsumer, IPushProducer)
class T:
    def __init__(s, net, machine):
        s.net = net
        s.machine = machine
        s.life = machine.life
        s.peer = None
        s.protocol = None
        s.connected = True
        s.disconnecting = False
        s.last = 0.0
        s.wclosed = False

    def setTcpNoDelay(s, x):
        pass

    def setTcpKeepAlive(s, x):
        pass

    def getPeer(s):
        return None

    def getHost(s):
        return None

    def _at(s, fn, *a):
        w = s.net.world
        m = s.peer.machine
        t = max(s.machine.now + s.net.random.uniform(0.0002, 0.002), s.last)
        s.last = t
        w.at(t, m, fn, *a)

    def write(s, data):
        if not s.connected or s.wclosed:
            return
        s.machine.effect(s.life)
        if (s.machine, s.peer.machine) in s.net.blocked:
            return
        s._at(s.peer._got, data)

    def writeSequence(s, l):
        s.write(b"".join(l))

    def _got(s, data):
        if s.connected:
            s.net.world.note(data)
            s.protocol.dataReceived(data)

    def loseConnection(s):
        if s.connected:
            s.disconnecting = True
            s.connected = False
            s.net.world.at(s.machine.now, s.machine, s.protocol.connectionLost, Failure(ConnectionDone()))
            s._at(s.peer._lost)

    def abortConnection(s):
        s.loseConnection()

    def loseWriteConnection(s):
        s.wclosed = True
        s.net.world.at(
            s.machine.now,
            s.machine,
            lambda: IHalfCloseableProtocol.providedBy(s.protocol) and s.protocol.writeConnectionLost(),
        )
        s._at(s.peer._eof)

    def _eof(s):
        if not s.connected:
            return
        if IHalfCloseableProtocol.providedBy(s.protocol):
            s.protocol.readConnectionLost()
        else:
            s.loseConnection()

    def _lost(s):
        if s.connected:
            s.connected = False
            s.protocol and s.protocol.connectionLost(Failure(ConnectionLost()))

    def registerProducer(s, *a, **k):
        pass

    def unregisterProducer(s, *a):
        pass

    def pauseProducing(s):
        pass

    def resumeProducing(s):
        pass


class E:
    def __init__(s, net, machine, address):
        s.net = net
        s.machine = machine
        s.address = address

    def connect(s, factory):
        d = Deferred()
        net = s.net
        m = s.machine
        m.effect(m.life)

        def arrive():
            l = net.listening.get(s.address)
            if l is None or l[0].life != l[2] or (m, l[0]) in net.blocked or (l[0], m) in net.blocked:
                net.world.at(m.now + 0.001, m, lambda: d.called or d.errback(ConnectionRefusedError()))
                return
            a = T(net, m)
            b = T(net, l[0])
            a.peer = b
            b.peer = a
            net.all.append(a)

            def up():
                b.protocol = l[1].buildProtocol(None)
                b.protocol.makeConnection(b)
                net.world.at(net.world.now + 0.0005, m, up2)

            def up2():
                if d.called:
                    return
                a.protocol = factory.buildProtocol(None)
                a.protocol.makeConnection(a)
                d.callback(a.protocol)

            net.world.at(net.world.now, l[0], up)

        net.world.at(m.now + 0.0005, None, arrive)
        return d


class Network:
    def __init__(s, world):
        s.world = world
        s.random = world.random("network")
        s.listening = {}
        s.blocked = set()
        s.all = []

    def listen(s, machine, address, factory):
        factory.doStart()
        s.listening[address] = (machine, factory, machine.life)

    def endpoint(s, machine, address):
        return E(s, machine, address)

    def process_ended(s, machine):
        for c in s.all:
            for x in (c, c.peer):
                if x.machine is machine and x.connected:
                    x.connected = False
                    s.world.at(s.world.now + 0.001, x.peer.machine, x.peer._lost)

    power_lost = process_ended

    def block(s, a, b):
        s.blocked.add((a, b))

    def unblock(s, a, b):
        s.blocked.discard((a, b))

    def slow(s, a, b, d):
        pass

    def heal(s):
        s.blocked.clear()

    def break_connections(s, a, b):
        for c in s.all:
            if {c.machine, c.peer.machine} == {a, b}:
                for x in (c, c.peer):
                    s.world.at(s.world.now, x.machine, x._lost)
