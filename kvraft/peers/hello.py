"""The first line of every connection between nodes: who is there, and whether they belong together.

The dialer opens with a hello, one line of JSON, and the acceptor answers with a welcome of the same shape::

    {"kvraft":1,"from":0,"to":1,"cluster":null,"incarnation":"5f0c…","run":"92ab…","to_incarnation":"77e1…"}

or says what is wrong with it and closes::

    {"error":"OTHER_CLUSTER","message":"…"}

`cluster` is null as long as the node does not know its cluster's id. `incarnation` names the node's memory: it is made
with a data directory and stays for as long as that exists, so a wiped disk under an old id has a new one and is refused
when the log knows the old one. `to_incarnation` is the memory that the receiver has by the sender's configuration; it
is left out where that says nothing of it. `run` names one process: two at once with one incarnation are a data
directory and its copy, and the second is refused as long as the first is heard from (see `acceptor`). `keepalive` says
that the node knows the signs of life of `keepalive`, `reached_at` is the host and the port at which it is reached now
(see `addresses`), and `to_address` where the sender's log has the receiver, so that a node learns that it is looked for
elsewhere; earlier versions ignore all three. Further keys are facts, for the nodes'
owners. A line says who the other end claims to be; without TLS nothing proves it, so whoever can reach a node's port
can pose as a member. Keep the port inside a network that you trust.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final

import msgspec

from kvraft.peers.receiver import Address, Facts
from kvraft.raft.types import TERM_MAX

PROTOCOL_VERSION: Final = 1
"""What two nodes must agree on to understand each other's lines and frames."""

HELLO_BYTES_MAX: Final = 4 * 1024
"""Longest line at the beginning of a connection, in bytes, with its newline."""

HELLO_TIMEOUT_S: Final = 5.0
"""How long either end waits for the other's line, in seconds."""

REMOVED: Final = "REMOVED"
"""The code of a refusal that is final: the cluster has removed this node."""

OTHER_INCARNATION: Final = "OTHER_INCARNATION"
"""The code of a refusal that is final: the cluster knows this node's id with another memory."""

RUNS_TWICE: Final = "RUNS_TWICE"
"""The code of a refusal that lasts while another process with the same identity is connected and heard from."""

TOO_OLD: Final = "TOO_OLD"
"""The code of a refusal that lasts until the node is upgraded: the cluster's feature level is higher than its own."""

REASON_CHARS_MAX: Final = 300
"""How much of a peer's refusal is believed, in characters."""

_HOW_TO_WRITE: Final = "JSON is what kvraft nodes speak; a client writes a line such as: GET <key>"

_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_NodeId = Annotated[int, msgspec.Meta(ge=0, le=TERM_MAX)]
_Host = Annotated[str, msgspec.Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{1,253}\Z")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=2**16 - 1)]
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z._-]{1,64}\Z")]


