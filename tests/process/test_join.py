"""How a node asks to be taken in: each answer it may get, without a network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from kvraft.config import Address
from kvraft.errors import exit_status
from kvraft.process.join import PATIENCE_S, UNREACHABLE_S, Joining
from kvraft.process.move import Moving
from kvraft.process.seed import SEED_NAME, JoinFailed, Seed, read_seed, write_seed

MINE = Address("127.0.0.1", 9003)
CONTACT = Address("127.0.0.1", 9000)
CLUSTER = "8a0c"
BUSY = {"error": "BUSY", "message": "another membership change is under way"}


@attrs.define(slots=False)
class World:
    """A cluster of two that answers MEMBER ADD from a list, on a clock that moves while somebody sleeps."""

    answers: list[Mapping[str, Any] | Exception] = attrs.field(factory=list)
    members: dict[int, str] = attrs.field(factory=lambda: {0: "127.0.0.1:9000", 1: "127.0.0.1:9001"})
    removed: list[int] = attrs.field(factory=list)
    removed_below: int = 0
    incarnations: dict[int, str] = attrs.field(factory=dict)
    leader: int | None = 1
    changing: bool = False
    now: float = 0.0
    asked: list[tuple[str, str]] = attrs.field(factory=list)
    kept: list[Seed] = attrs.field(factory=list)

    def ask(self, address: Address, lines: str) -> list[dict[str, Any]]:
        """Answer."""
        if lines.startswith("MEMBERS"):
            members = [
                {"id": node, "address": where, "role": "voter", "incarnation": self.incarnations.get(node)}
                for node, where in self.members.items()
            ]
            view = {"members": members, "leader": self.leader, "changing": self.changing, "removed": self.removed}
            view |= {"removed_below": self.removed_below} if self.removed_below else {}
            return [view, {"cluster_id": CLUSTER}]
        assert self.kept, "the seed is durable before the cluster is asked to change"
        self.asked.append((str(address), lines))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer.get("status") == "OK":
            self.members[3] = str(MINE)
        return [dict(answer)]

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def join(self, cluster_id: str | None = None) -> Seed:
        """Let node 3 join."""
        joining = Joining(3, "abc", MINE, CONTACT, cluster_id, self.kept.append, self.ask, lambda: self.now, self.sleep)
        return joining.join()

    def refused(self, cluster_id: str | None = None) -> JoinFailed:
        """Let node 3 try to join, and return why it cannot."""
        with pytest.raises(JoinFailed) as failed:
            self.join(cluster_id)
        return failed.value


def test_the_leader_is_asked() -> None:
    """With any contact, MEMBER ADD goes to the leader, and the seed names the others alone."""
    world = World([{"status": "OK"}])

    seed = world.join()

    assert world.asked == [("127.0.0.1:9001", "MEMBER ADD 3 127.0.0.1:9003\n")]
    assert seed.membership.voters == {0, 1}
    assert seed.address == str(MINE)
    assert seed.cluster_id == CLUSTER


def test_who_was_added_already_asks_nothing() -> None:
    """An interrupted attempt is taken up where it was: the same id at the same address."""
    world = World(members={0: "127.0.0.1:9000", 3: str(MINE)})

    assert world.join().members == {0: "127.0.0.1:9000"}
    assert world.asked == []


@pytest.mark.parametrize(
    "first", [BUSY, {"error": "NOT_LEADER", "leader_hint": None}, {"error": "UNKNOWN", "message": "?"}, OSError("gone")]
)
def test_what_passes_is_waited_for(first: Mapping[str, Any] | Exception) -> None:
    """A change under way, an election and a lost answer end by themselves."""
    world = World([first, {"status": "OK"}])

    world.join()

    assert len(world.asked) == 2


def test_a_lost_answer_to_what_was_done() -> None:
    """When the node was added and the answer was lost, the refusal of a second try is the proof."""
    world = World([{"error": "REFUSED", "message": "node 3 is a member already"}])
    ask = world.ask

    def add_first(address: Address, lines: str) -> list[dict[str, Any]]:
        answers = ask(address, lines)
        world.members[3] = str(MINE)
        return answers

    world.ask = add_first  # type: ignore[method-assign]
    world.join()


def test_patience_ends() -> None:
    """A cluster that can never take it in, and one that never answers, end the attempt with their own statuses."""
    failed = World([BUSY] * 1000).refused()
    assert (failed.status, "another membership change" in str(failed)) == (exit_status.NOPERM, True)
    assert "has no leader" in str(World(leader=None).refused())
    assert "being changed" in str(World(changing=True).refused())

    world = World()
    world.ask = lambda address, lines: (_ for _ in ()).throw(OSError("refused"))  # type: ignore[method-assign]
    assert world.refused().status == exit_status.NOHOST
    assert UNREACHABLE_S <= world.now < PATIENCE_S


def test_what_is_taken() -> None:
    """The id of another directory, the address of another member, a removed id and another cluster are refused."""
    assert World(members={3: str(MINE)}, incarnations={3: "def"}).refused().status == exit_status.NOPERM
    assert World(members={3: "127.0.0.1:9009"}).refused().status == exit_status.NOPERM
    assert "the address of node 0" in str(World(members={0: str(MINE)}).refused())
    assert World(removed=[3]).refused().status == exit_status.REMOVED
    assert World(removed_below=4).refused().status == exit_status.REMOVED
    assert "belongs to cluster other" in str(World().refused("other"))
    assert World([{"error": "REFUSED", "message": "too many members"}]).refused().status == exit_status.NOPERM


def test_an_answer_of_something_else() -> None:
    """A contact that is no kvraft node is an error that says so."""
    world = World()
    world.ask = lambda address, lines: [{"hello": "world"}, {}]  # type: ignore[method-assign]

    assert "no kvraft node" in str(world.refused())


def test_the_seed_is_kept(tmp_path: Path) -> None:
    """It comes back as it was written; a later version is not guessed at, and damage is an error."""
    assert read_seed(tmp_path) is None
    seed = Seed(1, 3, str(MINE), CLUSTER, {0: "127.0.0.1:9000", 1: "127.0.0.1:9001"}, [1], [7])

    write_seed(tmp_path, seed)

    assert read_seed(tmp_path) == seed
    assert seed.membership.learners == {1}
    path = tmp_path / SEED_NAME
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "version": 2}), encoding="utf-8")
    with pytest.raises(JoinFailed, match="run the kvraft that wrote it"):
        read_seed(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(JoinFailed, match="cannot be read"):
        read_seed(tmp_path)


def test_a_node_says_that_it_has_moved_until_it_is_known() -> None:
    """It asks any node that answers for the leader, sends its incarnation, and tries again until it is done."""
    world = World([BUSY, {"status": "OK"}], kept=[Seed(1, 3, "", None, {})])
    said: list[str] = []
    pauses: list[float] = []
    silent = Address("127.0.0.1", 1)

    def ask(address: Address, lines: str) -> list[dict[str, Any]]:
        if address == silent:
            raise OSError("nobody")
        return world.ask(address, lines)

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    moving = Moving(3, "abc", MINE, {0: [silent, CONTACT]}, pause, said.append, ask)
    moving.run()

    assert world.asked == [("127.0.0.1:9001", "MEMBER MOVE 3 127.0.0.1:9003 abc\n")] * 2
    assert len(pauses) == 1
    assert said[-1] == "node 3 is known at 127.0.0.1:9003 now"
    moving = Moving(3, "abc", MINE, {0: [silent]}, lambda _: True, said.append, ask)
    moving.run()
    assert "no member answers" in said[-1]


def test_a_leader_that_has_moved_is_asked_where_it_is_now() -> None:
    """After a whole cluster has moved, the leader is where config.json says, be it this very node."""
    for leader, place in ((1, Address("10.0.0.1", 9001)), (3, MINE)):
        world = World([{"status": "OK"}], {1: "127.0.0.1:9001", 3: "127.0.0.1:9999"}, leader=leader)
        world.kept = [Seed(1, 3, "", None, {})]
        asked: list[Address] = []

        def ask(
            address: Address, lines: str, world: World = world, asked: list[Address] = asked
        ) -> list[dict[str, Any]]:
            asked.append(address)
            if str(address) in world.members.values():
                raise OSError("nobody listens there any more")
            return world.ask(address, lines)

        contacts = {1: [Address("127.0.0.1", 9001), Address("10.0.0.1", 9001)], 3: [Address("127.0.0.1", 9999), MINE]}
        Moving(3, "abc", MINE, contacts, lambda _: True, lambda _: None, ask).run()

        assert world.asked == [(str(place), "MEMBER MOVE 3 127.0.0.1:9003 abc\n")]


def test_a_refusal_to_move_is_told_and_not_what_others_know() -> None:
    """A copy of the leader's data gets from the others why it is not moved, and has no leader itself."""
    said: list[str] = []
    world = World([{"error": "REFUSED", "message": "node 1 runs twice"}], kept=[Seed(1, 1, "", None, {})])

    def ask(address: Address, lines: str) -> list[dict[str, Any]]:
        world.leader = None if address == MINE else 1
        return world.ask(address, lines)

    Moving(1, "abc", MINE, {0: [CONTACT], 1: [MINE]}, lambda _: True, said.append, ask).run()
    assert said == ["node 1 is not known at 127.0.0.1:9003 yet: node 1 runs twice"]
