"""The recipes on real nodes while the leader is killed: each test holds what its programs saw against the guarantee.

All programs run at the same time, in threads with clients of their own, so the leader is killed once for all of them.
One process holds an item of a queue and is a member of a party, and is killed too.
"""

import contextlib
import re
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import pytest

from kvraft.client import Client, OutcomeUnknown, StaleToken, requests, transactions
from kvraft.client.blocking_held import Lock as Held
from kvraft.client.recipes import Barrier, Counter, DoubleBarrier, Election, Lock, Party, Queue, TimedOut
from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import wait_until
from tests.e2e.processes import REPOSITORY, Cluster, typing_environment

TIMEOUT_S: Final = 20.0
"""Of each request: far longer than an election takes."""
PACE_S: Final = 0.03
"""Between two steps of a program, so that the programs outlast the election."""
WORKERS: Final = 3
"""Programs that use the same lock, counter, queue or barrier."""
TURNS: Final = 8
"""Times that each of them holds the lock or the lead."""
ADDITIONS: Final = 24
ITEMS: Final = 24
ROUNDS: Final = 4
DEAD_TTL_S: Final = 1.0
"""Of what the process holds that is killed."""
LATE_S: Final = 1.0
"""A lease ends so late at most while there is a leader (docs/leases.md)."""
BUSY_S: Final = 8.0
"""For an election and a busy machine, during which no lease ends."""
END_S: Final = 45.0
"""Longest wait of a program, so that all end when one has failed."""
HOLDER: Final = f"""
import sys, time
from kvraft.client import Client
from kvraft.client.recipes import Party, Queue

with Client(sys.argv[1]) as client, Party(client, "party", "dead", ttl={DEAD_TTL_S}):
    with Queue(client, "queue").take(ttl={DEAD_TTL_S}) as job:
        print(job.value.decode(), flush=True)
        time.sleep(60)
"""
PYTHON: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANSWER: Final = re.compile(r"print\(.*\)  # (.*)")


@attrs.frozen
class Turn:
    """A time during which one program held a lock, the lead or an item."""

    who: int
    token: int
    begin: float
    end: float
    what: bytes = b""


@attrs.define
class Notes:
    """What the programs saw; times are those of one clock."""

    locked: list[Turn] = attrs.field(factory=list)
    led: list[Turn] = attrs.field(factory=list)
    succeeded: list[int] = attrs.field(factory=list)
    """Who led in this order, of those who had come in the order of their numbers."""
    sums: list[int] = attrs.field(factory=list)
    taken: list[Turn] = attrs.field(factory=list)
    rounds: list[list[tuple[float, float, float, float]]] = attrs.field(factory=list)
    """Of each participant and round: when it came, was inside, wanted to leave, and was outside."""
    passed_at: list[float] = attrs.field(factory=list)
    opened_at: float = 0.0
    parties: list[list[bytes]] = attrs.field(factory=list)
    """The lists that the members read."""
    kept: list[bool] = attrs.field(factory=list)
    """Whether each living member was one all the time."""
    item_of_the_dead: bytes = b""
    died_at: float = 0.0
    gone_at: float = 0.0
    """When the dead process was first seen not to be a member of the party."""
    done: dict[bytes, bytes] = attrs.field(factory=dict)
    """How often each item was finished."""


