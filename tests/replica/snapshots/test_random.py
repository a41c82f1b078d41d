"""Random stories with tiny limits: hundreds of snapshots among cuts and kills, and equal states at the end (row 16)."""

from random import Random
from typing import Final

import pytest

from kvraft.raft import RaftOptions
from kvraft.replica import SnapshotOptions
from kvraft.replica.snapshots import send
from kvraft.replica.submissions import Stopping
from kvraft.store import chunks as chunking
from tests.replica.cluster import Ask, write
from tests.replica.disk_cluster import DiskCluster

SEEDS: Final = 12
"""The number of stories; raise it for a long run."""
EVENTS: Final = 400
REQUEST_TIMEOUT_S: Final = 2.0
KEYS: Final = 12
TINIEST: Final = SnapshotOptions(log_bytes_max=600, log_bytes_kept=150, log_bytes_for_late=1200, absent_after=0.2)
SMALL: Final = RaftOptions(
    uncommitted_bytes_max=2000, apply_bytes_max=300, append_bytes_max=400, inflight_messages_max=3
)


class Story:
    """One random run on members with disks that outlive them."""

    def __init__(self, seed: int, *, power: bool) -> None:
        self.random = Random(seed)
        self.power = power
        self.cluster = DiskCluster(
            self.random.choice((3, 3, 5)),
            seed=seed,
            snapshots=TINIEST,
            raft=self.random.choice((None, SMALL)),
            request_timeout=REQUEST_TIMEOUT_S,
        )
        self.cluster.elect()
        self.asked: list[tuple[str, str, Ask]] = []
        self.snapshots = 0
        self.installs = 0
        self._seen: dict[int, tuple[object, int]] = {}

    def happen(self) -> None:
        """Let one thing happen to a random member."""
        cluster, member = self.cluster, self.random.randrange(self.cluster.size)
        match self.random.randrange(40):
            case 0:
                cluster.isolate(member, noticed=self.random.random() < 0.5)
            case 1 | 2:
                other = self.random.randrange(cluster.size)
                if other != member:
                    cluster.cut(member, other, noticed=self.random.random() < 0.5)
            case 3 | 4 | 5:
                cluster.heal()
            case 6:
                cluster.restart(member, power=self.power and self.random.random() < 0.5)
            case 7:
                if cluster.members[member].is_alive:
                    cluster.kill(member, power=self.power and self.random.random() < 0.5)
            case 8 | 9:
                if not cluster.members[member].is_alive:
                    cluster.start(member)
            case 10:
                cluster.journals[member].delay = self.random.choice((0.0, 0.001, 0.05, 0.4))
            case 11:
                cluster.snapshots[member].jobs.delay = self.random.choice((0.0, 0.001, 0.05, 0.4))
            case _:
                self.write(member)
        self._count()
        cluster.check_compaction()

    def write(self, member: int) -> None:
        """Write a value that no other client writes, mostly at the leader."""
        leader = self.cluster.leader
        target = member if leader is None or self.random.random() < 0.1 else leader
        if self.cluster.members[target].is_alive:
            key, value = f"key{self.random.randrange(KEYS)}", f"{len(self.asked)}".ljust(60, ".")
            own = f"own{len(self.asked)}" if self.random.random() < 0.3 else key
            self.asked.append((own, value, self.cluster.ask(target, write(own, value))))

    def end_well(self) -> None:
        """End all faults; what was acknowledged is there, and all states are equal."""
        cluster = self.cluster
        cluster.heal()
        for member in range(cluster.size):
            if not cluster.members[member].is_alive:
                cluster.start(member)
            cluster.journals[member].delay = 0.0
            cluster.snapshots[member].jobs.delay = 0.0
        cluster.run(REQUEST_TIMEOUT_S + 25.0)  # beyond the silence of a broken transfer
        cluster.settle()
        self._count()
        assert len(cluster.states()) == 1
        store = cluster.running[0].store
        for key, value, ask in self.asked:
            item = store.get(key.encode())
            if key.startswith("own") and ask.answers:
                assert item is not None, "what was acknowledged is lost"
                assert item.value == value.encode()
            if key.startswith("own") and ask.errors and ask.error.definite and not isinstance(ask.error, Stopping):
                assert item is None, "it was said that it certainly did not happen"
        cluster.check_compaction()
        cluster.check()

    def _count(self) -> None:
        for member in self.cluster.running:
            latest = self.cluster.snapshots[member.id].latest
            store, index = self._seen.get(member.id, (member.store, 0))
            if latest is not None and latest.header.index != index:
                self.snapshots += 1
            self._seen[member.id] = (member.store, latest.header.index if latest is not None else 0)
            self.installs += store is not member.store and member.store.applied_index > 0


@pytest.mark.parametrize("power", [False, True], ids=["kills", "power failures"])
def test_states_stay_equal(monkeypatch: pytest.MonkeyPatch, power: bool) -> None:
    """However members are cut off, killed and restarted while snapshots are taken and sent, nothing is lost."""
    monkeypatch.setattr(send, "PIECE_BYTES", 200)
    monkeypatch.setattr(send, "WINDOW_BYTES", 600)
    monkeypatch.setattr(chunking, "CHUNK_BYTES_FULL", 400)
    snapshots = installs = answered = 0
    for seed in range(SEEDS):
        story = Story(seed, power=power)
        for _event in range(EVENTS):
            story.cluster.run(story.random.choice((0.0, 0.0, 0.0003, 0.001, 0.004, 0.05, 0.3)))
            story.happen()
        story.end_well()
        snapshots += story.snapshots
        installs += story.installs
        answered += sum(bool(ask.answers) for _, _, ask in story.asked)

    assert snapshots > 20 * SEEDS, "the stories are too short"
    assert installs > SEEDS, "no member was ever late"
    assert answered > EVENTS * SEEDS // 8, "the stories are too sad"
