"""Receives a snapshot from the leader: stores it in pieces, verifies it, loads it, and only then installs it."""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kvraft.raft import Membership
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.replica import collector
from kvraft.replica.pacing import forget, free, rest
from kvraft.replica.snapshots.context import SnapshotContext
from kvraft.storage import (
    Snapshot,
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotGone,
    SnapshotIdentity,
    SnapshotRefused,
    SnapshotUnsound,
)
from kvraft.store import SnapshotInvalid as StoreInvalid
from kvraft.store import Store, StoreLoader

CHUNKS_A_REPLY: Final = 128
"""Chunks that are loaded between two replies to the leader: about a second's work."""
LOADING_SHARE: Final = 0.5
"""Share of the time for loading a snapshot: a member that needs one has little other work."""
MANY_KEYS: Final = 100_000
"""A collection over so many keys takes longer than a turn may take (measured: 114 ms at 1 million)."""
WAITING_MAX: Final = 64
"""Pieces that may wait to be stored; further ones are dropped, and requested again."""
FAILURE_PAUSE_S: Final = 5.0
"""After a failure pieces are dropped for so long, seconds, so that a failure that repeats makes no busy loop."""
_HARMLESS: Final = (
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotGone,
    SnapshotUnsound,
    SnapshotRefused,
    StoreInvalid,
)
"""Failures of a received snapshot after which the node goes on with its old state."""


class Installer(Protocol):
    """Replaces the log and the store by a loaded snapshot."""

    async def install(self, snapshot: Snapshot, store: Store, membership: Membership) -> Store:
        """Replace log and state, durably; does nothing if the commit index has reached the snapshot meanwhile.

        Returns the store that is not needed any more: the replaced one, or the loaded one.
        """
        ...


@attrs.define
class _Transfer:
    """The snapshot that is being received."""

    identity: SnapshotIdentity
    received: int


