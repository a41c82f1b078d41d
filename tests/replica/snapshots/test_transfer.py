"""A snapshot on its way: broken links, changed leaders, restarts, stale pieces and damage (rows 16 to 18)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest
from twisted.internet.defer import Deferred, fail

from kvraft.commands import TakeSnapshot
from kvraft.peers.forwarded import PeerMessage
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply, RequestVote
from kvraft.replica.snapshots import receive, send
from kvraft.replica.snapshots.receive import read_header
from kvraft.simulation.disk import proceed
from kvraft.storage import Snapshot, SnapshotDamaged, SnapshotFailed, SnapshotHeader
from kvraft.storage.errors import JournalFailed
from kvraft.storage.snapshot_files import incoming_name
from kvraft.store import SnapshotInvalid as StoreInvalid
from kvraft.store import StoreLoader
from kvraft.store import chunks as chunking
from tests.replica.cluster import SOMEBODY, read, write
from tests.replica.disk_cluster import DIRECTORY, DiskCluster

PIECE: Final = 512
WINDOW: Final = 4 * PIECE
CHUNK: Final = 1024
"""Longest chunk of a snapshot's file here."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[DiskCluster]:
    """Three members, one of them (`late`) far back in the log and cut off; snapshots travel in many small pieces."""
    monkeypatch.setattr(send, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(send, "WINDOW_BYTES", WINDOW)
    monkeypatch.setattr(chunking, "CHUNK_BYTES_FULL", CHUNK)
    cluster = DiskCluster()
    cluster.settle()
    cluster.isolate(late(cluster), noticed=True)
    cluster.write_many(80, keys=60, size=200)
    yield cluster
    cluster.check_compaction()
    cluster.check()


def late(cluster: DiskCluster) -> int:
    """The follower that lags: the first one."""
    return max(member.id for member in cluster.running if member.id != cluster.elect())


def pieces(cluster: DiskCluster, sender: int) -> list[InstallSnapshot]:
    """Return the pieces with data that a member has sent, in order."""
    return [message for _, message in cluster.members[sender].sent if isinstance(message, InstallSnapshot)]


def received(cluster: DiskCluster, member: int) -> int:
    """Return how much of a snapshot a member has on its disk."""
    inodes = cluster.disks[member].inodes.items()
    return max((len(inode.current) for path, inode in inodes if incoming_name(path) is not None), default=0)


def begin_transfer(cluster: DiskCluster, behind: int, at_least: int = 3 * PIECE) -> int:
    """Heal all links and wait until a part of the snapshot has arrived; return the leader."""
    leader = cluster.elect()
    cluster.heal()
    cluster.run_until(lambda: received(cluster, behind) >= at_least)
    return leader


def test_a_broken_transfer_goes_on_where_it_stopped(cluster: DiskCluster) -> None:
    """After a break in the middle no more is sent twice than was on its way."""
    behind = late(cluster)
    leader = begin_transfer(cluster, behind, 8 * PIECE)
    cluster.isolate(behind, noticed=True)
    held = received(cluster, behind)
    cluster.members[leader].sent.clear()

    cluster.heal()
    cluster.settle()

    again = [piece for piece in pieces(cluster, leader) if piece.data]
    assert again, "there was nothing left to send"
    assert min(piece.offset for piece in again) == held > 0
    assert sum(len(piece.data) for piece in again) <= again[0].size - held + WINDOW
    assert len(cluster.states()) == 1


def test_a_break_that_nobody_notices(cluster: DiskCluster) -> None:
    """Pieces that are lost without a sign are sent again after a silence, from where they are missing."""
    behind = late(cluster)
    leader = begin_transfer(cluster, behind)
    cluster.isolate(behind)
    cluster.run(0.2)
    cluster.cut_links.clear()  # connected again, without a notice
    cluster.members[leader].sent.clear()

    cluster.run_until(cluster.agrees, at_most=30.0)

    assert len(cluster.states()) == 1


def test_an_answer_to_the_offer_that_is_lost_is_asked_for_again(cluster: DiskCluster) -> None:
    """It is lost when the member's own connection to the leader is made later than the leader's to it."""
    behind, leader = late(cluster), cluster.elect()
    carry = cluster.carry
    lost: list[PeerMessage] = []

    def lose_the_first_answer(sender: int, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        for to, message in outgoing:
            if isinstance(message, InstallSnapshotReply) and not lost:
                lost.append(message)
            else:
                carry(sender, [(to, message)])

    cluster.carry = lose_the_first_answer  # type: ignore[method-assign]
    cluster.heal()

    cluster.run_until(
        lambda: cluster.members[behind].store.applied_index == cluster.members[leader].store.applied_index,
        at_most=2.0,
    )
    assert lost


def test_an_answer_that_claims_more_than_there_is_counts_for_nothing(cluster: DiskCluster) -> None:
    """The leader takes it for silence, and begins anew with its latest snapshot when that lasts too long."""
    leader, carry = cluster.elect(), cluster.carry

    def answer_absurdly(sender: int, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        for to, message in outgoing:
            said = message
            if isinstance(message, InstallSnapshotReply):
                (size,) = {piece.size for piece in pieces(cluster, to) if piece.snapshot == message.snapshot}
                said = msgspec.structs.replace(message, received=size + 1)
            carry(sender, [(to, said)])

    cluster.carry = answer_absurdly  # type: ignore[method-assign]
    cluster.heal()
    cluster.run_until(lambda: bool(pieces(cluster, leader)))
    offered = pieces(cluster, leader)[-1].snapshot
    taken = cluster.members[leader].replica.intake.administer(SOMEBODY, TakeSnapshot())
    cluster.run_until(lambda: taken.called)

    cluster.run(send.SILENCE_MAX_S + send.OFFER_AGAIN_S)
    assert pieces(cluster, leader)[-1].snapshot != offered

    cluster.carry = carry  # type: ignore[method-assign]
    cluster.run_until(cluster.agrees, at_most=2.0)


def test_a_restart_in_the_middle(cluster: DiskCluster) -> None:
    """A receiver that is killed in the middle goes on after the last whole chunk on its disk."""
    behind = late(cluster)
    leader = begin_transfer(cluster, behind, 8 * PIECE)
    cluster.kill(behind)
    held = received(cluster, behind)
    cluster.members[leader].sent.clear()

    cluster.start(behind)
    cluster.settle()

    again = [piece for piece in pieces(cluster, leader) if piece.data]
    assert held - CHUNK - PIECE < min(piece.offset for piece in again) <= held
    assert len(cluster.states()) == 1


def test_a_power_failure_in_the_middle(cluster: DiskCluster) -> None:
    """Whatever part of the pieces survives, the state is right at the end."""
    behind = late(cluster)
    begin_transfer(cluster, behind)

    cluster.restart(behind, power=True)
    cluster.settle()

    assert len(cluster.states()) == 1


def test_the_leader_changes_in_the_middle(cluster: DiskCluster) -> None:
    """The new leader's snapshot takes the place of the old one's, of which nothing is left."""
    behind = late(cluster)
    leader = begin_transfer(cluster, behind)

    cluster.kill(leader)
    successor = cluster.await_other_leader(leader)
    cluster.settle()

    assert successor >= 0
    new = cluster.leader
    assert new is not None
    assert new != leader
    assert pieces(cluster, new), "the new leader sends its own"
    assert len(cluster.states()) == 1
    assert received(cluster, behind) == 0


def test_stale_pieces(cluster: DiskCluster) -> None:
    """Pieces that arrive again, out of order or after the installation change nothing."""
    behind = late(cluster)
    leader = begin_transfer(cluster, behind)
    cluster.members[behind].replica.inbox.receive(leader, pieces(cluster, leader)[-2:])
    cluster.members[behind].replica.inbox.receive(leader, pieces(cluster, leader)[:2])
    cluster.settle()
    digest = cluster.states()
    cluster.members[behind].sent.clear()

    cluster.members[behind].replica.inbox.receive(leader, pieces(cluster, leader))
    cluster.run(1.0)

    assert {state[:2] for state in cluster.states()} == {state[:2] for state in digest}
    replies = [message for _, message in cluster.members[behind].sent if isinstance(message, InstallSnapshotReply)]
    assert replies
    assert all(reply.installed for reply in replies)


def test_the_old_state_serves_until_the_new_one_is_whole(cluster: DiskCluster) -> None:
    """While pieces arrive the receiver's own store and log are what they were."""
    behind = late(cluster)
    before = (cluster.members[behind].store, cluster.members[behind].store.applied_index)
    begin_transfer(cluster, behind)

    member = cluster.members[behind]
    assert (member.store, member.store.applied_index) == before
    assert member.node.log.snapshot_index == 0
    cluster.settle()
    assert member.store is not before[0]
    assert len(cluster.states()) == 1


def damage(piece: InstallSnapshot) -> InstallSnapshot:
    """Return a piece with one byte changed."""
    data = bytes([piece.data[0] ^ 1]) + piece.data[1:]
    return InstallSnapshot(piece.term, piece.snapshot, piece.index, piece.index_term, piece.size, piece.offset, data)


def test_a_snapshot_that_does_not_verify_is_refused(cluster: DiskCluster) -> None:
    """A byte that changed on its way costs a second transfer, and nothing else."""
    behind = late(cluster)
    old = cluster.members[behind].store
    carry = cluster.carry
    spoilt: list[InstallSnapshot] = []

    def spoil(sender: int, outgoing: object) -> None:
        messages = list(outgoing)  # type: ignore[call-overload]
        for place, (to, message) in enumerate(messages):
            if isinstance(message, InstallSnapshot) and message.data and not spoilt:
                spoilt.append(message)
                messages[place] = (to, damage(message))
        carry(sender, messages)

    cluster.carry = spoil  # type: ignore[method-assign]
    begin_transfer(cluster, behind)
    cluster.run_until(lambda: received(cluster, behind) == 0)
    assert cluster.members[behind].store is old
    cluster.run_until(cluster.agrees, at_most=60.0)

    assert spoilt
    assert len(cluster.states()) == 1


@pytest.mark.parametrize(
    "error",
    [
        SnapshotDamaged(DIRECTORY / "snapshot", 0, "it has decayed"),
        SnapshotFailed("read", DIRECTORY / "snapshot", OSError(5, "input/output error")),
        StoreInvalid("parts are missing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_snapshot_that_cannot_be_loaded_is_tried_again(cluster: DiskCluster, error: Exception) -> None:
    """One that is whole on the disk and fails to load is loaded later; meanwhile the old state serves."""
    behind = late(cluster)
    snapshots, old = cluster.snapshots[behind], cluster.members[behind].store
    read_chunk, left = snapshots.read_chunk, [error]

    def fail_once(snapshot_id: str, offset: int) -> Deferred[object]:
        return fail(left.pop()) if left else read_chunk(snapshot_id, offset)  # type: ignore[return-value]

    snapshots.read_chunk = fail_once  # type: ignore[method-assign, assignment]
    leader = begin_transfer(cluster, behind)
    cluster.run_until(lambda: not left)
    cluster.run(1.0)
    assert cluster.members[behind].store is old
    cluster.members[leader].sent.clear()
    cluster.run_until(cluster.agrees, at_most=60.0)

    assert len(cluster.states()) == 1
    assert not any(piece.data for piece in pieces(cluster, leader)), "it was there already"


def test_nothing_is_said_of_a_snapshot_in_a_later_term_than_the_senders(cluster: DiskCluster) -> None:
    """That term may not be durable by then; a random run found an answer that a crash would have taken back."""
    behind = late(cluster)
    member, snapshots = cluster.members[behind], cluster.snapshots[behind]
    read_chunk, held = snapshots.read_chunk, Deferred[None]()
    loading: list[int] = []

    def wait(snapshot_id: str, offset: int) -> Deferred[object]:
        loading.append(offset)
        if len(loading) > 1:
            return read_chunk(snapshot_id, offset)  # type: ignore[return-value]
        return held.addCallback(lambda _: read_chunk(snapshot_id, offset))

    snapshots.read_chunk = wait  # type: ignore[method-assign, assignment]
    leader = begin_transfer(cluster, behind)
    cluster.run_until(lambda: bool(loading))
    other = next(each for each in cluster.members if each not in {behind, leader})
    member.sent.clear()
    later = member.node.term + 1
    member.replica.inbox.receive(other, [RequestVote(later, 1, 1, transfer=True)])
    held.callback(None)
    cluster.run_until(cluster.agrees, at_most=60.0)

    said = [message for _, message in member.sent if isinstance(message, InstallSnapshotReply)]
    assert all(reply.term != later for reply in said), "others were elected in later ones"
    assert member.node.term > later


def test_a_failing_disk_of_the_receiver(cluster: DiskCluster) -> None:
    """A disk that has no room for the snapshot is asked again at intervals, not without end, and then goes on."""
    behind = late(cluster)
    disk, tries = cluster.disks[behind], []

    def refuse(operation: str, path: Path) -> None:
        if operation == "pwrite" and incoming_name(path) is not None and received(cluster, behind) >= 6 * PIECE:
            tries.append(path)
            raise OSError(28, "no space")

    disk.before = refuse
    cluster.heal()
    cluster.run(31.0)
    assert 1 <= len(tries) <= 31.0 / receive.FAILURE_PAUSE_S + 1
    assert cluster.members[behind].fatal == []
    disk.before = proceed
    cluster.run_until(cluster.agrees, at_most=60.0)

    assert len(cluster.states()) == 1


def test_a_failing_disk_of_the_sender(cluster: DiskCluster) -> None:
    """A snapshot that cannot be read is tried again at intervals, not without end; the leader serves on."""
    behind, leader = late(cluster), cluster.elect()
    snapshots = cluster.snapshots[leader]
    read_file, tries = snapshots.read, []

    def refuse(snapshot_id: str, offset: int, size: int) -> Deferred[bytes]:
        tries.append(offset)
        return fail(SnapshotFailed("read", DIRECTORY / "snapshot", OSError(5, "input/output error")))

    snapshots.read = refuse  # type: ignore[method-assign]
    cluster.heal()
    cluster.run(31.0)
    assert 5 <= len(tries) <= 31.0 / send.RESEND_PAUSE_S + 1
    assert cluster.do(write("meanwhile"), read("meanwhile"))[1] is not None
    snapshots.read = read_file  # type: ignore[method-assign]
    cluster.run_until(cluster.agrees, at_most=60.0)

    assert cluster.members[behind].node.log.snapshot_index > 0
    assert len(cluster.states()) == 1


def test_a_journal_that_fails_in_the_middle_of_an_install_is_fatal(cluster: DiskCluster) -> None:
    """When the log cannot be begun anew the node stops at once; started again it begins with the snapshot."""
    behind = late(cluster)
    error = JournalFailed("write to", DIRECTORY / "log", DIRECTORY, OSError(5, "input/output error"))
    cluster.journals[behind].reset_to = lambda *_: fail(error)  # type: ignore[method-assign]
    cluster.heal()
    cluster.run_until(lambda: bool(cluster.members[behind].fatal))

    assert "a snapshot could not take the place of the log" in cluster.members[behind].fatal[0].text
    cluster.restart(behind)
    assert cluster.members[behind].store.applied_index == cluster.members[behind].node.log.snapshot_index > 0
    cluster.settle()
    assert len(cluster.states()) == 1


@pytest.mark.parametrize("step", ["before", "after"])
def test_killed_between_the_snapshot_and_the_log(cluster: DiskCluster, step: str) -> None:
    """Killed just before or after the new beginning of the log, a member comes back with the snapshot (row 16)."""
    behind = late(cluster)
    journal = cluster.journals[behind]
    reset_to, reached = journal.reset_to, []

    def die(index: int, term: int) -> Deferred[None]:
        reached.append(index)
        if step == "after":
            reset_to(index, term)
            cluster.run_until(lambda: journal.journal.extent.base_index == index)
        cluster.clock.callLater(0, cluster.kill, behind)
        return Deferred()

    journal.reset_to = die  # type: ignore[method-assign, assignment]
    cluster.heal()
    cluster.run_until(lambda: not cluster.members[behind].is_alive)
    cluster.start(behind)

    assert cluster.members[behind].store.applied_index == reached[0]
    cluster.settle()
    assert len(cluster.states()) == 1


def test_what_the_journal_was_given_before_does_not_come_behind(cluster: DiskCluster) -> None:
    """An installation waits for the saves that are under way and those that wait for them.

    The test stops the receiver between two steps: a snapshot is loaded, and is installed while entries are saved.
    """
    slow, leader = next(each for each in cluster.followers() if each != late(cluster)), cluster.elect()
    cluster.journals[slow].delay = 0.5
    cluster.heal()
    cluster.settle()
    cluster.write_many(3)
    cluster.run(0.01)
    cluster.isolate(slow, noticed=True)
    member = cluster.members[slow]
    assert member.node.log.last_index - member.node.log.durable > 1, "one save is under way, and another waits for it"
    cluster.write_many(60, size=600)
    cluster.run(0.05)
    latest = cluster.snapshots[leader].latest
    assert latest is not None
    assert latest.header.index > member.node.log.last_index
    state, membership = read_header(latest)
    loader = StoreLoader(state)
    for chunk in cluster.snapshots[leader].snapshots.chunks(latest.header.id):
        loader.add(chunk)

    installer = member.receiver._installer
    install = Deferred.fromCoroutine(installer.install(latest, loader.finish(), membership))
    cluster.run(5.0)

    assert install.called
    assert member.fatal == []
    assert cluster.journal_begins(slow) == member.node.log.snapshot_index == latest.header.index
    cluster.journals[slow].delay = 0.0
    cluster.heal()
    cluster.write_many(80, size=600)  # until it has a snapshot of its own: the one above was not in its storage
    cluster.settle()
    assert len(cluster.states()) == 1


def test_a_request_whose_entry_a_snapshot_covers_is_unknown(cluster: DiskCluster) -> None:
    """A former leader that installs a snapshot cannot know the outcome of its open writes, and answers so at once."""
    old = cluster.elect()
    cluster.heal()
    cluster.settle()
    cluster.isolate(old)
    ask = cluster.ask(old, write("lost", "or not"))
    cluster.await_other_leader(old)
    cluster.write_many(60, keys=10, size=500)
    assert not ask.is_over

    cluster.heal()
    cluster.settle()

    assert pieces(cluster, cluster.elect())
    assert ask.is_over
    assert not ask.error.definite
    assert cluster.members[old].replica.queues()["proposed"] == 0


BROKEN_STATES: Final[dict[str, Callable[[dict[str, object]], dict[str, object]]]] = {
    "no store": lambda state: {"membership": state["membership"]},
    "no membership": lambda state: {"store": state["store"]},
    "unreadable membership": lambda state: {**state, "membership": "{"},
    "another index": lambda state: {**state, "store": {**state["store"], "applied_index": 1}},  # type: ignore[dict-item]
}


@pytest.mark.parametrize("broken", BROKEN_STATES.values(), ids=BROKEN_STATES.keys())
def test_a_header_that_no_kvraft_wrote(
    cluster: DiskCluster, broken: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    """A sound file with an impossible header is no reason to end; it is refused by name."""
    latest = cluster.snapshots[cluster.elect()].latest
    assert latest is not None
    assert read_header(latest)[1] == cluster.members[cluster.elect()].node.membership
    header = latest.header
    other = SnapshotHeader(header.id, header.index, header.term, broken(dict(header.state)))

    with pytest.raises(StoreInvalid):
        read_header(Snapshot(other, latest.size, latest.path))
