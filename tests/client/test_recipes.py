"""Recipes: what each one guarantees, seed after seed in virtual time while leaders change and leases end."""

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

from kvraft.client import ClientError, InvalidRequest, holding, requests, transactions
from kvraft.client.channel import Channel
from kvraft.client.recipes import Leader, LeaseLost, policy
from kvraft.client.recipes.policy import Changed, Course, Step, Steps
from kvraft.client.requests import Request
from tests.client.virtual import NODES, Caller, hint
from tests.server.test_data_requests import Lines

SEEDS: Final = range(8)
ITEMS: Final = 8
STEPS_MAX: Final = 20_000
LEADER_CHANGES: Final = 0.06
ANSWERS_LOST: Final = 0.12
"""Shares of the requests: the first after which another node leads, and those whose connection ends."""


class World:
    """Three nodes over one store, whose leader changes, and which lose requests and answers."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.lines = Lines()
        self.leader = 0
        self.actors: list[Actor] = []

    def decide(self, node: int, line: bytes) -> dict[str, Any] | None:
        """Answer a line as a node."""
        chance = self.random.random()
        if chance < LEADER_CHANGES:
            self.leader = self.random.randrange(len(NODES))
        if node != self.leader:
            return {"error": "NOT_LEADER", "leader_hint": hint(self.leader)}
        is_lost = chance > 1 - ANSWERS_LOST
        if is_lost and self.random.random() < 0.5:
            return None
        answer = self.lines.ask(line)
        return None if is_lost else answer

    def has_changed(self, changed: Changed) -> bool:
        """Whether a watch would have had an event by now."""
        prefix = b"PREFIX %b META" % changed.prefix
        return bool(self.lines.ask(prefix)["items"] != self.lines.ask(prefix + b" AT %d" % changed.after)["items"])

    def start(self, program: Steps[None]) -> "Actor":
        """Let a client begin."""
        actor = Actor(self, program)
        self.actors.append(actor)
        return actor

    def run(self, disturb: Callable[[], None] = lambda: None) -> None:
        """Let all of them go on, one step at a time in any order, until they have ended."""
        for _ in range(STEPS_MAX):
            running = [actor for actor in self.actors if actor.course.step is not None]
            if not running:
                return
            ready = [actor for actor in running if actor.is_ready()]
            assert ready, f"all wait for ever: {[actor.course.step for actor in running]}"
            self.random.choice(ready).go_on()
            disturb()
        raise AssertionError("they do not come to an end")


class Actor:
    """One client with a session of its own, and its program."""

    def __init__(self, world: World, program: Steps[None]) -> None:
        self._world = world
        self._caller = Caller(world.random.randrange(1000))
        self._caller.channel = Channel(NODES, world.random, exactly_once=True)
        self._caller.machine = self._caller.channel
        self.course = Course(program)

    def is_ready(self) -> bool:
        """Whether it does not wait for a change."""
        step = self.course.step
        return not isinstance(step, Changed) or self._world.has_changed(step)

    def go_on(self) -> None:
        """Do one step."""
        step: Step | None = self.course.step
        if isinstance(step, Changed):
            self.course.answered(None)
            return
        assert step is not None, "it has ended"
        told = self._ask(step)
        if isinstance(told, ClientError):
            self.course.failed(told)
        else:
            self.course.answered(told)

    def _ask(self, request: Request[Any]) -> object:
        caller = self._caller
        caller.ask(request, timeout_s=60.0)
        for _ in range(STEPS_MAX):
            told = caller.told(request)
            if told is not ...:
                return told
            caller.serve(self._world.decide, seconds=0.02)
        raise AssertionError(f"{request.line!r} has no end")

    def die(self) -> None:
        """Do nothing any more."""
        self.course.step = None


def ended(world: World, lease: int) -> None:
    """Let a lease end, as it does when it is not renewed."""
    world.lines.ask(b"LEASE REVOKE %d" % lease)


def give_back(lease: int) -> Steps[None]:
    """End a lease as the shells do: it ends by itself when that fails."""
    with contextlib.suppress(ClientError):
        yield holding.revoke(lease)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_counter_counts_each_addition_once(seed: int) -> None:
    """Whatever is lost on the way; each sum is given to one of them."""
    world, sums = World(seed), list[int]()

    def adder() -> Steps[None]:
        for _ in range(6):
            total = yield requests.incr("n")
            sums.append(total)

    for _ in range(3):
        world.start(adder())
    world.run()

    assert sorted(sums) == list(range(1, 19))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_waits_at_a_barrier_goes_on_when_it_is_open(seed: int) -> None:
    """And not before."""
    world, log = World(seed), list[str]()
    world.lines.ask("SET gate x")

    def waiter() -> Steps[None]:
        yield from policy.await_absence(b"gate")
        log.append("through")

    def opener() -> Steps[None]:
        for _ in range(3):
            yield requests.incr("other")
        log.append("opens")
        yield requests.delete("gate")

    for program in (waiter(), waiter(), opener()):
        world.start(program)
    world.run()

    assert log == ["opens", "through", "through"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rounds_of_a_double_barrier_do_not_mix(seed: int) -> None:
    """None is inside before all have entered, and none is out before all have left."""
    world, count, rounds = World(seed), 3, 3
    entering, leaving = [0] * rounds, [0] * rounds

    def participant() -> Steps[None]:
        for number in range(rounds):
            rendezvous = policy.Rendezvous("b", count)
            lease = yield holding.grant(10.0)
            entering[number] += 1
            yield from rendezvous.begin(lease)
            assert entering[number] == count
            leaving[number] += 1
            yield from rendezvous.leave()
            assert leaving[number] == count
            yield from give_back(lease)

    for _ in range(count):
        world.start(participant())
    world.run()

    assert leaving == [count] * rounds


def until_it_waits(steps: Steps[None]) -> Steps[None]:
    """Carry out the steps before the first at which a change is waited for."""
    step = next(steps)
    while not isinstance(step, policy.Changed):
        step = steps.send((yield step))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_double_barrier_goes_on_without_the_dead(seed: int) -> None:
    """One that dies before it opens does not count, one that dies inside counts as having left."""
    world, log = World(seed), list[str]()

    def participant(name: str, dies_at: str = "") -> Steps[None]:
        rendezvous = policy.Rendezvous("b", 2)
        lease = yield holding.grant(10.0)
        if dies_at == "joined":
            yield from until_it_waits(rendezvous.begin(lease))
        else:
            yield from rendezvous.begin(lease)
            log.append(name)
        if dies_at:
            ended(world, lease)
            return
        yield from rendezvous.leave()
        log.append(f"{name} out")

    world.start(participant("never inside", "joined"))
    world.run()
    world.start(participant("a"))
    with pytest.raises(AssertionError, match="wait for ever"):
        world.run()
    assert log == []
    world.start(participant("dies inside", "inside"))
    world.run()

    assert sorted(log) == ["a", "a out", "dies inside"]


def test_who_has_lost_its_lease_is_not_let_through_a_double_barrier() -> None:
    """It gets an error, since the others do not count on it."""
    lines = Lines()
    steps, lease = entering(lines)
    request: Any = next(steps)
    request = steps.send(request.read(lines.ask(request.line)))
    lines.ask(b"LEASE REVOKE %d" % lease)

    with pytest.raises(LeaseLost):
        steps.send(request.read(lines.ask(request.line)))


def test_a_double_barrier_opens_only_while_all_are_there() -> None:
    """One whose lease ends after it was counted, and before the barrier opens, does not count."""
    lines = Lines()
    first, lease = entering(lines)
    request: Any = next(first)
    while not isinstance(request, Changed):
        request = first.send(request.read(lines.ask(request.line)))
    second, _ = entering(lines)
    request = next(second)
    for _ in range(2):
        request = second.send(request.read(lines.ask(request.line)))
    assert request.line.startswith(b"TXN"), "it has counted two, and is about to open"
    lines.ask(b"LEASE REVOKE %d" % lease)

    second.send(request.read(lines.ask(request.line)))

    assert lines.ask("GET b/open") == {"value": None}


def test_who_comes_to_an_open_double_barrier_waits_for_the_next_round() -> None:
    """Also while one of two has left already: a round has ended when none of it is left."""
    lines = Lines()
    both = [policy.Rendezvous("b", 2) for _ in range(2)]
    first, second = (each.begin(lines.ask("LEASE GRANT 10")["lease"]) for each in both)
    assert isinstance(go_on(lines, first), Changed)
    assert (go_on(lines, second), go_on(lines, first, None)) == (None, None)
    assert lines.ask("GET b/open") == {"value": ""}
    late, _ = entering(lines)

    assert isinstance(go_on(lines, late), Changed)
    assert lines.ask("PREFIX b/members/ COUNT") == {"count": 2}
    leaving = [each.leave() for each in both]
    assert isinstance(go_on(lines, leaving[0]), Changed)
    assert isinstance(go_on(lines, late, None), Changed)
    assert (lines.ask("PREFIX b/members/ COUNT"), lines.ask("GET b/open")) == ({"count": 1}, {"value": ""})
    assert go_on(lines, leaving[1]) is None
    assert isinstance(go_on(lines, late, None), Changed)
    assert (lines.ask("PREFIX b/members/ COUNT"), lines.ask("GET b/open")) == ({"count": 1}, {"value": None})


def go_on(lines: Lines, steps: Steps[None], *answer: None) -> Step | None:
    """Carry out steps until one waits for a change, which is returned, or until there is none; `answer` ends a wait."""
    try:
        step: Any = steps.send(*answer) if answer else next(steps)
        while not isinstance(step, Changed):
            step = steps.send(step.read(lines.ask(step.line)))
    except StopIteration:
        return None
    return step


def entering(lines: Lines) -> tuple[Steps[None], int]:
    """Return the steps of one that enters a double barrier for two, and its lease."""
    lease = lines.ask("LEASE GRANT 10")["lease"]
    return policy.Rendezvous("b", 2).begin(lease), lease


@pytest.mark.parametrize("seed", SEEDS)
def test_members_of_a_party_are_there_as_long_as_their_leases(seed: int) -> None:
    """In the order in which they came."""
    world, leases, seen = World(seed), list[int](), list[list[bytes]]()

    def member(name: str) -> Steps[None]:
        lease = yield holding.grant(10.0)
        leases.append(lease)
        yield from policy.Membership("party", name).begin(lease)
        seen.append((yield from policy.members("party")))

    for name in ("a", "b", "c"):
        world.start(member(name))
        world.run()
    ended(world, leases[1])
    world.start(member("d"))
    world.run()

    assert seen == [[b"a"], [b"a", b"b"], [b"a", b"b", b"c"], [b"a", b"c", b"d"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_item_has_one_consumer_at_a_time_and_is_finished_once(seed: int) -> None:
    """Also when consumers die, or go on though their lease has ended."""
    world = World(seed)
    workers = Workers(world)

    def producer() -> Steps[None]:
        for number in range(0, ITEMS, 2):
            yield from policy.put("q", [str(number), str(number + 1)])

    world.start(producer())
    for _ in range(3):
        world.start(workers.consumer())
    try:
        world.run(workers.harm)
    except AssertionError as error:
        # Those that wait for a further item when all are done wait for ever, and are right.
        if "wait for ever" not in str(error) or not workers.have_done_all():
            raise

    assert {item["key"]: item["value"] for item in world.lines.ask("PREFIX done/")["items"]} == {
        f"done/{number}": "1" for number in range(ITEMS)
    }
    assert world.lines.ask("PREFIX q/ KEYS")["items"] == [{"key": "q/last"}]


class Workers:
    """Consumers of a queue, some of whose leases end while they have an item."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._holders: dict[bytes, int] = {}
        """Which lease an item is held with, as long as that lasts."""
        self._harms = 4

    def have_done_all(self) -> bool:
        """Whether no item is left."""
        return bool(self._world.lines.ask("PREFIX done/ COUNT")["count"] == ITEMS)

    def consumer(self) -> Steps[None]:
        """Take and finish items."""
        while not self.have_done_all():
            taking = policy.Taking("q")
            lease = yield holding.grant(10.0)
            yield from taking.begin(lease)
            assert taking.value not in self._holders, "two have it"
            self._holders[taking.value] = lease
            yield requests.get("work")
            try:
                yield from taking.finish([transactions.incr(b"done/" + taking.value)])
            except LeaseLost:
                assert self._holders.get(taking.value) != lease, "it has the item, and cannot finish it"
            else:
                assert self._holders.pop(taking.value) == lease, "it has finished what it did not have"
            yield from give_back(lease)

    def harm(self) -> None:
        """Let the lease of a consumer end, which goes on and does not notice."""
        world = self._world
        if not self._harms or not self._holders or world.random.random() > 0.1:
            return
        value, lease = world.random.choice(sorted(self._holders.items()))
        if world.lines.ask(b"GET done/" + value)["value"] is None:  # else it is finished, and not reported yet
            self._harms -= 1
            del self._holders[value]
            ended(world, lease)


