"""The paper's worked examples: Figure 7, logs that have drifted apart, and Figure 8, commitment of an older term."""

from typing import Final

import pytest

from kvraft.raft import Message, RaftOptions
from kvraft.raft.messages import AppendEntries
from tests.raft.network import Network
from tests.raft.single import leader_role, role_of, terms_of

FIGURE_7: Final = {
    "leader": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6),
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


def test_figure_7_every_follower_comes_to_have_the_leaders_log() -> None:
    """Missing entries are sent and extraneous ones removed, in all six cases (Figure 7; §5.3)."""
    network = Network(7, logs={member: (terms, 7) for member, terms in enumerate(FIGURE_7.values())})
    network.force_leader(0)
    network.run_until(network.agrees, at_most=1.0)
    assert network.node(0).term == 8
    for member in network.machines:
        assert terms_of(network.machines[member].log) == (*FIGURE_7["leader"], 8)


@pytest.mark.parametrize(("case", "probes"), [("a", 2), ("b", 2), ("c", 1), ("d", 1), ("e", 2), ("f", 2)])
def test_figure_7_a_log_is_mended_with_one_question_a_term(case: str, probes: int) -> None:
    """The hints skip whole terms: no case needs more probes than there are terms to skip (§5.3)."""
    network = Network(2, logs={0: (FIGURE_7["leader"], 7), 1: (FIGURE_7[case], 7)})
    sent: list[AppendEntries] = []

    def count(sender: int, to: int, message: Message) -> bool:
        if isinstance(message, AppendEntries):
            sent.append(message)
        return False

    network.lost = count
    if case in "cd":  # its log is ahead: it would not vote, but it follows a leader that the others elected
        leader = Network(3, logs={0: (FIGURE_7["leader"], 7), 1: (FIGURE_7[case], 7), 2: (FIGURE_7["a"], 7)})
        network = leader
        leader.lost = lambda sender, to, message: to == 1 and count(sender, to, message)
    network.force_leader(0)
    network.run_until(network.agrees, at_most=1.0)
    assert terms_of(network.machines[1].log) == (*FIGURE_7["leader"], 8)
    assert len(sent) == probes


def figure_8() -> Network:
    """Return the cluster of Figure 8 (c), just before S1 is leader of term 4: S5 has crashed with the entry of term 3.

    The servers S1 to S5 are the members 0 to 4. S1's entries of term 4 reach no other server.
    """
    logs = {0: ((1, 2), 3), 1: ((1, 2), 2), 2: ((1,), 3), 3: ((1,), 3), 4: ((1, 3), 3)}
    network = Network(5, logs=logs, options=RaftOptions(append_bytes_max=1))
    network.crash(4)
    return network


def is_of_term_4(_sender: int, _to: int, message: Message) -> bool:
    """Whether a message carries an entry of term 4."""
    return isinstance(message, AppendEntries) and any(entry.term == 4 for entry in message.entries)


def test_figure_8_d_an_entry_of_an_older_term_on_a_majority_is_not_committed_and_can_be_overwritten() -> None:
    """S1 replicates its entry of term 2 to a majority in term 4, and S5 still overwrites it (Figure 8 c and d)."""
    network = figure_8()
    network.lost = is_of_term_4
    network.stand(0)
    network.run_until(lambda: network.leader == 0)
    for progress in leader_role(network.node(0)).progress.values():
        progress.next = 2  # as if the first probe had been refused and not lost
    network.run_until(lambda: sum(terms_of(machine.log)[:2] == (1, 2) for machine in network.machines.values()) >= 3)
    network.run(0.05)
    assert network.leader == 0
    assert [network.node(member).commit for member in range(4)] == [0, 0, 0, 0]
    network.crash(0, noticed=True)
    network.restart(4)
    network.stand(4)
    network.run(0.003)  # S5 learns of term 4
    network.force_leader(4)
    network.restart(0)
    network.run_until(network.agrees)
    assert terms_of(network.node(0))[:2] == (1, 3)


def test_figure_8_e_an_entry_of_the_leaders_own_term_on_a_majority_keeps_all_before_it() -> None:
    """If S1 also replicates an entry of term 4 before it crashes S5 cannot win any more (Figure 8 e; §5.4.2)."""
    network = figure_8()
    network.force_leader(0)
    network.run(0.05)
    assert network.node(0).commit == 3
    network.crash(0)
    network.restart(4)
    network.run_until(lambda: network.leader is not None)
    assert network.leader in {1, 2, 3}
    network.restart(0)
    network.run_until(network.agrees)
    assert terms_of(network.node(4))[:3] == (1, 2, 4)
    assert role_of(network.node(4)) is not role_of(network.node(network.leader or 0))