class HelloRefused(Exception):
    """These two do not belong together: a code for programs, and a text that says what to do about it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def line(self) -> bytes:
        """Return the line that tells the other end."""
        return msgspec.json.encode({"error": self.code, "message": self.message}) + b"\n"


class RefusedByPeer(HelloRefused):
    """The other end says so: it is its code and its text, not ours."""


class Hello(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"version": "kvraft", "sender": "from", "receiver": "to"},
):
    """What a hello or a welcome says, without its facts."""

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


_RESERVED: Final = frozenset({*Hello.__struct_encode_fields__, "error", "message"})


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


class Identity:
    """Who this node is, and whom it talks to."""

    def __init__(
        self,
        me: int,
        incarnation: str,
        run: str,
        members: Collection[int],
        cluster_id: str | None,
        facts: Callable[[int], Facts],
        admits: Callable[[int, Facts, str | None, str | None], bool] = lambda *_: False,
        reached_at: Address | None = None,
    ) -> None:
        self.me = me
        self.reached_at = reached_at
        """Where this node is reached, whatever the log says."""
        self.cluster_id = cluster_id
        """Once known it changes only when the log says so: a node never goes from one cluster to another by hearsay."""
        self._incarnation = incarnation
        self._run = run
        self._members = frozenset(members)
        self._removed: Collection[int] = ()
        self._incarnations: Mapping[int, str] = {}
        self._addresses: Mapping[int, Address] = {}
        self._facts = facts
        self._admits = admits

    def set_members(
        self,
        members: Mapping[int, Address],
        removed: Collection[int],
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Talk to `members` alone from now on, and tell each where it is looked for.

        `removed` are told that they once belonged to them. Of those in `incarnations` only the one with that memory
        is talked to.
        """
        self._incarnations = incarnations or {}
        self._members = frozenset(members)
        self._addresses = members
        self._removed = removed

    def line(self, to: int) -> bytes:
        """Return the hello or the welcome for node `to`.

        Raises:
            ValueError: the owner's facts use a name that is taken, or are too long for a line.
        """
        facts = self._facts(to)
        if taken := _RESERVED.intersection(facts):
            raise ValueError(
                f"the hello has keys of its own called {', '.join(sorted(taken))}; name the facts otherwise"
            )
        bound = self._incarnations.get(to)
        here, there = self.reached_at, self._addresses.get(to)
        hello = Hello(
            PROTOCOL_VERSION,
            self.me,
            to,
            self.cluster_id,
            self._incarnation,
            self._run,
            bound,
            keepalive=True,
            reached_at=None if here is None else (here.host, here.port),
            to_address=None if there is None else (there.host, there.port),
        )
        line = msgspec.json.encode({**msgspec.to_builtins(hello), **facts}) + b"\n"
        if len(line) > HELLO_BYTES_MAX:
            raise ValueError(f"the hello with its facts has {len(line)} bytes; at most {HELLO_BYTES_MAX} are allowed")
        return line

    def check(self, line: bytes, expected: int | None = None) -> tuple[Hello, Facts]:
        """Read the other end's line, which must come from `expected` when a node was dialed.

        The facts that are returned begin with the peer's `incarnation` and `run`; both are sound names.
        A cluster's id that is heard for the first time is adopted provisionally, for the life of this process.

        Raises:
            HelloRefused: it is none, it refuses us, or we do not belong together.
        """
        raw = _parse(line)
        if expected is not None and "error" in raw:
            raise _refusal_of(raw)
        hello = _convert(raw)
        facts = {name: value for name, value in raw.items() if name not in _RESERVED}
        self._check_ids(hello, expected)
        if None not in {hello.cluster, self.cluster_id} and hello.cluster != self.cluster_id:
            raise HelloRefused(
                "OTHER_CLUSTER",
                f"node {self.me} belongs to cluster {self.cluster_id} and node {hello.sender} to cluster "
                f"{hello.cluster}; check the addresses, or empty the data directory of the one that shall move",
            )
        self._check_membership(hello, facts)
        if (refusal := self.refusal_of(hello)) is not None:
            raise refusal
        if self.cluster_id is None:
            self.cluster_id = hello.cluster
        return hello, {"incarnation": hello.incarnation, "run": hello.run, **facts}

    def refusal_of(self, hello: Hello) -> HelloRefused | None:
        """Return why a sound hello is refused: another memory stands behind its id. None when it is not."""
        if self._incarnations.get(hello.sender, hello.incarnation) == hello.incarnation:
            return None
        node = hello.sender
        return HelloRefused(
            OTHER_INCARNATION,
            f"node {node} has another data directory than the cluster knows, so it has lost what it promised; give it "
            f"that one back, or replace it: MEMBER REPLACE {node} <new id> <host:port>, with an empty directory",
        )

    def _check_ids(self, hello: Hello, expected: int | None) -> None:
        if hello.receiver != self.me:
            raise HelloRefused(
                "WRONG_NODE",
                f"this is node {self.me} and not node {hello.receiver}; check the addresses of the members",
            )
        if expected is not None and hello.sender != expected:
            raise HelloRefused(
                "WRONG_NODE", f"node {hello.sender} answers where node {expected} should; check the addresses"
            )
        if hello.sender == self.me:
            raise HelloRefused("OWN_ID", f"node {self.me} is this node; give every node an id of its own")

    def _check_membership(self, hello: Hello, facts: Facts) -> None:
        """Refuse who is no member, unless the owner has a reason to believe that it is one by now."""
        if hello.sender in self._members:
            return
        if hello.sender in self._removed:
            raise HelloRefused(
                REMOVED,
                f"node {hello.sender} was removed from this cluster; stop it, and to use its machine again give it an "
                "id that was never used and an empty data directory, and add it with MEMBER ADD",
            )
        names_ours = hello.cluster is not None and self.cluster_id in {None, hello.cluster}
        if names_ours and self._admits(hello.sender, facts, self.cluster_id, hello.to_incarnation):
            return
        raise HelloRefused(
            "UNKNOWN_NODE",
            f"node {hello.sender} is no member of this cluster, as far as node {self.me} knows; add it with "
            f"MEMBER ADD {hello.sender} host:port, sent to the leader, and it is let in by itself",
        )


def _parse(line: bytes) -> dict[str, Any]:
    try:
        return _decode_object(line)
    except (ValueError, RecursionError) as error:
        raise HelloRefused("MALFORMED_HELLO", f"the first line is no JSON object; {_HOW_TO_WRITE}") from error


def _refusal_of(raw: Mapping[str, Any]) -> RefusedByPeer:
    """Read the line of a peer that refuses us; it goes into logs, so it must be short and of one line."""
    return RefusedByPeer(_printable(str(raw.get("error"))), _printable(str(raw.get("message"))))


def _printable(text: str) -> str:
    shown = text[:REASON_CHARS_MAX]
    return shown if shown.isprintable() else "".join(each if each.isprintable() else "?" for each in shown)


def _convert(raw: Mapping[str, Any]) -> Hello:
    version = raw.get("kvraft")
    if type(version) is int and version != PROTOCOL_VERSION:
        # Checked before anything else: another version may name everything else otherwise.
        raise HelloRefused(
            "OTHER_VERSION",
            f"peer protocol {version} is spoken there and {PROTOCOL_VERSION} here; run the same kvraft on all nodes",
        )
    try:
        return msgspec.convert(raw, Hello)
    except msgspec.ValidationError as error:
        raise HelloRefused("MALFORMED_HELLO", f"the first line is no hello: {error}; {_HOW_TO_WRITE}") from error
