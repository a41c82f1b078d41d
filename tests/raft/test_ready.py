"""The effects as a contract: what comes when, in which order, and what an outstanding save holds back."""

from kvraft.raft import HardState, Ready, Role, SoftState
from kvraft.raft.messages import AppendEntries, AppendEntriesReply, Heartbeat, RequestVote, RequestVoteReply
from tests.raft.machine import DISK_DELAY_S
from tests.raft.network import Network
from tests.raft.single import acknowledge, make_entries, make_leader, make_node, settle, take


def test_a_quiet_node_has_nothing_to_tell() -> None:
    """Without an input there is no Ready, and an early wake is harmless."""
    node = make_node(1)
    assert not node.has_ready()
    node.wake(0.0)
    assert not node.has_ready()
    assert take(node) == Ready()


def test_every_effect_is_given_out_once() -> None:
    """A Ready that was taken is the driver's; the next one has only what is new."""
    node = make_node(term=1)
    node.step(1, AppendEntries(2, 0, 0, commit=1, entries=make_entries(2)), 0.1)
    assert node.has_ready()
    ready = take(node)
    assert ready == Ready(
        hard_state=HardState(2, None, 1),
        entries=make_entries(2),
        replies=((1, AppendEntriesReply(2, success=True, prev_index=0, index=1)),),
        committed=make_entries(2),
        soft_state=SoftState(Role.FOLLOWER, 2, 1),
    )
    assert ready.needs_save
    assert not node.has_ready()
    assert take(node) == Ready()


def test_several_readys_may_be_outstanding() -> None:
    """While a save is slow new events form the next Readys; each advance makes its own part durable."""
    node = make_leader()
    first_proposal = node.propose([b"a"], node.now)
    first = node.ready()
    node.propose([b"b"], node.now)
    second = node.ready()
    assert (first_proposal, len(first.entries), len(second.entries)) == ((1, 2), 1, 1)
    acknowledge(node, 1, 3)
    assert node.commit == 1
    node.advance(first)
    assert (node.log.durable, node.commit) == (2, 2)
    node.advance(second)
    assert (node.log.durable, node.commit) == (3, 3)


def test_a_save_that_a_conflict_overtook_counts_for_nothing() -> None:
    """The end of a save of entries that were cut off since makes nothing durable; the later save does."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    first = node.ready()
    node.step(2, AppendEntries(2, 0, 0, commit=0, entries=make_entries(2, 2)), 0.1)
    second = node.ready()
    assert tuple(second.entries) == make_entries(2, 2)
    node.advance(first)
    assert node.log.durable == 0
    node.advance(second)
    assert node.log.durable == 2


def test_an_old_save_does_not_make_a_newer_vote_durable() -> None:
    """A candidate's vote counts by the save that carried it, not by an earlier one that ends later."""
    node = make_node(members=1)
    node.step(5, Heartbeat(3, 0, 0), 0.1)
    first = node.ready()
    node.wake(node.deadline)
    second = node.ready()
    assert (first.hard_state, second.hard_state) == (HardState(3, None, 0), HardState(4, 0, 0))
    node.advance(first)
    assert node.soft_state.role is Role.CANDIDATE
    node.advance(second)
    assert node.soft_state.role is not Role.CANDIDATE


def test_row_01_the_term_is_saved_before_anything_is_said_in_it() -> None:
    """A node that confirms, acknowledges or votes in a new term has that term on disk first (row 1)."""
    for message in (
        RequestVote(5, 9, 4),
        Heartbeat(5, 0, 0),
        AppendEntries(5, 0, 0, commit=0),
    ):
        node = make_node(term=1)
        node.step(1, message, 0.1)
        ready = take(node)
        assert ready.hard_state is not None
        assert ready.hard_state.term == 5
        assert (len(ready.messages), len(ready.replies)) == (0, 1)


def test_row_01_a_full_restart_with_one_late_node_keeps_the_committed_prefix() -> None:
    """Terms are durable, so a node that comes late with an old log of a high term cannot win (row 1)."""
    network = Network(3)
    network.force_leader(0)
    network.crash(2)
    for _number in range(5):
        network.propose(0, b"x")
    network.run_until(lambda: len(network.acknowledged) == 5)
    terms = [network.node(member).term for member in range(3)]
    for member in (0, 1):
        network.crash(member)
    network.restart(2)
    network.run(3.0)
    for member in (0, 1):
        network.restart(member)
    network.run_until(network.agrees)
    assert all(network.node(member).term >= terms[member] for member in range(3))
    assert all(network.machines[2].applied[index - 1] == entry for index, entry in network.acknowledged.items())


def test_row_04_killing_everyone_loses_nothing_acknowledged() -> None:
    """What was acknowledged is on the disks of a majority, so it survives the death of all (rows 3 and 4)."""
    network = Network(3)
    leader = network.elect()
    network.set_disk_delay(leader, 1e6)
    for number in range(9):
        network.propose(leader, b"%d" % number)
        network.run(DISK_DELAY_S * 3)
    assert network.acknowledged
    for member in range(3):
        network.crash(member)
    for member in range(3):
        network.restart(member)
    network.run_until(network.agrees)
    for machine in network.machines.values():
        assert all(machine.applied[index - 1] == entry for index, entry in network.acknowledged.items())


def test_a_vote_leaves_behind_a_save_that_is_still_under_way() -> None:
    """A repeated grant has nothing of its own to save, and still waits for the save of the vote."""
    node = make_node(term=1)
    node.step(1, RequestVote(2, 0, 0), 0.1)
    first = take(node)
    node.step(1, RequestVote(2, 0, 0), 0.1)
    second = take(node)
    assert first.needs_save
    assert not second.needs_save
    assert second == Ready(replies=((1, RequestVoteReply(2, granted=True)),))


def test_messages_to_one_member_come_in_the_order_in_which_they_arose() -> None:
    """A heartbeat of a new leader goes before its entries."""
    node = make_leader()
    node.wake(node.deadline)
    acknowledge(node, 1, 1)
    node.propose([b"x"], node.now)
    kinds = [type(message) for to, message in settle(node) if to == 1]
    assert kinds == [Heartbeat, AppendEntries]


def test_time_never_goes_back() -> None:
    """An input with an older time is taken at the newest time that was seen."""
    node = make_node(term=1)
    node.step(1, Heartbeat(1, 0, 0), 5.0)
    node.step(1, Heartbeat(1, 0, 0), 4.0)
    assert node.now == 5.0
    assert node.deadline > 5.0


def test_the_same_inputs_give_the_same_outputs() -> None:
    """The core has no clock, no chance and no memory of its own: two runs of one seed are alike."""

    def run() -> list[object]:
        network = Network(3, seed=5)
        leader = network.elect()
        network.propose(leader, b"x")
        network.crash((leader + 1) % 3)
        network.run(2.0)
        return [network.now, *(machine.node.soft_state for machine in network.machines.values()), network.acknowledged]

    assert run() == run()
