"""The first line of every connection between nodes: it identifies each end and checks that both fit together.

The dialer opens with a hello, one line of JSON, and the acceptor answers with a welcome of the same shape::

    {"kvraft":1,"from":0,"to":1,"cluster":null,"incarnation":"5f0c…","run":"92ab…","to_incarnation":"77e1…"}

or with a refusal, and closes::

    {"error":"OTHER_CLUSTER","message":"…"}

`cluster` is null until the node has its cluster's id. `incarnation` identifies the node's data directory, for as long
as that exists; so a wiped disk under an old id has a new incarnation, and is refused when the log binds the id to the
old one. `to_incarnation` is the incarnation of the receiver in the sender's configuration; it is left out if that has
none. `run` identifies one process: two at once with one incarnation are a data directory and its copy, and the second
is refused while the first one sends (see `acceptor`). `keepalive`: the node supports the signs of life of `keepalive`.
`reached_at` is the host and the port at which the node is reached now (see `addresses`). `to_address` is the receiver's
address in the sender's log, so that a node can notice that it is dialed elsewhere. The remaining keys are `Facts`,
which the owner of a node provides.

Different versions understand each other's hellos by two rules. A key that is left out has a neutral default. A key that
this version does not define is ignored. So new information needs a new key: a defined key with a value of another shape
is MALFORMED_HELLO.

A line only claims an identity; without TLS nothing proves it, so any process that can reach a node's port can pose as a
member. Keep the port inside a network that you trust.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from kvraft.raft.types import TERM_MAX

PROTOCOL_VERSION: Final = 1
"""The version of the hello and the frames; two nodes can connect only with the same one."""

HELLO_BYTES_MAX: Final = 4 * 1024
"""Longest line at the beginning of a connection, in bytes, with its newline."""

HELLO_TIMEOUT_S: Final = 5.0
"""How long either end waits for the other's line, in seconds."""

REMOVED: Final = "REMOVED"
"""The code of a refusal that is final: the cluster has removed this node."""

OTHER_INCARNATION: Final = "OTHER_INCARNATION"
"""The code of a refusal that is final: the cluster has bound this node's id to another incarnation."""

UNSURE_INCARNATION: Final = "UNSURE_INCARNATION"
"""The same when neither node has a cluster id yet, so they may belong to two clusters: it is not final."""

RUNS_TWICE: Final = "RUNS_TWICE"
"""The code of a refusal that lasts while another process with the same identity is connected and sends."""

TOO_OLD: Final = "TOO_OLD"
"""The code of a refusal that lasts until the node is upgraded: the cluster's feature level is higher than its own."""

REASON_CHARS_MAX: Final = 300
"""How much of a peer's refusal is kept, in characters."""

_HOW_TO_WRITE: Final = "JSON is what kvraft nodes speak; a client writes a line such as: GET <key>"

_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_Count = Annotated[int, msgspec.Meta(ge=0, le=TERM_MAX)]
_NodeId = _Count
_Host = Annotated[str, msgspec.Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{1,253}\Z")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=2**16 - 1)]
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z._-]{1,64}\Z")]
_Place = Annotated[str, msgspec.Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{3,300}\Z")]


class HelloRefused(Exception):
    """The other end's hello is refused: a code for programs, and a text that says what to do about it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def line(self) -> bytes:
        """Return the line that is sent to the other end."""
        return msgspec.json.encode({"error": self.code, "message": self.message}) + b"\n"


class RefusedByPeer(HelloRefused):
    """The other end has refused this node: the code and the text are the other end's."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the owner of a node adds to the hello for one peer. An earlier version may leave any of it out."""

    level: _Count = 0
    """The highest feature level that the sender supports."""
    configuration: _Count = 0
    """The index of the sender's latest configuration."""
    address: _Place | None = None
    """The sender's address in that configuration."""
    empty: bool | None = None
    """Whether the sender's log is empty; None: it keeps no disk, so its id is not bound to an incarnation."""
    acknowledged: tuple[_Name, _Count, _Count, _Count, _Count, _Count] | None = None
    """What the receiver has acknowledged, in the order of `kvraft.raft.acknowledged.Acknowledged`."""
    fresh: bool | None = None
    """Whether the sender has started without its data and must not vote. This and the next two are None for a node with
    a disk."""
    term: _Count | None = None
    """The sender's term."""
    last_index: _Count | None = None
    """The index of the last entry in the sender's log."""


class Hello(Facts, frozen=True, omit_defaults=True, rename={"version": "kvraft", "sender": "from", "receiver": "to"}):
    """A hello or a welcome."""

    version: int
    sender: _NodeId
    receiver: _NodeId
    cluster: _Name | None
    incarnation: _Name
    run: _Name
    to_incarnation: _Name | None = None
    keepalive: bool = False
    reached_at: tuple[_Host, _Port] | None = None
    to_address: tuple[_Host, _Port] | None = None

    def line(self) -> bytes:
        """Return the encoded line.

        Raises:
            ValueError: it is too long.
        """
        line = msgspec.json.encode(self) + b"\n"
        if len(line) > HELLO_BYTES_MAX:
            raise ValueError(f"the hello has {len(line)} bytes; at most {HELLO_BYTES_MAX} are allowed")
        return line

    @classmethod
    def read(cls, line: bytes, *, may_refuse: bool) -> "Hello":
        """Read the other end's line. `may_refuse`: the line may be a refusal in place of a hello.

        Raises:
            HelloRefused: it is no hello, or of another version.
            RefusedByPeer: it is a refusal.
        """
        try:
            raw = _decode_object(line)
        except (ValueError, RecursionError) as error:
            raise HelloRefused("MALFORMED_HELLO", f"the first line is no JSON object; {_HOW_TO_WRITE}") from error
        if may_refuse and "error" in raw:
            raise _refusal_of(raw)
        version = raw.get("kvraft")
        if type(version) is int and version != PROTOCOL_VERSION:
            # Checked before anything else: another version may have other keys.
            raise HelloRefused(
                "OTHER_VERSION",
                f"peer protocol {version} is spoken there and {PROTOCOL_VERSION} here; "
                "run the same kvraft on all nodes",
            )
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise HelloRefused("MALFORMED_HELLO", f"the first line is no hello: {error}; {_HOW_TO_WRITE}") from error


class FirstLine:
    """Collects the bytes up to the first newline."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take the next bytes; return the line and what follows it once it is complete.

        Raises:
            HelloRefused: the line is longer than `HELLO_BYTES_MAX`.
        """
        self._held += data
        end = self._held.find(b"\n", 0, HELLO_BYTES_MAX)
        if end >= 0:
            return bytes(self._held[:end]), bytes(self._held[end + 1 :])
        if len(self._held) >= HELLO_BYTES_MAX:
            self._held.clear()
            raise HelloRefused("HELLO_TOO_LONG", f"a hello is one line of at most {HELLO_BYTES_MAX} bytes")
        return None


def _refusal_of(raw: Mapping[str, Any]) -> RefusedByPeer:
    """Read the refusal of a peer; it goes into logs, so it must be short and of one line."""
    return RefusedByPeer(_printable(str(raw.get("error"))), _printable(str(raw.get("message"))))


def _printable(text: str) -> str:
    shown = text[:REASON_CHARS_MAX]
    return shown if shown.isprintable() else "".join(each if each.isprintable() else "?" for each in shown)
