#!/bin/sh
# Automat 25.4.16: an input that comes from an output is handled before the other outputs by one interface of two.
#
# A good guess: a state machine ends one transition before it begins the next. An input that comes while the outputs of
# a transition run waits until all of them have run, as in UML, and both interfaces of the package do the same.
# What happens: with MethodicalMachine the state is the new one before the first output runs, and an input from within
# an output is handled on the spot: its outputs run, and then the rest of those of the first transition. A candidate
# that wins at once logs "leader" first and "candidate" after it, and what the last output sets stays. With
# TypeMachineBuilder the input waits until the method has ended. No error is raised in either.
# Why it matters: in Raft a node that is alone wins while it asks for votes; with others, the answer comes later through
# the network. Only the case of one node, or of a fake that answers at once, runs the outputs in the wrong order, and
# leaves the timers or the role of the state before: here "candidate" in the role of a leader. Let the output that may
# give an input be the last one, or give it in the next turn of the reactor. When you change over from one interface to
# the other, the order of effects changes too.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check Automat==25.4.16
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from typing import Protocol

from automat import MethodicalMachine, TypeMachineBuilder


class Methodical:
    machine = MethodicalMachine()

    def __init__(self, peers):
        self.peers, self.log, self.role = peers, [], None

    @machine.state(initial=True)
    def follower(self):
        """Waits for a leader."""

    @machine.state()
    def candidate(self):
        """Asks for votes."""

    @machine.state()
    def leader(self):
        """Has a majority."""

    @machine.input()
    def time_out(self):
        """No leader was heard."""

    @machine.input()
    def win(self):
        """A majority has voted for this node."""

    @machine.output()
    def ask_for_votes(self):
        self.log.append("asks")
        if not self.peers:
            self.win()

    @machine.output()
    def become_candidate(self):
        self.log.append("candidate")
        self.role = "candidate"

    @machine.output()
    def become_leader(self):
        self.log.append("leader")
        self.role = "leader"

    follower.upon(time_out, enter=candidate, outputs=[ask_for_votes, become_candidate])
    candidate.upon(win, enter=leader, outputs=[become_leader])


class Inputs(Protocol):
    def time_out(self) -> None: ...
    def win(self) -> None: ...


class Core:
    def __init__(self, peers):
        self.peers, self.log, self.role = peers, [], None


builder = TypeMachineBuilder(Inputs, Core)
follower, candidate, leader = map(builder.state, ("follower", "candidate", "leader"))


@follower.upon(Inputs.time_out).to(candidate)
def start(inputs: Inputs, core: Core) -> None:
    core.log.append("asks")
    if not core.peers:
        inputs.win()
    core.log.append("candidate")
    core.role = "candidate"


@candidate.upon(Inputs.win).to(leader)
def lead(inputs: Inputs, core: Core) -> None:
    core.log.append("leader")
    core.role = "leader"


def methodical(peers):
    node = Methodical(peers)
    node.time_out()
    if peers:
        node.win()
    return node.log, node.role


make_node = builder.build()


def typed(peers):
    core = Core(peers)
    node = make_node(core)
    node.time_out()
    if peers:
        node.win()
    return core.log, core.role


seen = [methodical(["b", "c"]), methodical([]), typed(["b", "c"]), typed([])]
print(f"Automat {version('Automat')}; the role is that at the end, when the state is leader in all four")
for name, (log, role) in zip(("MethodicalMachine, votes of others", "MethodicalMachine, alone",
                              "TypeMachineBuilder, votes of others", "TypeMachineBuilder, alone"), seen):
    print(f"  {name}: {', '.join(log)}; role: {role}")
right = ["asks", "candidate", "leader"], "leader"
sys.exit(seen != [right, (["asks", "leader", "candidate"], "candidate"), right, right])
PY
