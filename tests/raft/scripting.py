"""Golden scripts: commands to a bare cluster, each followed by what came of it, to be read like a story.

A script in tests/raft/scripts/ consists of steps: one command, a line of dashes, and what the cluster did::

    stand 1
    ----
    0 ms  1 is PRE-CANDIDATE in term 0
    0 ms  1 → 0  PreVote term 1, log 0@0

`python -m tests.raft.scripting` writes what comes of the commands now; read the difference before it is committed.

==============================  ======================================================================================
`cluster 3`                     three members with empty logs
`logs 0=1,1,2@3 1=1`            what the disks hold before that: the terms of the entries, and the newest term known
`stand 1`                       the election timeout of 1 is over
`leader 0`                      0 is elected and all agree, without the messages in between
`run 20`                        so many milliseconds pass
`until agrees` · `until led`    time passes until all have applied the leader's log · until a node leads
`propose 0 x` · `read 0`        a client asks member 0
`cut 0 1` · `cut 0>1`           the link is cut · only in one direction; `isolate 0`, `heal`
`lose AppendEntries 0>1`        messages of a kind are lost on a link, without one everywhere; `lose nothing`
`crash 0` · `restart 0`         the process ends; what was not saved is lost
`disk 0 50`                     each save of 0 takes so many milliseconds
`transfer 0 1`                  leader 0 hands over to 1
`add 3` · `remove 2`            the leader is asked to change the members
`snapshot 0`                    member 0 takes a snapshot and shortens its log
`state`                         term, role, commit index and log of each member
==============================  ======================================================================================

Heartbeats and their answers are shown after `show heartbeats`; of a snapshot on its way the offer and the end are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from kvraft.raft import Message, NotLeader, ProposalRefused
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from tests.golden import RULE, rewrite
from tests.raft.network import StoredLogs
from tests.raft.snapshotting import SnapshottingNetwork, without

FOLDER: Final = Path(__file__).parent / "scripts"


def describe(message: Message) -> str:
    """Return a message as a script shows it."""
    match message:
        case PreVote() | RequestVote():
            what = f"log {message.last_index}@{message.last_term}"
        case PreVoteReply() | RequestVoteReply():
            what = "yes" if message.granted else "no"
        case AppendEntries():
            entries = ",".join(str(entry.term) for entry in message.entries) or "none"
            what = f"after {message.prev_index}@{message.prev_term}: {entries}; commit {message.commit}"
        case AppendEntriesReply() if message.success:
            what = f"matches up to {message.index}"
        case AppendEntriesReply():
            what = f"no match at {message.prev_index}; try {message.index}@{message.hint_term}"
        case Heartbeat() | HeartbeatReply():
            what = f"round {message.round}"
        case InstallSnapshot():
            what = f"up to {message.index}@{message.index_term}, an offer"
        case InstallSnapshotReply():
            what = "installed"
        case _:
            what = ""
    return f"{type(message).__name__} term {message.term}" + (f", {what}" if what else "")


@attrs.define(eq=False)
class Teller:
    """Carries out the commands of one script, and writes down what happens."""

    network: SnapshottingNetwork | None = None
    logs: StoredLogs = attrs.field(factory=dict)
    lines: list[str] = attrs.field(factory=list)
    shows_heartbeats: bool = False
    lost: list[tuple[str, tuple[int, int] | None]] = attrs.field(factory=list)
    seen: dict[int, str] = attrs.field(factory=dict)
    reads: dict[object, int] = attrs.field(factory=dict)

    def do(self, command: str) -> list[str]:
        """Carry out a command; return the lines that show its effects."""
        self.lines = []
        name, *words = command.split()
        if name == "logs":
            self._logs(*words)
            return []
        if name == "cluster":
            self._begin(words[0])
        else:
            getattr(self, f"_{name}")(*words)
        self._tell_changes()
        return [RULE, *self.lines]

    @property
    def _cluster(self) -> SnapshottingNetwork:
        assert self.network is not None, "a script begins with a cluster"
        return self.network

    def _say(self, text: str) -> None:
        self.lines.append(f"{round(self._cluster.now * 1000):4} ms  {text}")

    def _tell_changes(self) -> None:
        for member, machine in self._cluster.machines.items():
            node = machine.node
            role = f"{node.soft_state.role.name.replace('_', '-')} in term {node.term}" if machine.alive else "down"
            if self.seen.get(member, role) != role:
                self._say(f"{member} is {role}")
            self.seen[member] = role

    def _sent(self, sender: int, to: int, message: Message) -> bool:
        self._tell_changes()
        kind = type(message).__name__
        is_lost = any(each == kind and link in {None, (sender, to)} for each, link in self.lost)
        if isinstance(message, Heartbeat | HeartbeatReply):
            is_shown = self.shows_heartbeats
        elif isinstance(message, InstallSnapshot):
            is_shown = not message.data
        else:
            is_shown = not isinstance(message, InstallSnapshotReply) or message.installed
        if is_shown:
            self._say(f"{sender} → {to}  {describe(message)}" + (", lost" if is_lost else ""))
        return is_lost

    # Commands.

    def _logs(self, *members: str) -> None:
        for each in members:
            member, _, rest = each.partition("=")
            terms, _, newest = rest.partition("@")
            found = [int(term) for term in terms.split(",") if term]
            self.logs = {**self.logs, int(member): (found, int(newest or (found or [0])[-1]))}

    def _begin(self, size: str) -> None:
        self.network = SnapshottingNetwork(int(size), logs=self.logs)
        self.network.lost = self._sent
        self.network.entries_kept = 1
        self._tell_changes()

    def _show(self, _what: str) -> None:
        self.shows_heartbeats = True

    def _stand(self, member: str) -> None:
        self._cluster.stand(int(member))

    def _leader(self, member: str) -> None:
        """Let a member be elected, and all agree, without a word about it."""
        self._cluster.force_leader(int(member))
        self._cluster.run_until(self._cluster.agrees)
        self._tell_changes()
        self.lines.clear()
        self._say(f"{member} leads term {self._cluster.node(int(member)).term}, and all agree")

    def _run(self, milliseconds: str) -> None:
        self._advance(lambda: False, int(milliseconds) / 1000)

    def _until(self, what: str) -> None:
        cluster = self._cluster
        reached = {"agrees": cluster.agrees, "led": lambda: cluster.leader is not None}[what]
        self._advance(reached, 10.0)
        assert reached(), f"{what} did not come about"

    def _advance(self, reached: Callable[[], bool], seconds: float) -> None:
        cluster = self._cluster
        end = cluster.now + seconds
        while not reached() and cluster.next_event() <= end:
            cluster.one_event()
            self._tell_changes()
            self._tell_reads()
        if not reached():
            cluster.now = end

    def _propose(self, member: str, payload: str) -> None:
        try:
            term, index = self._cluster.propose(int(member), payload.encode())
        except (NotLeader, ProposalRefused) as refusal:
            self._say(f"{member} refuses: {type(refusal).__name__}")
        else:
            self._say(f"{member} takes {payload} as {index}@{term}")

    def _read(self, member: str) -> None:
        try:
            self.reads[self._cluster.read(int(member))] = int(member)
        except NotLeader:
            self._say(f"{member} refuses: NotLeader")
        self._tell_reads()

    def _tell_reads(self) -> None:
        for ticket in [ticket for ticket in self.reads if ticket in self._cluster.answered]:
            self._say(f"{self.reads.pop(ticket)} answers the read at {self._cluster.answered[ticket]}")
        for ticket in [ticket for ticket in self.reads if ticket in self._cluster.aborted]:
            self._say(f"{self.reads.pop(ticket)} refuses the read")

    def _cut(self, *ends: str) -> None:
        if len(ends) == 1:
            sender, _, to = ends[0].partition(">")
            self._cluster.cut(int(sender), int(to), one_way=True)
        else:
            self._cluster.cut(int(ends[0]), int(ends[1]))

    def _isolate(self, member: str) -> None:
        self._cluster.isolate(int(member))

    def _heal(self) -> None:
        self._cluster.heal()

    def _lose(self, kind: str, link: str = "") -> None:
        if kind == "nothing":
            self.lost.clear()
            return
        sender, _, to = link.partition(">")
        self.lost.append((kind, (int(sender), int(to)) if link else None))

    def _crash(self, member: str) -> None:
        self._cluster.crash(int(member), noticed=True)

    def _restart(self, member: str) -> None:
        self._cluster.restart(int(member))

    def _disk(self, member: str, milliseconds: str) -> None:
        self._cluster.set_disk_delay(int(member), int(milliseconds) / 1000)

    def _transfer(self, leader: str, to: str) -> None:
        self._cluster.node(int(leader)).transfer_leadership(int(to), self._cluster.now)
        self._cluster.pump()

    def _add(self, member: str) -> None:
        self._cluster.add(int(member))

    def _remove(self, member: str) -> None:
        self._cluster.change(without(self._cluster.membership_now, int(member)))

    def _snapshot(self, member: str) -> None:
        self._cluster.take_snapshot(int(member))
        self._run("20")

    def _state(self) -> None:
        for member, machine in self._cluster.machines.items():
            node, log = machine.node, machine.node.log
            terms = ",".join(str(log.term_at(index)) for index in range(log.snapshot_index + 1, log.last_index + 1))
            begins = f"…{log.snapshot_index}@{log.snapshot_term} " if log.snapshot_index else ""
            role = node.soft_state.role.name.replace("_", "-") if machine.alive else "DOWN"
            voters = ",".join(map(str, sorted(node.membership.voters)))
            outgoing = ",".join(map(str, sorted(node.membership.outgoing)))
            self.lines.append(
                f"{member}: {role}, term {node.term}, vote {node.vote}, commit {node.commit}, "
                f"log {begins}{terms or '-'}, voters {voters}" + (f" and {outgoing}" if outgoing else "")
            )


if __name__ == "__main__":
    rewrite(FOLDER, Teller)
