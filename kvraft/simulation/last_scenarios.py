"""Scenarios at the end of a run, which rarely occur by chance: in a healthy cluster, without requests of its clients.

The seed decides which of them a run ends with.
"""

from itertools import combinations, permutations
from random import Random
from typing import Final

from kvraft.simulation import (
    at_rest,
    channels,
    differing_states,
    encounters,
    flushes,
    notifications,
    older_copies,
    slow_learner,
    uncommitted_tails,
)
from kvraft.simulation.aftermath import SCENARIOS, write
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.floods import flood
from kvraft.simulation.member import DiskFaults, address_of
from kvraft.simulation.proposed_twice import propose_twice
from kvraft.simulation.reads_on_followers import read_far_away

OLDER_COPIES: Final = 0.2
"""The share of runs that end with a node whose disk is an older copy of its own."""
ENCOUNTERS: Final = 0.5
"""The share of runs that end with one of the scenarios of `encounters`."""
SLOW_ELECTIONS: Final = 0.2
"""The share of runs that end with an election on slow disks."""
CHANNELS: Final = 0.2
"""The share of runs that end with messages that are published to subscribers."""
NOTIFICATIONS: Final = 0.1
"""The share of runs that end with notifications of changed keys."""
READS_ON_FOLLOWERS: Final = 0.15
"""The share of runs with reads at a follower that is far from its leader."""
PROPOSED_TWICE: Final = 0.2
"""The share of runs in which two leaders propose a write, if followers pass requests on."""
UNCOMMITTED_TAILS: Final = 0.15
"""The share of runs in which a member has a tail that an AppendEntries does not reach."""
FLOODS: Final = 0.1
"""The share of runs in which more is sent to a member than its link takes."""
FLUSHES: Final = 0.1
"""The share of runs that end with a removal of all keys."""
DIFFERING_STATES: Final = 0.1
"""The share of runs that end with a member whose state changes in its memory."""
AFTERMATHS: Final = 0.4
"""The share of runs that end with one of the scenarios of `aftermath`."""
WITHOUT_NAMES: Final = 0.2
"""The share of runs that end with broken connections while look-ups of names hang."""
SLOW_ALONE: Final = 0.3
"""Of the elections on slow disks: the share in which each disk has a delay of its own."""
SLOW_KILLED: Final = 0.6
"""Of the elections on slow disks: the share in which the leader is killed. In the others it transfers leadership."""
SLOW_SAVE_S: Final = (0.001, 2.0)
"""Shortest and longest time of a save then, seconds: drawn evenly, or, in half of the draws, by its logarithm."""
SLOW_ELECTION_S_MAX: Final = 120.0
"""How long such an election may take until its leader stays, virtual seconds: seven voters whose saves take up to two
seconds each needed 65 in one of 7,000 runs."""
SLOW_LEARNERS: Final = 0.4
"""Of the runs that end in none of these ways: the share that end with a learner that is slow for long."""
VOTERS_MIN: Final = 3
"""With fewer voters no leader can be elected after the loss of the present one."""


def play(seed: int, cluster: Cluster) -> None:
    """Run scenarios that rarely occur by chance, in a healthy cluster without requests of clients."""
    began = cluster.world.now
    if cluster.forgets:
        _dial_without_names(cluster)
        at_rest.settle(cluster)
        return
    draws = Random(f"{seed} older copy")
    if draws.random() < OLDER_COPIES:
        draws.choice((older_copies.put_back, older_copies.empty))(cluster)
    draws = Random(f"{seed} slow election")
    if draws.random() < SLOW_ELECTIONS:
        _elect_on_slow_disks(cluster, draws)
    if Random(f"{seed} no names").random() < WITHOUT_NAMES:
        _dial_without_names(cluster)
    draws = Random(f"{seed} channels")
    if draws.random() < CHANNELS:
        channels.publish(cluster, draws)
    _burden_links(seed, cluster)
    _change_keys(seed, cluster)
    draws = Random(f"{seed} differing states")
    if draws.random() < DIFFERING_STATES:
        differing_states.differ(cluster, draws)
    draws = Random(f"{seed} aftermath")
    if draws.random() < AFTERMATHS:
        draws.choice(SCENARIOS)(cluster, draws)
        return  # members may be elsewhere now
    if Random(f"{seed} slow learner").random() < SLOW_LEARNERS and slow_learner.is_possible(cluster.options):
        slow_learner.promote(cluster)
    if cluster.world.now > began:
        at_rest.settle(cluster)
    draws = Random(f"{seed} encounters")
    if draws.random() < ENCOUNTERS:
        draws.choice((encounters.stop_in_order, encounters.meet_another_cluster, encounters.transfer_in_vain))(
            cluster, draws
        )


