"""The harm that is done: each fault is inflicted, lasts, and is undone; a lane does one after another.

Two lanes work side by side, one on processes and one on the network, so that every kind of the one meets every kind of
the other. What a lane has done it undoes before it does the next.
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
"""Shortest and longest pause of a lane between two faults."""
SPAN_S: Final = (0.1, 6.0)
"""Shortest and longest time that a fault lasts."""
ABOUT_AN_ELECTION_S: Final = (0.2, 0.8)
"""Shortest and longest time of a fault that ends about when its victim is replaced: two may think that they lead."""
ABOUT_AN_ELECTION_SHARE: Final = 0.4
"""How often a fault lasts about so long."""
DELAY_S: Final = (0.01, 0.3)
"""Shortest and longest delay of a slow link: beside heartbeats, and beyond what an election waits."""
SYNC_S: Final = (0.05, 0.3, 1.2)
"""How much longer each sync takes on a slow disk."""
LOOK_UP_S: Final = (0.3, 2.0)
"""Shortest and longest time of a slow look-up: less, and more, than connecting to an address may take."""
SLOW_BYTES_PER_S: Final = 100_000
FLAPS: Final = 6
FLAP_S: Final = (0.05, 0.6)
LOST_SHARE: Final = 0.5
"""How often what was held up is lost with its connection instead of arriving late."""
EXIT_POLL_S: Final = 0.05


@attrs.define
class World:
    """What faults are done to, and what they note."""

    reactor: Any
    nodes: Nodes
    network: Network
    observer: Observer
    note: Callable[[str], None]
    """Is told what is done, for people."""
    injected: Counter[str] = attrs.field(factory=Counter)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self.reactor, max(0.0, seconds), lambda: None)


Fault = Callable[[World, Random, float], Awaitable[None]]
"""Inflicts, waits so many seconds, and undoes; its randomness is its own."""


class Lane:
    """Does one fault after another.

    Args:
        world: to whom.
        random: decides which, when and for how long.
        faults: of each, how often it is chosen beside the others.
    """

    def __init__(self, world: World, random: Random, faults: Mapping[Fault, int]) -> None:
        self._world = world
        self._random = random
        self._faults = faults

    async def run(self, until: float) -> None:
        """Do harm until the reactor's clock shows `until`; nothing lasts longer."""
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


# --- whom ------------------------------------------------------------------------------------------------------------


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
    """The leader dies without a word."""
    await _kill(world, [await _leader_or_any(world, random)], span)


async def kill_one(world: World, random: Random, span: float) -> None:
    """Any node dies."""
    await _kill(world, [random.choice(world.nodes.ids)], span)


async def kill_a_majority(world: World, random: Random, span: float) -> None:
    """More than half of the nodes die at once."""
    await _kill(world, _majority(world, random), span)


async def kill_all(world: World, random: Random, span: float) -> None:
    """All nodes die at once and come back one after another."""
    world.note("kill -9 all")
    world.nodes.kill(world.nodes.ids)
    await world.sleep(span / 2)
    for node in random.sample(world.nodes.ids, len(world.nodes.ids)):
        world.nodes.start([node])
        await world.sleep(span / 2 / len(world.nodes.ids))


async def stop_and_start(world: World, random: Random, span: float) -> None:
    """A node, as a rule the leader, is asked to end, and comes back."""
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
    """The leader stands still and goes on later, in the belief that no time has passed."""
    await _pause(world, [await _leader_or_any(world, random)], span)


async def pause_one(world: World, random: Random, span: float) -> None:
    """Any node stands still."""
    await _pause(world, [random.choice(world.nodes.ids)], span)


async def pause_a_majority(world: World, random: Random, span: float) -> None:
    """More than half of the nodes stand still."""
    await _pause(world, _majority(world, random), span)


async def pause_and_kill_the_next(world: World, random: Random, span: float) -> None:
    """The leader stands still until another has taken over, who is killed, while the first one goes on."""
    first = await _leader_or_any(world, random)
    world.nodes.pause([first])
    await world.sleep(span / 2)
    second = await world.observer.leader()
    world.nodes.resume([first])
    if second is not None and second != first:
        await _kill(world, [second], span / 2)


# --- the network -----------------------------------------------------------------------------------------------------


async def _harm(world: World, random: Random, links: list[Link], condition: Condition, span: float) -> None:
    """Treat links badly for a while; afterwards what was held up arrives late, or is lost with its connection."""
    world.note(f"{links}: {condition}")
    world.network.set_condition(links, condition)
    await world.sleep(span)
    if random.random() < LOST_SHARE:
        world.network.break_off(links)
    world.network.set_condition(links, FINE)


def _cut_or_held(random: Random) -> Condition:
    return random.choice((CUT, HELD, HELD))


