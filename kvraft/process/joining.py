"""How a new node joins a running cluster of which it knows the address of one member: `--join`.

It asks that member over the line protocol who belongs to the cluster, and the leader for MEMBER ADD; whoever has asked
before and was interrupted asks again, and is told that it belongs already. All this happens before the node takes part,
so it may wait: plain sockets, each wait bounded.

What it was told becomes its *seed*, a file in its data directory, durable before the cluster is asked to add the node:
where it listens, who the members were, and of which cluster. From it the node knows at its next start whom to talk to,
with `--join` or without, until its own log says more. The seed takes the place of config.json and, like it, is never
changed by what happens later.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from kvraft.config import Address, WrongValue
from kvraft.errors import exit_status
from kvraft.net.names import Names
from kvraft.raft import Membership
from kvraft.storage.errors import lacks_files
from kvraft.store import FEATURE_LEVEL, UnknownFeatureLevel

SEED_NAME: Final = "joined.json"
SEED_VERSION: Final = 1

UNREACHABLE_S: Final = 5.0
"""Longest time in which nobody answers, seconds: the member may be starting just now."""
PATIENCE_S: Final = 30.0
"""Longest time in which the cluster answers and cannot add the node: it elects, or changes otherwise. Seconds."""
PAUSE_S: Final = 0.2
"""Between two questions, seconds."""
MOVE_PAUSE_S: Final = 1.0
"""Between two attempts to say that this node has moved, seconds."""
CONNECT_S: Final = 2.0
ANSWER_S: Final = 10.0
"""Longest waits for a connection to an address and for an answer, seconds; MEMBER ADD waits for a majority."""
ANSWER_BYTES_MAX: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024

_FINAL: Final = frozenset({"REFUSED", "INVALID", "USAGE", "UNKNOWN_COMMAND"})
"""Errors to which the same question would get the same answer."""

Ask = Callable[[Address, str], list[dict[str, Any]]]
"""Sends lines to an address and returns the answers; raises OSError when there are none."""


class JoinFailed(Exception):
    """The node cannot join; the text says what to do about it, `status` is that of the process."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node that has joined knew of its cluster when it did."""

    version: int
    id: int
    address: str
    """Where this node is reached."""
    cluster_id: str | None
    members: dict[int, str]
    """Where the other members are reached."""
    learners: list[int] = []
    removed: list[int] = []

    @property
    def membership(self) -> Membership:
        """The configuration that this node begins with. It does not contain the node: the log says when it does."""
        return Membership(
            voters=self.members.keys() - set(self.learners),
            learners=self.learners,
            addresses=self.members,
            removed=self.removed,
        )


class _Member(msgspec.Struct, frozen=True):
    id: int
    address: str
    role: str
    incarnation: str | None = None


class _View(msgspec.Struct, frozen=True):
    """What a member answers to MEMBERS."""

    members: list[_Member]
    leader: int | None
    changing: bool
    removed: list[int] = []
    removed_below: int = 0

    def find(self, node: int | None) -> _Member | None:
        return next((member for member in self.members if member.id == node), None)


