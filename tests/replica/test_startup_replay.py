"""A node that was restarted says how far it is in applying its log."""

from twisted.internet.task import Clock
from twisted.logger import formatEvent

from kvraft.raft import Entry, EntryKind
from kvraft.replica.startup_replay import StartupReplay
from kvraft.store import Store
from tests.raft.single import make_node
from tests.replica.disk_cluster import DiskCluster
from tests.server.twins import logged_by

ENTRIES = [Entry.create(1, index, EntryKind.EMPTY, b"") for index in range(1, 11)]


def test_the_end_of_the_replay_is_told_with_its_time() -> None:
    """All members are killed and started again: each says once when it has applied its log."""
    cluster = DiskCluster()
    cluster.settle()
    cluster.write_many(10)
    for member in range(3):
        cluster.kill(member)

    with logged_by("kvraft.replica") as events:
        for member in range(3):
            cluster.start(member)
        cluster.settle()
        cluster.run(0.5)

    said = [formatEvent(event) for event in events]
    assert len([line for line in said if "has applied its log up to entry" in line]) == 3


def test_progress_is_told_each_second_and_only_while_there_is_something_to_apply() -> None:
    """Nothing while no leader says what is committed; then a line a second, and one at the end."""
    clock, store = Clock(), Store()
    node = make_node(*[1] * 10)
    replay = StartupReplay(node, store, clock)

    with logged_by("kvraft.replica") as events:
        clock.advance(1.5)
        assert not replay.look(store)
        assert events == []
        node.commit = 10
        for entry in ENTRIES[:4]:
            store.apply(entry)
        assert not replay.look(store)
        assert not replay.look(store)
        clock.advance(1.0)
        assert not replay.look(store)
        for entry in ENTRIES[4:]:
            store.apply(entry)
        assert replay.look(store)

    assert [formatEvent(event) for event in events] == [
        "node 0 has applied 4 of 10 entries of its log",
        "node 0 has applied 4 of 10 entries of its log",
        "node 0 has applied its log up to entry 10, 2.500 s after it was read",
    ]


def test_a_tail_that_is_cut_off_is_not_waited_for() -> None:
    """Entries that another leader has replaced by fewer are never applied."""
    clock, store = Clock(), Store()
    node = make_node(*[1] * 10)
    replay = StartupReplay(node, store, clock)

    node.log.truncate_from(3)
    for entry in ENTRIES[:2]:
        store.apply(entry)

    assert replay.look(store)


def test_a_node_without_a_log_says_nothing() -> None:
    """A new node has nothing to apply."""
    with logged_by("kvraft.replica") as events:
        assert StartupReplay(make_node(), Store(), Clock()).look(Store())
    assert events == []