def _burden_links(seed: int, cluster: Cluster) -> None:
    """Run scenarios in which links are slow, are cut, or take nothing."""
    draws = Random(f"{seed} reads on followers")
    if draws.random() < READS_ON_FOLLOWERS:
        read_far_away(cluster, draws)
    draws = Random(f"{seed} proposed twice")
    if draws.random() < PROPOSED_TWICE:
        propose_twice(cluster, draws)
    draws = Random(f"{seed} uncommitted tails")
    if draws.random() < UNCOMMITTED_TAILS:
        uncommitted_tails.send_short(cluster, draws)
    draws = Random(f"{seed} floods")
    if draws.random() < FLOODS:
        flood(cluster, draws)


def _change_keys(seed: int, cluster: Cluster) -> None:
    """Run scenarios in which keys change that no client of the run uses."""
    draws = Random(f"{seed} notifications")
    if draws.random() < NOTIFICATIONS:
        notifications.notify(cluster, draws)
    if Random(f"{seed} flush").random() < FLUSHES:
        flushes.flush(cluster)


def _elect_on_slow_disks(cluster: Cluster, draws: Random) -> None:
    """Slow the disks down, equally or differently, kill the leader or transfer leadership, and demand a leader."""
    leader = cluster.elect()
    others = sorted(cluster.members[leader].node.membership.voters - {leader})
    if len(others) + 1 < VOTERS_MIN:
        return
    slowest = [_draw_save_s(draws)] * len(cluster.members)
    if draws.random() < SLOW_ALONE:
        slowest = [_draw_save_s(draws) for _ in slowest]
    for member, save_s in zip(cluster.members.values(), slowest, strict=True):
        member.faults.delay_s = save_s * draws.choice((0.2, 1.0)), save_s
    is_lost = draws.random() < SLOW_KILLED
    if is_lost:
        cluster.kill(leader)
    else:
        answered: list[object] = []
        cluster.client().ask(address_of(leader), [f"TRANSFER {draws.choice(others)}"], answered.append)
        cluster.run_until(lambda: bool(answered), what="an answer to TRANSFER while disks are slow")
    cluster.run_until(cluster.agrees, at_most=SLOW_ELECTION_S_MAX, what="a leader while disks are slow")
    write(cluster)  # all disks have to save it; only one that is slower than others may cost its node the leadership
    for member in cluster.members.values():
        member.faults.delay_s = DiskFaults().delay_s
    if is_lost:
        cluster.start(leader)
    cluster.run_until(cluster.has_settled, what="one state on all members after an election on slow disks")
    cluster.run_until(
        lambda: not any(member.save_takes_s for member in cluster.running),
        what="the end of the saves that began while disks were slow",
    )


def _draw_save_s(draws: Random) -> float:
    shortest, longest = SLOW_SAVE_S
    if draws.random() < 0.5:
        return draws.uniform(shortest, longest)
    return float(shortest * (longest / shortest) ** draws.random())


def _dial_without_names(cluster: Cluster) -> None:
    """Break all connections while look-ups hang, and demand new ones: nodes must use the addresses of before."""
    members = cluster.members[cluster.elect()].node.membership.members
    nodes = [member for member in cluster.running if member.id in members]
    if len(nodes) == 1:
        return

    def are_connected() -> bool:
        pairs = permutations(nodes, 2)
        return all(one.assembly is not None and one.assembly.peers.connected(other.id) for one, other in pairs)

    cluster.run_until(are_connected, what="a connection of each member to each other")
    for member in nodes:
        member.name_faults.hangs = True
    for one, other in combinations(nodes, 2):
        cluster.network.break_connections(one.machine, other.machine)
    cluster.run_until(lambda: not are_connected(), what="the end of the connections")
    cluster.run_until(are_connected, what="a connection of each member to each other while no look-up ends")
    for member in nodes:
        member.end_hung_names()
    cluster.run_until(cluster.has_settled, what="one state on all members after no name was found")