def test_items_are_taken_in_their_order() -> None:
    """However many are taken already; one that is given back is the first again."""
    world, values = World(3), list[bytes]()
    leases: list[int] = []

    def taker() -> Steps[None]:
        taking = policy.Taking("q")
        lease = yield holding.grant(10.0)
        leases.append(lease)
        yield from taking.begin(lease)
        values.append(taking.value)

    def producer() -> Steps[None]:
        yield from policy.put("q", [str(number) for number in range(60)])
        assert (yield from policy.length("q")) == 60

    world.start(producer())
    world.run()
    for _ in range(40):
        world.start(taker())
        world.run()
    ended(world, leases[7])
    world.start(taker())
    world.run()

    assert values == [*(b"%d" % number for number in range(40)), b"7"]


def test_a_leader_is_told_with_its_identity() -> None:
    """As long as one has it; an identity has a limit."""
    lines = Lines()

    def ask(request: Request[Any]) -> Any:
        return request.read(lines.ask(request.line))

    assert ask(holding.leads("e")) is None
    token = ask(holding.acquire("e", 10.0, 0.0, holding.new_owner("node a")))
    assert ask(holding.leads("e")) == Leader(token, b"node a", 0)
    ask(holding.release("e", token))
    ask(holding.acquire("e", 10.0, 0.0, holding.new_owner("x" * holding.IDENTITY_BYTES_MAX)))
    with pytest.raises(InvalidRequest):
        holding.new_owner("x" * (holding.IDENTITY_BYTES_MAX + 1))
    assert ask(holding.leads("e")).identity == b"x" * holding.IDENTITY_BYTES_MAX