def read_seed(folder: Path) -> Seed | None:
    """Return the seed in a node's data directory, None when it has not joined by itself.

    Raises:
        JoinFailed: there is one that cannot be used.
    """
    path = folder / SEED_NAME
    try:
        seed = msgspec.json.decode(path.read_bytes(), type=Seed)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JoinFailed(exit_status.IOERR, f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise _refused(f"{path} cannot be read", error) from error
    if seed.version != SEED_VERSION:
        raise JoinFailed(exit_status.PROTOCOL, f"{path} has the version {seed.version}; run the kvraft that wrote it")
    return seed


def write_seed(folder: Path, seed: Seed) -> None:
    """Make the seed durable: whole or not at all.

    Raises:
        JoinFailed: the operating system refuses it.
    """
    path = folder / SEED_NAME
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(seed) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _refused(f"{path} cannot be written", error) from error


def _refused(what: str, error: OSError) -> JoinFailed:
    """Return what to raise for an error of the operating system."""
    return JoinFailed(exit_status.OSERR if lacks_files(error) else exit_status.IOERR, f"{what}: {error}")


def ask(address: Address, lines: str, names: Names) -> list[dict[str, Any]]:
    """Send lines of the line protocol and return the answers.

    Raises:
        OSError: there are none, or what comes is no answer.
    """
    received = b""
    with _connect(address, names) as connection:
        connection.settimeout(ANSWER_S)
        connection.sendall(lines.encode())
        connection.shutdown(socket.SHUT_WR)
        while (chunk := connection.recv(_CHUNK_BYTES)) and len(received) <= ANSWER_BYTES_MAX:
            received += chunk
    try:
        answers = [json.loads(line) for line in received.splitlines()]
    except ValueError as error:
        raise OSError("what answers there is no kvraft node") from error
    if len(answers) != lines.count("\n") or not all(isinstance(answer, dict) for answer in answers):
        raise OSError("what answers there is no kvraft node")
    return answers


def _connect(address: Address, names: Names) -> socket.socket:
    """Connect to the first address of a name that lets itself be connected to."""
    why = OSError("it has no address")
    for host in names.wait(address.host).hosts:
        try:
            return socket.create_connection((host, address.port), CONNECT_S)
        except OSError as error:
            why = error
    raise why


@attrs.define
class Joining:
    """One attempt to join.

    Attributes:
        me: this node's id.
        incarnation: names its data directory.
        address: where it will be reached.
        contact: a member of the cluster.
        cluster_id: the cluster that the data directory belongs to; None when it belongs to none.
        keep: makes the seed durable.
        ask: see `ask`.
    """

    me: int
    incarnation: str
    address: Address
    contact: Address
    cluster_id: str | None
    keep: Callable[[Seed], None]
    ask: Ask
    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _told: Seed | None = None

    def join(self) -> Seed:
        """Become a member, and return what is known of the others.

        Raises:
            JoinFailed: nobody answers, or the cluster does not take this node in.
        """
        give_up = self.seconds() + PATIENCE_S
        heard = self.seconds()
        why = ""
        while self.seconds() < give_up:
            try:
                why = self._try()
                if not why:
                    assert self._told is not None, "nobody belongs to a cluster of which nothing is known"
                    return self._told
                heard = self.seconds()
            except OSError as error:
                why = f"node {self.me} cannot join: no answer from {self.contact} ({error})"
                if self.seconds() - heard >= UNREACHABLE_S:
                    break
            self.sleep(PAUSE_S)
        else:
            raise JoinFailed(exit_status.NOPERM, f"node {self.me} could not join within {PATIENCE_S:g} s: {why}")
        raise JoinFailed(
            exit_status.NOHOST, f"{why}; is a node running there? Name any member of the cluster with --join"
        )

    def check(self) -> None:
        """Say whether `contact` belongs to another cluster than this node, which is a member already; silence is none.

        Raises:
            JoinFailed: it does.
        """
        with suppress(OSError):
            self._look()

    def _try(self) -> str:
        """Take one step; return why another one is needed, or nothing when this node belongs to the cluster."""
        view, cluster_id = self._look()
        if view.changing:
            return "the members are just being changed"
        self._keep(view, cluster_id)
        mine = view.find(self.me)
        if mine is not None:
            self._check_mine(mine)
            return ""
        self._check_new(view)
        leader = view.find(view.leader)
        if leader is None:
            return f"{self.contact} knows no leader"
        (answer,) = self.ask(Address.parse(leader.address), f"MEMBER ADD {self.me} {self.address}\n")
        if answer.get("status") == "OK":
            return ""
        why = str(answer.get("message") or answer.get("error"))
        if answer.get("error") in _FINAL and "already" not in why:  # then the next look tells whose it is
            raise JoinFailed(exit_status.NOPERM, f"node {self.me} cannot join: {why}")
        return why

    def _look(self) -> tuple[_View, str | None]:
        members, status = self.ask(self.contact, "MEMBERS\nSTATUS\n")
        try:
            view = msgspec.convert(members, _View)
            for member in view.members:
                Address.parse(member.address)
        except (msgspec.ValidationError, WrongValue) as error:
            raise OSError(f"what answers there is no kvraft node that this one understands: {error}") from error
        level = status.get("feature_level")
        if isinstance(level, int) and level > FEATURE_LEVEL:
            raise JoinFailed(exit_status.PROTOCOL, f"node {self.me} cannot join: {UnknownFeatureLevel(level)}")
        cluster_id = status.get("cluster_id")
        if None not in {cluster_id, self.cluster_id} and cluster_id != self.cluster_id:
            raise JoinFailed(
                exit_status.NOPERM,
                f"node {self.me} cannot join: its data directory belongs to cluster {self.cluster_id}, and "
                f"{self.contact} to cluster {cluster_id}; give the node an empty data directory, or name a member of "
                "its own cluster",
            )
        return view, cluster_id

    def _keep(self, view: _View, cluster_id: str | None) -> None:
        others = [member for member in view.members if member.id != self.me]
        seed = Seed(
            SEED_VERSION,
            self.me,
            str(self.address),
            cluster_id,
            {member.id: member.address for member in others},
            [member.id for member in others if member.role == "learner"],
            view.removed,
        )
        if seed != self._told:
            self.keep(seed)
            self._told = seed

    def _check_mine(self, mine: _Member) -> None:
        """Refuse an id that belongs to somebody else."""
        is_other = mine.incarnation not in {None, self.incarnation}
        if is_other or (mine.incarnation is None and mine.address != str(self.address)):
            raise JoinFailed(
                exit_status.NOPERM,
                f"node {self.me} cannot join: the id {self.me} belongs to the member at {mine.address}, which has "
                "another data directory; choose an id that was never used",
            )

    def _check_new(self, view: _View) -> None:
        """Refuse what the leader would refuse, with the status that says why."""
        if self.me in view.removed or self.me < view.removed_below:
            raise JoinFailed(
                exit_status.REMOVED,
                f"node {self.me} cannot join: it was removed from this cluster; choose an id that was never used, and "
                "an empty data directory",
            )
        for member in view.members:
            if member.address == str(self.address):
                raise JoinFailed(
                    exit_status.NOPERM,
                    f"node {self.me} cannot join: {self.address} is the address of node {member.id}; name another one "
                    "with --address",
                )


@attrs.define
class Moving:
    """Tells the cluster that a member is reached elsewhere now, until it is known. Runs in a thread of its own.

    The node asks by itself, since nobody can reach it where the log says; who it is stands in its request, so that a
    node with another memory moves nobody. The address of a hello is not used for this: a connection's other end is not
    proven, and an address that is told in passing would be taken over in passing. A node that leads without being known
    where it is asks itself.

    Attributes:
        me: the member.
        incarnation: its memory.
        address: where it is reached now.
        contacts: by the id of each member, this one too, where it may be reached: where the log says, and where
            config.json says so, for a cluster that has moved as a whole.
        pause: waits so many seconds, and returns whether to give up.
        say: takes a sentence for the log.
        ask: see `ask`.
    """

    me: int
    incarnation: str
    address: Address
    contacts: Mapping[int, Sequence[Address]]
    pause: Callable[[float], bool]
    say: Callable[[str], None]
    ask: Ask

    def run(self) -> None:
        """Ask until it is done."""
        said = ""
        while True:
            why = self._try()
            if not why:
                self.say(f"node {self.me} is known at {self.address} now")
                return
            if why != said:
                self.say(f"node {self.me} is not known at {self.address} yet: {why}")
                said = why
            if self.pause(MOVE_PAUSE_S):
                return

    def _try(self) -> str:
        """Take one step; return why another one is needed, or nothing when it is done."""
        why, refusal = "no member answers", ""
        for contact in {each: None for places in self.contacts.values() for each in places}:
            try:
                view = msgspec.convert(self.ask(contact, "MEMBERS\n")[0], _View)
            except (OSError, msgspec.ValidationError):
                continue
            leader = view.find(view.leader)
            why = "no leader is known" if leader is None else f"the leader, node {leader.id}, does not answer"
            answer = self._ask_leader(leader) if leader is not None else {}
            if answer.get("status") == "OK":
                return ""
            refusal = refusal or str(answer.get("message") or "")
        return refusal or why

    def _ask_leader(self, leader: _Member) -> dict[str, Any]:
        """Return what the leader answers, wherever it is reached; nothing if it does not, or does not lead any more."""
        for address in self._places_of(leader):
            with suppress(OSError):
                (answer,) = self.ask(address, f"MEMBER MOVE {self.me} {self.address} {self.incarnation}\n")
                if answer.get("error") != "NOT_LEADER":
                    return answer
        return {}

    def _places_of(self, leader: _Member) -> Iterator[Address]:
        """Yield where a leader may be reached: it may have moved, too, or be this node."""
        with suppress(WrongValue):
            yield Address.parse(leader.address)
        for address in self.contacts.get(leader.id, ()):
            if str(address) != leader.address:
                yield address