class Programs:
    """What runs during the failover."""

    def __init__(self, nodes: str, notes: Notes) -> None:
        self._nodes = nodes
        self._notes = notes

    def _client(self) -> Client:
        return Client(self._nodes, timeout=TIMEOUT_S)

    def lock(self, who: int) -> None:
        """Hold a lock again and again, and write through it; write once more when it is released."""
        with self._client() as client:
            again = Lock(client, "lock", wait=END_S)
            for _ in range(TURNS):
                with again as lock:
                    begin = time.monotonic()
                    write_through(client, lock)
                    time.sleep(PACE_S)
                    assert client.get("guarded") == str(lock.token).encode()
                    turn = Turn(who, lock.token, begin, time.monotonic())
                self._notes.locked.append(turn)
                with pytest.raises(StaleToken):
                    write_through(client, lock)

    def election(self, who: int) -> None:
        """Lead again and again."""
        with self._client() as client:
            election = Election(client, "lead", str(who))
            for _ in range(TURNS):
                with election.lead(END_S) as lock:
                    begin = time.monotonic()
                    leader = election.leader()
                    time.sleep(PACE_S)
                    self._notes.led.append(Turn(who, lock.token, begin, time.monotonic()))
                assert leader is not None
                assert (leader.identity, leader.token) == (str(who).encode(), lock.token)

    def successor(self, who: int) -> None:
        """Come after those with lower numbers, and lead once."""
        with self._client() as client:
            election = Election(client, "succession", str(who))
            wait_until("its turn to come", lambda: waiting(election) == who)
            election.run(lambda _: self._notes.succeeded.append(who), END_S)

    def counter(self, _who: int) -> None:
        """Add one, again and again."""
        with self._client() as client:
            counter = Counter(client, "counter")
            for _ in range(ADDITIONS):
                self._notes.sums.append(counter.add())
                time.sleep(PACE_S)

    def producer(self) -> None:
        """Put items, two at a time."""
        with self._client() as client:
            queue = Queue(client, "queue")
            for number in range(0, ITEMS, 2):
                queue.put(str(number), str(number + 1))
                time.sleep(PACE_S)

    def consumer(self, who: int) -> None:
        """Take items and count each in the step that finishes it, until all that were ever put are finished."""
        with self._client() as client:
            queue = Queue(client, "queue")
            while client.count_prefix("done/") < ITEMS + 1:
                with contextlib.suppress(TimedOut), queue.take(wait=DEAD_TTL_S) as job:
                    begin = time.monotonic()
                    time.sleep(PACE_S)
                    self._notes.taken.append(Turn(who, 0, begin, time.monotonic(), job.value))
                    job.finish(transactions.incr(b"done/" + job.value))

    def participant(self, who: int) -> None:
        """Go through the rounds of a double barrier."""
        with self._client() as client:
            for _ in range(ROUNDS):
                time.sleep(PACE_S * (who + 1))
                came = time.monotonic()
                with DoubleBarrier(client, "rounds", WORKERS, wait=END_S):
                    inside = time.monotonic()
                    time.sleep(PACE_S * (WORKERS - who))
                    leaving = time.monotonic()
                self._notes.rounds[who].append((came, inside, leaving, time.monotonic()))

    def waiter(self, _who: int) -> None:
        """Wait at a closed barrier; a wait that is bounded ends by itself."""
        with self._client() as client:
            with pytest.raises(TimedOut):
                Barrier(client, "gate").wait(PACE_S)
            Barrier(client, "gate").wait(END_S)
            self._notes.passed_at.append(time.monotonic())

    def member(self, who: int) -> None:
        """Be a member of a party until the barrier is open, and read who is there."""
        with self._client() as client, Party(client, "party", str(who)) as party:
            while not self._notes.opened_at:
                self._notes.parties.append(party.members())
                time.sleep(PACE_S)
            self._notes.kept.append(party.is_held)


def waiting(election: Election) -> int | None:
    """Return how many wait to lead, None without a leader."""
    leader = election.leader()
    return None if leader is None else leader.waiting


def write_through(client: Client, lock: Held) -> None:
    """Write the token of a lock, if it is held with it; repeat that until the outcome is known."""
    while True:
        with contextlib.suppress(OutcomeUnknown):
            return client.execute(lock.guard(requests.set_("guarded", str(lock.token))))


