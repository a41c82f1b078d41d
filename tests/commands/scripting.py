"""Golden scripts: the requests and answers of clients of a cluster, line by line, to be read like a story.

A script in tests/commands/scripts/ consists of steps: one command, a line of dashes, and what came of it::

    ann: LEASE GRANT 5
    ----
    ann ← {"lease":1,"ttl":5.0}

`python -m tests.commands.scripting` writes what comes of the commands now; read the difference before it is committed.

==============================  ======================================================================================
`ann: SET a 1`                  the client ann sends a line to the leader, on its own connection
`ann at a follower: GET a`      to a node that follows
`pass 2.5`                      so many seconds pass; the answers meanwhile are shown
`kill the leader`               its process ends, another takes over; the clients of the old one connect to the new one
                                at their next line
`restart it`                    the process that was killed runs again
`keys`                          how many keys each running member holds
==============================  ======================================================================================

The cluster is one of three production replicas on a virtual clock (`tests.replica.cluster`), and the clients speak the
line protocol.
"""

from pathlib import Path
from typing import Final

from kvraft.server import LineProtocol, ServerLimits
from kvraft.store import FEATURE_LEVEL
from tests.golden import RULE, rewrite
from tests.replica.cluster import Cluster
from tests.server.twins import ClientTransport

FOLDER: Final = Path(__file__).parent / "scripts"
ANSWERED_S: Final = 0.06
"""So long after a line what has come is shown, seconds: an expired key is removed by then too."""
FOLLOWER: Final = " at a follower"


class Client:
    """One connection to one member."""

    def __init__(self, cluster: Cluster, member: int) -> None:
        self.member = member
        self.epoch = cluster.epochs[member]
        self.transport = ClientTransport()
        self._protocol = LineProtocol(cluster.members[member].replica.intake, ServerLimits(), cluster.clock)
        self._protocol.makeConnection(self.transport)
        self.send("KEEP")
        assert self.read() == ['{"status":"OK"}'], "the connection does not stay"

    def send(self, line: str) -> None:
        """Send a line."""
        self._protocol.dataReceived(line.encode() + b"\n")

    def read(self) -> list[str]:
        """Return the lines that have come."""
        written = self.transport.written()
        self.transport.writes.clear()
        return written.decode().splitlines()


class Teller:
    """Carries out the commands of one script."""

    def __init__(self) -> None:
        self._cluster = cluster = Cluster()
        self._clients: dict[str, Client] = {}
        self._killed: list[int] = []
        cluster.settle()
        cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))

    def do(self, command: str) -> list[str]:
        """Carry out one command; return the rule and what came of it."""
        cluster = self._cluster
        who, colon, line = command.partition(": ")
        if colon:
            self._client(who).send(line)
            cluster.run(ANSWERED_S)
            return [RULE, *self._heard()]
        match command.split():
            case ["pass", seconds]:
                cluster.run(float(seconds))
                return [RULE, *self._heard()]
            case ["kill", "the", "leader"]:
                leader = cluster.settle()
                cluster.kill(leader)
                self._killed.append(leader)
                cluster.await_other_leader(leader)
                cluster.settle()
                return [RULE, f"node {leader} was killed, and node {cluster.leader} leads"]
            case ["restart", "it"]:
                cluster.restart(self._killed.pop())
                cluster.settle()
                return [RULE]
            case ["keys"]:
                return [RULE, ", ".join(str(member.store.key_count) for member in cluster.running)]
        raise ValueError(f"{command!r} is no command of a script")

    def _client(self, who: str) -> Client:
        cluster = self._cluster
        name = who.removesuffix(FOLLOWER)
        leader = cluster.settle()
        client = self._clients.get(name)
        is_there = client is not None and cluster.epochs[client.member] == client.epoch
        if client is None or not is_there or (client.member == leader) is not (name == who):
            client = self._clients[name] = Client(cluster, leader if name == who else cluster.followers()[0])
        return client

    def _heard(self) -> list[str]:
        return [f"{name} ← {line}" for name, client in self._clients.items() for line in client.read()]


if __name__ == "__main__":
    rewrite(FOLDER, Teller)
