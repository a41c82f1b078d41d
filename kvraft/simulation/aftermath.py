"""Scenarios of an operator in a healthy cluster, after the faults of a run: moves, a removal, a copy of a node's data.

They are separate from faults, since most of these checks hold only while there is no other fault: a move is refused
because of the members that are down, a copy is refused while the original process answers, and a cluster that
restarts at other addresses has a leader when its members reach each other.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from kvraft.commands import Identify
from kvraft.config import Address, Config, Peer
from kvraft.raft import InvariantViolated
from kvraft.simulation.clients import Answer
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.machine import Machine
from kvraft.simulation.member import PORT, Member, address_of

TRIES: Final = 60
TRY_S: Final = 0.25
"""Number of attempts, and the seconds between two, to change the address of a moved member in the log."""
LASTING_S: Final = 2.0
"""A leader without answers of a majority steps down in this time, virtual seconds."""
COPY_S: Final = 3.0
"""How long a copy runs, virtual seconds."""
FORGOTTEN_S: Final = 6.0
"""Time after which the status no longer reports a copy that has ended, virtual seconds."""
TOLD_S: Final = 0.2
"""Longest time from the answer to a removal until the removed node knows of it, virtual seconds."""
SUCCEEDS_S: Final = 0.14
"""Longest time until another node leads after a leader that was removed, seconds: less than an election timeout.
"""
VOTERS_MIN: Final = 3
"""With fewer voters the last one has an order for nobody, or needs all others."""
_WRITE: Final = Identify("aftermath")
"""A write without effect: the cluster has its id already."""


def dead_end(cluster: Cluster, draws: Random) -> None:
    """Move a voter to an address without a node, when the other running voters are no majority.

    The move must be refused, and writes must go on.
    """
    leader = cluster.elect()
    voters = cluster.members[leader].node.membership.voters
    moved = draws.choice(sorted(voters))
    majority = len(voters) // 2 + 1
    if len(voters) == 1 or leader not in voters:
        return
    down = sorted(voters - {leader, moved})[: len(voters) - majority]
    for each in down:
        cluster.kill(each)
    cluster.elect()
    cluster.run(1.0)  # until the leader has noticed that they are down
    answer = cluster.ask(cluster.elect(), f"MEMBER MOVE {moved} {_elsewhere(moved)}")[0]
    if answer.get("error") != "REFUSED":
        raise InvariantViolated(
            f"node {moved} is moved to an address without a node, and only with it there is a majority: {answer}"
        )
    write(cluster)
    for each in down:
        cluster.start(each)
    cluster.elect()


def come_back_elsewhere(cluster: Cluster, draws: Random) -> None:
    """Restart all or some members at other addresses, which the others find in config.json or by a hello.

    Raises:
        Stuck: they elect no leader.
    """
    membership = cluster.members[cluster.elect()].node.membership
    ids = sorted(membership.members)
    knows, movers = draws.random() < 0.5, ids
    if not knows:  # a minority stays, through which the others find each other
        most = max(1, (len(membership.voters) - 1) // 2)
        stays = draws.sample(sorted(membership.voters), draws.randint(1, most))
        movers = [each for each in ids if each not in stays]
    places = {member: _elsewhere(member) if member in movers else address_of(member) for member in ids}
    # A member that stays may have to lead, so it must have all entries, and on its disk.
    cluster.run_until(
        lambda: cluster.has_settled() and not any(each.is_saving for each in cluster.running),
        what="one state on all members before they move",
    )
    for runs in cluster.running:
        cluster.kill(runs.id)
    for member in ids:
        listed = [
            Peer(each, Address.parse(places[each] if knows or each == member else address_of(each))) for each in ids
        ]
        cluster.members[member].start(Config(tuple(listed), limits=cluster.limits), cluster.options)
    cluster.run_until(lambda: cluster.leader is not None, what="a leader of a cluster that has moved")
    asks_itself = draws.random() < 0.5  # as a node does, with its incarnation; else the operator does
    for mover in movers:
        incarnation = membership.incarnations.get(mover, "") if asks_itself else ""
        _ask_until_done(cluster, places, f"MEMBER MOVE {mover} {places[mover]} {incarnation}".strip())
    cluster.elect()
    write(cluster)
    cluster.run_until(cluster.has_settled, what="one state on all members that have moved")


def move_while_down(cluster: Cluster, draws: Random) -> None:
    """Move a voter that is down, and start it at its new address, which its config.json alone has: all must reach it.

    Raises:
        InvariantViolated: the move is refused.
        Stuck: it does not reach the state of the others, or one of them does not connect to it.
    """
    leader = cluster.members[cluster.elect()]
    others = sorted(leader.node.membership.voters - {leader.id})
    if len(others) + 1 < VOTERS_MIN or leader.id not in leader.node.membership.voters:
        return
    cluster.run_until(cluster.has_settled, what="one state on all members before one moves")
    moved = cluster.members[draws.choice(others)]
    cluster.kill(moved.id)
    write(cluster)
    place = _elsewhere(moved.id)
    _ask_until_done(cluster, {each: address_of(each) for each in cluster.members}, f"MEMBER MOVE {moved.id} {place}")
    ids = sorted(leader.node.membership.members)
    listed = [Peer(each, Address.parse(place if each == moved.id else address_of(each))) for each in ids]
    moved.start(Config(tuple(listed), limits=cluster.limits), cluster.options)

    def is_reached() -> bool:
        nodes = [each.assembly for each in cluster.running if each.id in ids and each.id != moved.id]
        return cluster.has_settled() and all(each is not None and each.peers.connected(moved.id) for each in nodes)

    cluster.run_until(
        is_reached, what=f"a connection of each member to node {moved.id}, which was moved while it was down"
    )


def run_a_copy(cluster: Cluster, draws: Random) -> None:
    """Run a copy of a node beside it: another node must report it, the leader must refuse its move and lead on.

    After the copy has ended, the report must disappear.
    """
    leader, term = _await_lasting_leader(cluster)
    node = cluster.members[leader].node
    ids = sorted(node.membership.voters)
    if len(ids) == 1 or leader not in ids:
        return
    original = cluster.members[draws.choice(ids)]
    watcher = cluster.members[draws.choice([each for each in ids if each != original.id])]
    twin = _copy(cluster, original)
    cluster.run(COPY_S)
    if not _says_twice(watcher, original.id):
        raise InvariantViolated(f"node {watcher.id} does not say that node {original.id} runs twice")
    incarnation = node.membership.incarnations.get(original.id)
    if incarnation is not None:
        answer = cluster.ask(leader, f"MEMBER MOVE {original.id} {_elsewhere(original.id)} {incarnation}")[0]
        if answer.get("error") != "REFUSED":
            raise InvariantViolated(f"a copy of node {original.id} is moved in while that one answers: {answer}")
    write(cluster)
    twin.kill()
    if node.term != term or cluster.leader != leader:
        raise InvariantViolated(f"a copy of node {original.id} has disturbed node {leader}, which led term {term}")

    def is_silent() -> bool:
        assert watcher.assembly is not None
        inbounds = watcher.assembly.peers._inbounds  # noqa: SLF001 - it is asked at each event, and all it says takes long
        return not inbounds.runs_twice(original.id) and not _says_twice(watcher, original.id)

    cluster.run_until(is_silent, at_most=FORGOTTEN_S, what="silence about the copy")


def say_goodbye(cluster: Cluster, draws: Random) -> None:
    """Remove a follower: the leader must tell it so before it disconnects it, and go on with the others.

    Raises:
        Stuck: the removed node does not learn of its removal at once.
    """
    leader, _ = _await_lasting_leader(cluster)
    node = cluster.members[leader].node
    followers = sorted(node.membership.voters - {leader})
    if not followers or leader not in node.membership.voters:
        return
    gone = cluster.members[draws.choice(followers)]
    answer = cluster.ask(leader, f"MEMBER REMOVE {gone.id}")[0]
    if answer.get("status") != "OK":
        raise InvariantViolated(f"node {gone.id} cannot be removed from a healthy cluster: {answer}")
    index = node.membership_index
    cluster.run_until(
        lambda: not gone.is_running or gone.node.commit >= index,
        at_most=TOLD_S,
        what=f"the last message to node {gone.id}, which was removed,",
    )
    write(cluster)
    cluster.run_until(cluster.has_let_go, what="the end of a node that was removed")


def remove_the_leader(cluster: Cluster, _: Random) -> None:
    """Remove the leader: it must order another voter to campaign, so that no time without a leader passes.

    Raises:
        Stuck: no other node leads at once.
    """
    leader, _term = _await_lasting_leader(cluster)
    node = cluster.members[leader].node
    if len(node.membership.voters) < VOTERS_MIN or leader not in node.membership.voters:
        return
    cluster.client(keeps=False).ask(address_of(leader), [f"MEMBER REMOVE {leader}"], lambda _answers: None)
    cluster.run_until(lambda: not node.is_leader, what="the end of the leadership of a node that was removed")
    cluster.run_until(
        lambda: cluster.leader not in {None, leader},
        at_most=SUCCEEDS_S,
        what="the successor of a leader that was removed",
    )
    write(cluster)
    cluster.run_until(cluster.has_let_go, what="the end of a leader that was removed")


SCENARIOS: Final[Sequence[Callable[[Cluster, Random], None]]] = (
    dead_end,
    come_back_elsewhere,
    move_while_down,
    run_a_copy,
    say_goodbye,
    remove_the_leader,
)


def write(cluster: Cluster) -> None:
    """Let the leader write, and wait for the answer, whatever it is."""
    leader = cluster.members[cluster.elect()]
    answers: list[object] = []
    leader.ask([_WRITE], answers.append)
    cluster.run_until(lambda: bool(answers), what="an answer to a write")


def _await_lasting_leader(cluster: Cluster) -> tuple[int, int]:
    """Return a leader and its term once it has led for a while, so that no earlier fault makes it step down."""
    while True:
        leader = cluster.elect()
        term = cluster.members[leader].node.term
        cluster.run(LASTING_S)
        if (cluster.leader, cluster.members[leader].node.term) == (leader, term):
            return leader, term


def _copy(cluster: Cluster, original: Member) -> Member:
    """Start a process on a copy of a node's disk, on another machine and at another address."""
    machine = Machine(cluster.world, f"copy of node {original.id}", rate=1.0, boot=10.0, epoch=1.8e9)
    twin = Member(original.id, machine, cluster.network, lambda _member, _why: None)
    twin.disk = copy.deepcopy(original.disk)
    twin.disk.kill()
    peers = tuple(
        Peer(each, Address.parse(_elsewhere(each) if each == original.id else address_of(each)))
        for each in sorted(cluster.members)
    )
    twin.start(Config(peers, limits=cluster.limits), cluster.options)
    return twin


def _says_twice(watcher: Member, node: int) -> bool:
    assert watcher.assembly is not None
    return watcher.assembly.peers.status()[node].runs_twice


def _elsewhere(member: int) -> str:
    """Return another address for a member, which is free until the member is started there."""
    return f"10.1.0.{member + 1}:{PORT}"


def _ask_until_done(cluster: Cluster, places: Mapping[int, str], line: str) -> None:
    """Send a line to the present leader until it succeeds, as a moved node does."""
    answers: Sequence[Answer] = ()
    for _ in range(TRIES):
        leader = cluster.leader
        answers = _ask(cluster, places[leader], line) if leader is not None else ()
        if answers and answers[0].get("status") == "OK":
            return
        cluster.run(TRY_S)
    raise InvariantViolated(f"{line} is not done: {answers}")


def _ask(cluster: Cluster, place: str, line: str) -> Sequence[Answer]:
    got: list[Sequence[Answer]] = []
    cluster.client(keeps=False).ask(place, [line], lambda answers: got.append(answers or ()))
    cluster.run_until(lambda: bool(got), what="an answer")
    return got[0]
