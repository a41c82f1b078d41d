"""Real nodes, real clients and real harm, judged by the checker of the simulator: `make chaos`.

The simulation proves more and faster, on a network and a disk of its own making. This here proves that what it says is
true of processes, kernels, sockets and files: `twistd` is started as people start it, clients speak the line protocol
over TCP, and meanwhile nodes are killed, paused and cut off from each other. What every client asked and was told is
kept as a history and must be linearizable, to the last acknowledged write, which is read back at the end.

* `nodes` - the processes: started, killed, paused, stopped, and never left behind.
* `proxy` - every connection goes through it, so that each way between two nodes can be cut, held up or slowed down.
* `resolver` - the names by which the nodes know each other, so that their look-up can be slow or hang.
* `disk` - a disk whose syncs can be slowed down.
* `twistd` - starts a node with both.
* `pipes` - one connection inside it, in both directions.
* `connection` - one client's connection on the line protocol.
* `clients` - what clients do all the time, and what they note of it.
* `faults` - the harm, and the order in which a seed does it.
* `observer` - asks the nodes themselves: who leads, who is alive, do they hold the same.
* `run` - all of it, from the start to the verdict.

The seed decides which harm is done and when, and what the clients ask; processes and kernels decide the rest. So a seed
repeats the kind of a run and not the run: what is kept for proof is the history.

Not done: nothing here loses what was not synced (kill -9 leaves it in the page cache), and no clock jumps. Both are the
simulation's.
"""