class SnapshotReceiver:
    """Stores pieces one after the other. The old state is used until the new one is complete."""

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        context: SnapshotContext,
        installer: Installer,
    ) -> None:
        self._node = context.node
        self._snapshots = context.snapshots
        self._promise = context.promise
        self._clock = context.clock
        self._failed = context.failed
        self._installer = installer
        self._waiting: deque[tuple[int, InstallSnapshot]] = deque()
        self._working = False
        self._stopped = False
        self._not_before = 0.0
        self._transfer: _Transfer | None = None

    def receive(self, sender: int, piece: InstallSnapshot) -> None:
        """Take a piece that the core has accepted from this term's leader."""
        is_welcome = not self._stopped and self._clock.seconds() >= self._not_before
        if is_welcome and len(self._waiting) < WAITING_MAX:
            self._waiting.append((sender, piece))
            if not self._working:
                self._working = True
                Deferred.fromCoroutine(self._work()).addErrback(self._failed)

    def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self._waiting.clear()

    async def _work(self) -> None:
        try:
            while self._waiting and not self._stopped:
                sender, piece = self._waiting.popleft()
                try:
                    await self._take(sender, piece)
                except _HARMLESS as error:
                    if getattr(error, "needs_upgrade", False):
                        raise  # every other copy has the same format, which this kvraft cannot read
                    self._give_up(sender, str(error))
        finally:
            self._working = False

    def _give_up(self, sender: int, why: str) -> None:
        """Drop the waiting pieces, and new ones for `FAILURE_PAUSE_S`; the leader begins anew without replies."""
        self._transfer = None
        self._waiting.clear()
        if not self._stopped:
            self._not_before = self._clock.seconds() + FAILURE_PAUSE_S
            self._log.warn(
                "node {id} could not install the snapshot of node {peer}: {why}", id=self._node.id, peer=sender, why=why
            )

    async def _take(self, sender: int, piece: InstallSnapshot) -> None:
        identity = SnapshotIdentity(piece.snapshot, piece.index, piece.index_term, piece.size)
        if piece.index <= self._node.commit:
            if piece.index <= self._node.log.durable:  # otherwise a crash could lose what this reply promises
                self._reply(sender, piece, piece.size, installed=True)
            return
        latest = self._snapshots.latest
        if latest is not None and latest.header.index >= piece.index:
            await self._install(sender, piece, latest)  # it is complete; an earlier attempt to load it has failed
            return
        if self._transfer is None or self._transfer.identity != identity or not piece.data:
            received = await self._snapshots.begin_incoming(identity)
            self._transfer = _Transfer(identity, received)
        transfer = self._transfer
        if piece.data and piece.offset == transfer.received:
            transfer.received = await self._snapshots.write_incoming(piece.offset, piece.data)
        self._reply(sender, piece, transfer.received, installed=False)
        if transfer.received == piece.size:
            self._transfer = None
            await self._install(sender, piece, await self._snapshots.finish_incoming())

    async def _install(self, sender: int, piece: InstallSnapshot, snapshot: Snapshot) -> None:
        began = self._clock.seconds()
        store, membership = await self._load(snapshot, lambda: self._reply(sender, piece, piece.size, installed=False))
        if self._stopped:
            return
        keys = store.key_count
        # The snapshot is durable and covers these entries. Drop them in steps, so that the installation stays short.
        # The log may have grown past it meanwhile: no snapshot covers what comes after it, so that stays.
        await forget(self._clock, self._node, min(snapshot.header.index, self._node.log.durable))
        useless = await self._installer.install(snapshot, store, membership)
        self._log.info(
            "node {id} installed a snapshot up to entry {index}: {keys} keys, loaded in {seconds:.1f} s",
            id=self._node.id,
            index=snapshot.header.index,
            keys=keys,
            seconds=self._clock.seconds() - began,
        )
        self._reply(sender, piece, piece.size, installed=True)
        del store
        await free(self._clock, [*useless.dismantle()])

    async def _load(self, snapshot: Snapshot, alive: Callable[[], None]) -> tuple[Store, Membership]:
        state, membership = read_header(snapshot)
        loader = StoreLoader(state)
        collector_rest = collector.Rest(self._clock)
        try:
            await self._add_chunks(loader, snapshot.header.id, alive, collector_rest)
            store = loader.finish() if not self._stopped else Store()
        except Exception:
            await free(self._clock, [*loader.dismantle()])
            raise
        finally:
            if loader.loaded >= MANY_KEYS:
                collector.hide_all()
            collector_rest.end()
        return store, membership

    async def _add_chunks(
        self, loader: StoreLoader, snapshot_id: str, alive: Callable[[], None], collector_rest: collector.Rest
    ) -> None:
        offset, chunks = 0, 0
        while not self._stopped and (chunk := await self._snapshots.read_chunk(snapshot_id, offset)) is not None:
            began = self._clock.seconds()
            collector_rest.renew()
            loader.add(chunk.payload)
            offset = chunk.next_offset
            chunks += 1
            if chunks % CHUNKS_A_REPLY == 0:
                alive()
            await rest(self._clock, began, LOADING_SHARE)

    def _reply(self, to: int, piece: InstallSnapshot, received: int, *, installed: bool) -> None:
        # A reply to an earlier term's leader is not needed.
        if piece.term == self._node.term:
            self._promise(to, InstallSnapshotReply(piece.term, piece.snapshot, received, installed))


def read_header(snapshot: Snapshot) -> tuple[dict[str, object], Membership]:
    """Return the store's state and the configuration that a snapshot's header holds.

    Raises:
        StoreInvalid: the header lacks them, or they do not fit the snapshot's index: no kvraft has written it.
    """
    header = snapshot.header
    match header.state:
        case {"store": dict(state), "membership": str(encoded)}:
            pass
        case _:
            raise StoreInvalid("the snapshot's header holds no store and no membership")
    if (state.get("applied_index"), state.get("applied_term")) != (header.index, header.term):
        raise StoreInvalid(f"a snapshot up to entry {header.index} holds the state of another entry")
    try:
        return state, Membership.decode(encoded.encode())
    except ValueError as error:
        raise StoreInvalid(f"the snapshot's header holds no membership: {error}") from error
