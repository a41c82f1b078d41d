"""The faults: each is injected, lasts for a while, and is undone; a lane injects one after another.

Two lanes run concurrently, one for processes and one for the network, so that every process fault coincides with every
network fault. A lane undoes a fault before it injects the next.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.task import deferLater

from kvraft.chaos.nodes import EXIT_S, Life, Nodes
from kvraft.chaos.observer import Observer
from kvraft.chaos.pipes import CUT, FINE, HELD, Condition
from kvraft.chaos.proxy import CLIENT, Link, Network, between

GAP_S: Final = (0.2, 3.0)
"""Shortest and longest pause of a lane between two faults, seconds."""
SPAN_S: Final = (0.1, 6.0)
"""Shortest and longest duration of a fault, seconds."""
ABOUT_AN_ELECTION_S: Final = (0.2, 0.8)
"""Shortest and longest duration of a fault that ends about when its target is replaced as leader, seconds: then two
nodes may be in the role of leader."""
ABOUT_AN_ELECTION_SHARE: Final = 0.4
"""Share of the faults that last about so long."""
DELAY_S: Final = (0.01, 0.3)
"""Shortest and longest delay of a slow link, seconds: from below a heartbeat interval to above an election timeout."""
SYNC_S: Final = (0.05, 0.3, 1.2)
"""How much longer each sync takes on a slow disk."""
LOOK_UP_S: Final = (0.3, 2.0)
"""Shortest and longest time of a slow look-up, seconds: below and above the time limit of connecting to an address."""
SLOW_BYTES_PER_S: Final = 100_000
FLAPS: Final = 6
FLAP_S: Final = (0.05, 0.6)
LOST_SHARE: Final = 0.5
"""Share of the faults after which delayed bytes are lost with their connection instead of arriving late."""
EXIT_POLL_S: Final = 0.05


@attrs.define
class World:
    """The targets of faults, and the record of what was injected."""

    reactor: Any
    nodes: Nodes
    network: Network
    observer: Observer
    note: Callable[[str], None]
    """Takes a line for people about what is done."""
    injected: Counter[str] = attrs.field(factory=Counter)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self.reactor, max(0.0, seconds), lambda: None)


Fault = Callable[[World, Random, float], Awaitable[None]]
"""Injects a fault, waits so many seconds, and undoes it; it has its own source of randomness."""


class Lane:
    """Injects one fault after another.

    Args:
        world: the targets.
        random: chooses the fault, its time and its duration.
        faults: the relative frequency of each fault.
    """

    def __init__(self, world: World, random: Random, faults: Mapping[Fault, int]) -> None:
        self._world = world
        self._random = random
        self._faults = faults

    async def run(self, until: float) -> None:
        """Inject faults until the reactor's clock shows `until`; no fault lasts longer."""
        world = self._world
        while True:
            gap = self._random.uniform(*GAP_S)
            span = self._draw_span()
            fault = self._random.choices(list(self._faults), list(self._faults.values()))[0]
            own = Random(self._random.getrandbits(64))
            if world.reactor.seconds() + gap >= until:
                return
            await world.sleep(gap)
            name = getattr(fault, "__name__", "fault").replace("_", " ")
            world.injected[name] += 1
            span = min(span, until - world.reactor.seconds())
            world.note(f"{name} for {span:.1f} s")
            await fault(world, own, span)
            world.note(f"{name} is over")

    def _draw_span(self) -> float:
        if self._random.random() < ABOUT_AN_ELECTION_SHARE:
            return self._random.uniform(*ABOUT_AN_ELECTION_S)
        return self._random.triangular(*SPAN_S, SPAN_S[0])


# --- targets ---------------------------------------------------------------------------------------------------------


async def _leader_or_any(world: World, random: Random) -> int:
    leader = await world.observer.leader()
    return random.choice(world.nodes.ids) if leader is None else leader


def _others(world: World, node: int) -> list[int]:
    return [each for each in world.nodes.ids if each != node]


