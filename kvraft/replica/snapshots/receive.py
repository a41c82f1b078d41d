"""Receiving a snapshot from the leader: stored piece by piece, verified, loaded, and only then put in place."""

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
"""Chunks that are loaded between two signs of life to the leader: a second's work."""
LOADING_SHARE: Final = 0.5
"""Of the time, so much goes to the loading of a snapshot: whoever is behind has little else to do."""
MANY_KEYS: Final = 100_000
"""So many keys take the garbage collector longer than a turn may take (measured: 114 ms at 1 million)."""
WAITING_MAX: Final = 64
"""Pieces that may wait to be stored; those beyond are dropped, and asked for again."""
FAILURE_PAUSE_S: Final = 5.0
"""After a failure pieces are dropped for so long, seconds: what goes wrong at once must not be tried without end."""
_HARMLESS: Final = (
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotGone,
    SnapshotUnsound,
    SnapshotRefused,
    StoreInvalid,
)
"""What may go wrong with a snapshot while the old state serves on."""


class Installer(Protocol):
    """What puts a loaded snapshot in the place of log and store."""

    async def install(self, snapshot: Snapshot, store: Store, membership: Membership) -> Store:
        """Replace log and state, durably; does nothing when the log has come as far meanwhile.

        Returns the store that is of no more use: the replaced one, or the one that was not needed.
        """
        ...


@attrs.define
class _Transfer:
    """The snapshot that is being received."""

    identity: SnapshotIdentity
    received: int


class SnapshotReceiver:
    """Stores pieces one after the other. The old state serves until the new one is whole."""

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
        """Take a piece that the node has found to come from this term's leader."""
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
                        raise  # no other copy of it would do: this node cannot follow its cluster any more
                    self._give_up(sender, str(error))
        finally:
            self._working = False

    def _give_up(self, sender: int, why: str) -> None:
        """Drop what waits, and what comes for a while; the leader begins anew when it has heard nothing."""
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
            if piece.index <= self._node.log.durable:  # else it would be a promise that a crash takes back
                self._reply(sender, piece, piece.size, installed=True)
            return
        latest = self._snapshots.latest
        if latest is not None and latest.header.index >= piece.index:
            await self._install(sender, piece, latest)  # it is whole; only to load it has failed before
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
        # The snapshot is durable and covers this: what would go at once below goes in steps.
        await forget(self._clock, self._node, self._node.log.durable)
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
        # The leader of an earlier term has no use for an answer.
        if piece.term == self._node.term:
            self._promise(to, InstallSnapshotReply(piece.term, piece.snapshot, received, installed))


def read_header(snapshot: Snapshot) -> tuple[dict[str, object], Membership]:
    """Return the store's state and the configuration that a snapshot's header holds.

    Raises:
        StoreInvalid: it does not hold them, or they do not belong to it, so no kvraft has written it.
    """
    header = snapshot.header
    match header.state:
        case {"store": dict(state), "membership": str(encoded)}:
            pass
        case _:
            raise StoreInvalid("the snapshot's header holds no store and no membership")
    if (state.get("applied_index"), state.get("applied_term")) != (header.index, header.term):
        raise StoreInvalid(f"a snapshot up to entry {header.index} holds the state of another place")
    try:
        return state, Membership.decode(encoded.encode())
    except ValueError as error:
        raise StoreInvalid(f"the snapshot's header holds no membership: {error}") from error