@contextlib.contextmanager
def holding_process(nodes: str) -> Iterator[tuple["subprocess.Popen[bytes]", bytes]]:
    """Run the process that holds an item and is a member; return it, and the item."""
    command = [sys.executable, "-c", HOLDER, nodes]
    with subprocess.Popen(command, env=typing_environment(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def notes(shared_cluster: Cluster) -> Notes:
    """Run all programs, kill the leader and the process in the middle of them, and return what they saw."""
    leader = shared_cluster.await_leader()
    wait_until("the level", lambda: shared_cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
    nodes = ",".join(shared_cluster.hint(node) for node in shared_cluster.ids)
    notes = Notes(rounds=[[] for _ in range(WORKERS)])
    programs = Programs(nodes, notes)
    each: tuple[Callable[[int], None], ...] = (
        *(programs.lock, programs.election, programs.successor, programs.counter, programs.consumer),
        *(programs.participant, programs.waiter, programs.member),
    )
    with Client(nodes, timeout=TIMEOUT_S) as client, ThreadPoolExecutor(len(each) * WORKERS + 1) as threads:
        gate = Barrier(client, "gate")
        gate.close()
        Queue(client, "queue").put("of the dead")
        with Election(client, "succession").lead(), holding_process(nodes) as (holder, notes.item_of_the_dead):
            running = [threads.submit(program, who) for program in each for who in range(WORKERS)]
            running.append(threads.submit(programs.producer))
            succession = Election(client, "succession")
            wait_until("the successors", lambda: waiting(succession) == WORKERS)
            wait_until("a turn of each", lambda: min(map(len, (notes.locked, notes.led, notes.taken))) > WORKERS)
            shared_cluster.kill(leader)
            holder.kill()
            notes.died_at = time.monotonic()
            shared_cluster.await_leader()
            wait_until("the successors", lambda: waiting(succession) == WORKERS)
        shared_cluster.start(leader)
        wait_until("the end of a membership", lambda: b"dead" not in notes.parties[-1])
        notes.gone_at = notes.opened_at = time.monotonic()
        gate.open()
        for program in running:
            program.result(END_S)
        notes.done = {item.key: item.value for item in client.prefix("done/")}
    shared_cluster.await_equal()
    return notes


def hold_one_at_a_time(turns: Sequence[Turn]) -> bool:
    """Whether no two turns overlap, and tokens only grow."""
    ordered = sorted(turns, key=lambda turn: turn.begin)
    return all(one.end < next_.begin and one.token < next_.token for one, next_ in pairwise(ordered))


def test_a_lock_has_one_holder_at_a_time(notes: Notes) -> None:
    """Its tokens only grow, and a write through a token that was given back was refused."""
    assert Tally(turn.who for turn in notes.locked) == dict.fromkeys(range(WORKERS), TURNS)
    assert hold_one_at_a_time(notes.locked)


def test_one_leads_at_a_time_in_the_order_of_coming(notes: Notes) -> None:
    """Also those who waited while the nodes' own leader was killed."""
    assert Tally(turn.who for turn in notes.led) == dict.fromkeys(range(WORKERS), TURNS)
    assert hold_one_at_a_time(notes.led)
    assert notes.succeeded == [*range(WORKERS)]


def test_each_addition_counts_once(notes: Notes) -> None:
    """And reads the sum right after it."""
    assert sorted(notes.sums) == [*range(1, WORKERS * ADDITIONS + 1)]


def test_each_item_is_finished_once_and_has_one_consumer_at_a_time(notes: Notes) -> None:
    """That of the process that died had no other as long as that lived, and was finished by another."""
    items = [notes.item_of_the_dead, *(str(number).encode() for number in range(ITEMS))]
    assert notes.item_of_the_dead == b"of the dead"
    assert notes.done == {b"done/" + item: b"1" for item in items}
    for item in items:
        turns = [turn for turn in notes.taken if turn.what == item]
        assert all(one.end < next_.begin for one, next_ in pairwise(sorted(turns, key=lambda turn: turn.begin)))
    assert all(turn.begin > notes.died_at for turn in notes.taken if turn.what == notes.item_of_the_dead)


def test_who_waits_at_a_barrier_goes_on_when_it_is_open(notes: Notes) -> None:
    """All of them, and none before."""
    assert len(notes.passed_at) == WORKERS
    assert min(notes.passed_at) > notes.opened_at


def test_the_rounds_of_a_double_barrier_do_not_mix(notes: Notes) -> None:
    """None is inside before all have come, and none outside before all are to leave."""
    assert [len(each) for each in notes.rounds] == [ROUNDS] * WORKERS
    for round_ in zip(*notes.rounds, strict=True):
        came, inside, leaving, outside = zip(*round_, strict=True)
        assert max(came) < min(inside)
        assert max(leaving) < min(outside)


def test_who_lives_is_a_member_and_who_died_is_none(notes: Notes) -> None:
    """The living are in every list that was read after they had come, through the change of the nodes' leader."""
    living = {str(who).encode() for who in range(WORKERS)}
    assert notes.kept == [True] * WORKERS
    everybody = next(at for at, party in enumerate(notes.parties) if living <= {*party})
    assert all(living <= {*party} for party in notes.parties[everybody + WORKERS :])
    assert b"dead" in notes.parties[0]
    assert notes.gone_at - notes.died_at < DEAD_TTL_S + LATE_S + BUSY_S


def test_the_page_of_the_recipes_says_what_happens(shared_cluster: Cluster, tmp_path: Path) -> None:
    """Each `print` of its programs prints what stands beside it."""
    nodes = ",".join(shared_cluster.hint(node) for node in shared_cluster.ids)
    programs = PYTHON.findall((REPOSITORY / "docs/recipes.md").read_text(encoding="utf-8"))
    assert len(programs) == 2
    for program in programs:
        said = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=typing_environment(KVRAFT_NODES=nodes),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert said.stdout.splitlines() == ANSWER.findall(program), said.stderr