def _majority(world: World, random: Random) -> list[int]:
    return random.sample(world.nodes.ids, len(world.nodes.ids) // 2 + 1)


# --- processes -------------------------------------------------------------------------------------------------------


async def _kill(world: World, nodes: list[int], span: float) -> None:
    world.note(f"kill -9 {nodes}")
    world.nodes.kill(nodes)
    await world.sleep(span)
    world.nodes.start(nodes)


async def kill_the_leader(world: World, random: Random, span: float) -> None:
    """The leader is killed."""
    await _kill(world, [await _leader_or_any(world, random)], span)


async def kill_one(world: World, random: Random, span: float) -> None:
    """Any node is killed."""
    await _kill(world, [random.choice(world.nodes.ids)], span)


async def kill_a_majority(world: World, random: Random, span: float) -> None:
    """More than half of the nodes are killed at once."""
    await _kill(world, _majority(world, random), span)


async def kill_all(world: World, random: Random, span: float) -> None:
    """All nodes are killed at once and restarted one after another."""
    world.note("kill -9 all")
    world.nodes.kill(world.nodes.ids)
    await world.sleep(span / 2)
    for node in random.sample(world.nodes.ids, len(world.nodes.ids)):
        world.nodes.start([node])
        await world.sleep(span / 2 / len(world.nodes.ids))


async def stop_and_start(world: World, random: Random, span: float) -> None:
    """A node, usually the leader, is stopped gracefully and restarted."""
    leader = await _leader_or_any(world, random)
    node = random.choice([leader, leader, *world.nodes.ids])
    world.note(f"stop {node}")
    world.nodes.stop(node)
    give_up = world.reactor.seconds() + EXIT_S
    while world.nodes.life(node) is not Life.DOWN:
        if world.reactor.seconds() > give_up:
            world.note(f"node {node} does not end")
            world.nodes.kill([node])
        await world.sleep(EXIT_POLL_S)
    await world.sleep(span)
    world.nodes.start([node])


async def _pause(world: World, nodes: list[int], span: float) -> None:
    world.note(f"pause {nodes}")
    world.nodes.pause(nodes)
    await world.sleep(span)
    world.nodes.resume(nodes)


async def pause_the_leader(world: World, random: Random, span: float) -> None:
    """The leader is paused and resumed later; it cannot see how long it was paused until it reads its clock."""
    await _pause(world, [await _leader_or_any(world, random)], span)


async def pause_one(world: World, random: Random, span: float) -> None:
    """Any node is paused."""
    await _pause(world, [random.choice(world.nodes.ids)], span)


async def pause_a_majority(world: World, random: Random, span: float) -> None:
    """More than half of the nodes are paused."""
    await _pause(world, _majority(world, random), span)


async def pause_and_kill_the_next(world: World, random: Random, span: float) -> None:
    """The leader is paused until another node leads; then it is resumed, and the new leader is killed."""
    first = await _leader_or_any(world, random)
    world.nodes.pause([first])
    await world.sleep(span / 2)
    second = await world.observer.leader()
    world.nodes.resume([first])
    if second is not None and second != first:
        await _kill(world, [second], span / 2)


# --- the network -----------------------------------------------------------------------------------------------------


async def _harm(world: World, random: Random, links: list[Link], condition: Condition, span: float) -> None:
    """Apply a condition to links for a while; afterwards held bytes arrive late, or are lost with their connection."""
    world.note(f"{links}: {condition}")
    world.network.set_condition(links, condition)
    await world.sleep(span)
    if random.random() < LOST_SHARE:
        world.network.break_off(links)
    world.network.set_condition(links, FINE)


def _cut_or_held(random: Random) -> Condition:
    return random.choice((CUT, HELD, HELD))


async def isolate_the_leader(world: World, random: Random, span: float) -> None:
    """The leader and the other nodes cannot reach each other; clients reach all nodes."""
    leader = await _leader_or_any(world, random)
    others = _others(world, leader)
    links = between([leader], others) + between(others, [leader])
    await _harm(world, random, links, _cut_or_held(random), span)


async def split(world: World, random: Random, span: float) -> None:
    """The nodes are partitioned into two groups."""
    shuffled = random.sample(world.nodes.ids, len(world.nodes.ids))
    at = random.randint(1, len(shuffled) - 1)
    one, other = shuffled[:at], shuffled[at:]
    await _harm(world, random, between(one, other) + between(other, one), _cut_or_held(random), span)


async def deafen_one(world: World, random: Random, span: float) -> None:
    """One way only: a node, usually the leader, can send but receives nothing."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    await _harm(world, random, between(_others(world, node), [node]), _cut_or_held(random), span)


async def mute_one(world: World, random: Random, span: float) -> None:
    """One way only: a node, usually the leader, receives but nothing that it sends arrives."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    await _harm(world, random, between([node], _others(world, node)), _cut_or_held(random), span)


async def cut_a_pair(world: World, random: Random, span: float) -> None:
    """Two nodes cannot reach each other; the others reach both."""
    one, other = random.sample(world.nodes.ids, 2)
    await _harm(world, random, [(one, other), (other, one)], _cut_or_held(random), span)


async def slow_down(world: World, random: Random, span: float) -> None:
    """Everything that a node sends and receives is delayed, and may be limited to a low rate."""
    node = random.choice(world.nodes.ids)
    others = _others(world, node)
    condition = Condition(delay_s=random.uniform(*DELAY_S), bytes_per_s=random.choice((None, SLOW_BYTES_PER_S)))
    await _harm(world, random, between([node], others) + between(others, [node]), condition, span)


async def flap(world: World, random: Random, span: float) -> None:
    """The links of one node fail and recover repeatedly."""
    node = random.choice(world.nodes.ids)
    others = _others(world, node)
    links = between([node], others) + between(others, [node])
    for _ in range(FLAPS):
        await _harm(world, random, links, _cut_or_held(random), min(span / FLAPS, random.uniform(*FLAP_S)))
        await world.sleep(min(span / FLAPS, random.uniform(*FLAP_S)) / 2)


async def wedge_connections(world: World, random: Random, span: float) -> None:
    """The present connections of a node, usually the leader, stay open but carry nothing, for good; new ones work."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    others = _others(world, node)
    one_way, other_way = between([node], others), between(others, [node])
    links = random.choice((one_way, other_way, one_way + other_way))
    world.note(f"{links}: wedged")
    world.network.wedge(links)
    await world.sleep(span)


async def slow_names(world: World, random: Random, span: float) -> None:
    """The look-up of one node's name or of all names is slow or never ends, and connections to them are broken."""
    nodes = random.choice(([await _leader_or_any(world, random)], world.nodes.ids))
    delay_s, hang = random.choice(((random.uniform(*LOOK_UP_S), False), (0.0, True)))
    world.note(f"the names of {list(nodes)} {'hang' if hang else f'take {delay_s:.1f} s'}")
    world.nodes.set_names(nodes, delay_s, hang=hang)
    world.network.break_off(between(world.nodes.ids, nodes))
    await world.sleep(span)
    world.nodes.set_names()


async def disconnect_clients(world: World, _random: Random, span: float) -> None:
    """All clients lose their connections repeatedly, and some of them the answers to requests that were executed."""
    links = between([CLIENT], world.nodes.ids)
    for _ in range(FLAPS):
        world.network.break_off(links)
        await world.sleep(span / FLAPS)


async def hold_up_answers(world: World, random: Random, span: float) -> None:
    """Bytes between clients and a node are held up, and then arrive or are lost."""
    node = await _leader_or_any(world, random)
    await _harm(world, random, [(CLIENT, node)], HELD, span)


# --- operators -------------------------------------------------------------------------------------------------------


async def transfer(world: World, random: Random, _span: float) -> None:
    """The leader is commanded to transfer leadership to another node."""
    leader = await _leader_or_any(world, random)
    target = random.choice(world.nodes.ids)
    answer = await world.observer.command(leader, f"TRANSFER {target}")
    world.note(f"TRANSFER {target} at {leader}: {answer}")


async def slow_disks(world: World, random: Random, span: float) -> None:
    """Each sync of the leader, of a majority or of all takes longer, up to more than twice an election timeout."""
    nodes = random.choice(([await _leader_or_any(world, random)], _majority(world, random), [*world.nodes.ids]))
    seconds = random.choice(SYNC_S)
    world.note(f"each sync of {nodes} takes {seconds} s longer")
    world.nodes.slow_disks(nodes, seconds)
    await world.sleep(span)
    world.nodes.slow_disks(nodes, 0.0)


async def snapshot(world: World, random: Random, _span: float) -> None:
    """A node is commanded to take a snapshot now."""
    node = random.choice(world.nodes.ids)
    answer = await world.observer.command(node, "SNAPSHOT")
    world.note(f"SNAPSHOT at {node}: {answer}")


PROCESS_FAULTS: Final[Mapping[Fault, int]] = {
    kill_the_leader: 5,
    kill_one: 3,
    kill_a_majority: 2,
    kill_all: 2,
    stop_and_start: 2,
    pause_the_leader: 4,
    pause_one: 2,
    pause_a_majority: 1,
    pause_and_kill_the_next: 2,
    transfer: 3,
    snapshot: 1,
    slow_disks: 2,
}
NETWORK_FAULTS: Final[Mapping[Fault, int]] = {
    isolate_the_leader: 6,
    split: 2,
    deafen_one: 2,
    mute_one: 2,
    cut_a_pair: 2,
    slow_down: 2,
    flap: 1,
    wedge_connections: 2,
    slow_names: 2,
    disconnect_clients: 1,
    hold_up_answers: 2,
}
