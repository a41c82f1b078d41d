"""Whole clusters in one thread, on a virtual clock, network and disk, driven by one seed.

What runs here is the production code of a node, all of it: the core, the replica, the journal and the snapshots, the
store, the frames between peers and the protocols of clients. Only what it stands on is replaced. Nothing waits, so a
minute of a cluster's life costs about a second; and the same seed gives the same run to the byte, so a bug that one
seed in ten thousand shows can be looked at as often as one likes, with a trace::

    python -m kvraft.simulation --seed 7 --trace

==================  ==================================================================================================
world               virtual time: one queue of events, one seed
machine             a machine's clocks, and its process, which can be stopped between any two of its effects
network, transport  streams between machines, and what can happen to links
disk, jobs          files that lose what was not synced; jobs that take time
member              one node: a machine, a disk, and production code
cluster             `Cluster`: nodes, a network, and virtual time that passes only on request
clients             clients of the line protocol
nemesis, operator   faults and their healing, and the commands of an operator
faults              what goes wrong, and `faults_of_links`
workload            what clients do in a random run, and write down; others are `data_client`, `expiry_client`,
                    and `watch_client`
replay              the log as answers are judged by it; `revisions` and `watched` judge
history             what they wrote down
linearizability     whether a register explains it; `explanation` says where it does not, `check` reads a kept history
checks              what must hold after every event, looked at from outside
run, many           one random run from its seed to its verdict, and many on all cores
==================  ==================================================================================================

`Cluster` is meant for you too: to try what your own client code does while a leader dies, in virtual time. The tutorial
is docs/simulation.md.

What is not simulated: threads (a job of the disk happens in one go, though a process can end inside it), the kernel's
buffers beyond a window a connection, and anything that lies: disks that say a sync is done which is not, machines that
send what the code would not.
"""

from kvraft.simulation.cluster import Cluster, Stuck

__all__ = ["Cluster", "Stuck"]