async def isolate_the_leader(world: World, random: Random, span: float) -> None:
    """The leader reaches no other node and none reaches it; clients reach all."""
    leader = await _leader_or_any(world, random)
    others = _others(world, leader)
    links = between([leader], others) + between(others, [leader])
    await _harm(world, random, links, _cut_or_held(random), span)


async def split(world: World, random: Random, span: float) -> None:
    """The nodes fall into two parts."""
    shuffled = random.sample(world.nodes.ids, len(world.nodes.ids))
    at = random.randint(1, len(shuffled) - 1)
    one, other = shuffled[:at], shuffled[at:]
    await _harm(world, random, between(one, other) + between(other, one), _cut_or_held(random), span)


async def deafen_one(world: World, random: Random, span: float) -> None:
    """One way only: a node, as a rule the leader, speaks and hears nothing."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    await _harm(world, random, between(_others(world, node), [node]), _cut_or_held(random), span)


async def mute_one(world: World, random: Random, span: float) -> None:
    """One way only: a node, as a rule the leader, hears and is not heard."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    await _harm(world, random, between([node], _others(world, node)), _cut_or_held(random), span)


async def cut_a_pair(world: World, random: Random, span: float) -> None:
    """Two nodes do not reach each other; the others are a bridge between them."""
    one, other = random.sample(world.nodes.ids, 2)
    await _harm(world, random, [(one, other), (other, one)], _cut_or_held(random), span)


async def slow_down(world: World, random: Random, span: float) -> None:
    """All that a node sends and receives arrives late, and at a trickle."""
    node = random.choice(world.nodes.ids)
    others = _others(world, node)
    condition = Condition(delay_s=random.uniform(*DELAY_S), bytes_per_s=random.choice((None, SLOW_BYTES_PER_S)))
    await _harm(world, random, between([node], others) + between(others, [node]), condition, span)


async def flap(world: World, random: Random, span: float) -> None:
    """The links of one node come and go."""
    node = random.choice(world.nodes.ids)
    others = _others(world, node)
    links = between([node], others) + between(others, [node])
    for _ in range(FLAPS):
        await _harm(world, random, links, _cut_or_held(random), min(span / FLAPS, random.uniform(*FLAP_S)))
        await world.sleep(min(span / FLAPS, random.uniform(*FLAP_S)) / 2)


async def wedge_connections(world: World, random: Random, span: float) -> None:
    """The connections of a node, as a rule the leader, stay open and carry nothing for good; new ones would."""
    node = random.choice([await _leader_or_any(world, random), *world.nodes.ids])
    others = _others(world, node)
    one_way, other_way = between([node], others), between(others, [node])
    links = random.choice((one_way, other_way, one_way + other_way))
    world.note(f"{links}: wedged")
    world.network.wedge(links)
    await world.sleep(span)


async def slow_names(world: World, random: Random, span: float) -> None:
    """The look-up of a node's name, or of all names, takes long or never ends, and connections must be made anew."""
    nodes = random.choice(([await _leader_or_any(world, random)], world.nodes.ids))
    delay_s, hang = random.choice(((random.uniform(*LOOK_UP_S), False), (0.0, True)))
    world.note(f"the names of {list(nodes)} {'hang' if hang else f'take {delay_s:.1f} s'}")
    world.nodes.set_names(nodes, delay_s, hang=hang)
    world.network.break_off(between(world.nodes.ids, nodes))
    await world.sleep(span)
    world.nodes.set_names()


async def disconnect_clients(world: World, _random: Random, span: float) -> None:
    """All clients lose their connections, again and again; some lose answers to what was carried out."""
    links = between([CLIENT], world.nodes.ids)
    for _ in range(FLAPS):
        world.network.break_off(links)
        await world.sleep(span / FLAPS)


async def hold_up_answers(world: World, random: Random, span: float) -> None:
    """What clients and a node say to each other does not arrive, and then does or is lost."""
    node = await _leader_or_any(world, random)
    await _harm(world, random, [(CLIENT, node)], HELD, span)


# --- operators -------------------------------------------------------------------------------------------------------


async def transfer(world: World, random: Random, _span: float) -> None:
    """The leader is told to let another one lead."""
    leader = await _leader_or_any(world, random)
    target = random.choice(world.nodes.ids)
    answer = await world.observer.command(leader, f"TRANSFER {target}")
    world.note(f"TRANSFER {target} at {leader}: {answer}")


async def slow_disks(world: World, random: Random, span: float) -> None:
    """Each sync of the leader, of a majority or of all takes longer, up to twice an election timeout and more."""
    nodes = random.choice(([await _leader_or_any(world, random)], _majority(world, random), [*world.nodes.ids]))
    seconds = random.choice(SYNC_S)
    world.note(f"each sync of {nodes} takes {seconds} s longer")
    world.nodes.slow_disks(nodes, seconds)
    await world.sleep(span)
    world.nodes.slow_disks(nodes, 0.0)


async def snapshot(world: World, random: Random, _span: float) -> None:
    """A node is told to take a snapshot now."""
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
