#!/bin/sh
# Twisted 26.10.0: bytes written after loseConnection() are sent over TCP and dropped over TLS, without a word in either.
#
# A good guess: loseConnection() ends the stream after what was written before it, so a later write() is dropped; and
# whatever it does, TCP and TLS do the same, since both are ITransport and a protocol cannot tell which it has.
# What happens: write("a"), loseConnection(), write("b") in one turn, to a peer that only reads, arrives as "ab" over
# TCP and as "a" over TLS. No error is raised and nothing is logged.
# Why it matters: a server that answers an error and closes, and whose other requests on the connection then finish,
# sends their answers too over TCP, after the one that was meant to be the last. Tests over TCP do not show what TLS
# users get. Keep a flag in the protocol that says the last answer was written.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check "Twisted[tls]==26.10.0" pyOpenSSL==26.4.0 cryptography==50.0.2
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import datetime
import sys

import twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS

NAME = "store.test"
seen = {}


def certificate():
    """A certificate of a minute, for this run only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
              .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
              .not_valid_after(now + datetime.timedelta(minutes=5))
              .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
              .sign(key, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed.public_bytes(pem), secret


class Answering(Protocol):
    def dataReceived(self, data):
        self.transport.write(b"a")
        self.transport.loseConnection()
        self.transport.write(b"b")


class Asking(Protocol):
    def connectionMade(self):
        self.received, self.ended = b"", Deferred()
        self.transport.write(b"?")

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.ended.callback(self.received)


async def ask(server, client):
    port = await server.listen(Factory.forProtocol(Answering))
    asking = await client(port.getHost().port).connect(Factory.forProtocol(Asking))
    return await asking.ended


async def measure():
    public, secret = certificate()
    trusted = Certificate.loadPEM(public)
    own = PrivateCertificate.loadPEM(public + secret)

    def tcp(port):
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port)

    def tls(port):
        return wrapClientTLS(optionsForClientTLS(NAME, trusted), tcp(port))

    seen["TCP"] = await ask(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), tcp)
    seen["TLS"] = await ask(SSL4ServerEndpoint(reactor, 0, own.options(), interface="127.0.0.1"), tls)


def run():
    deferred = Deferred.fromCoroutine(measure())
    deferred.addTimeout(20, reactor)
    deferred.addErrback(lambda failure: failure.printTraceback())
    deferred.addBoth(lambda _: reactor.stop())


reactor.callWhenRunning(run)
reactor.run()
print(f"Twisted {twisted.__version__}: write(b'a'), loseConnection(), write(b'b')")
for name, received in seen.items():
    print(f"  the peer over {name} received {received}")
sys.exit(seen != {"TCP": b"ab", "TLS": b"a"})
PY
