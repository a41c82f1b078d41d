"""Real nodes, clients and faults, judged by the checker of the simulator: `make chaos`.

The simulation covers more and runs faster, on a simulated network and disk. This package shows that its results hold
for processes, kernels, sockets and files: `twistd` is started as people start it, clients use the line protocol over
TCP, and meanwhile nodes are killed, paused and cut off from each other. All requests and answers of all clients form a
history, which must be linearizable up to the last acknowledged write; all keys are read back at the end.

* `nodes` - the processes: starts, kills, pauses, stops, and finally ends all of them.
* `proxy` - every connection goes through it, so that each direction between two nodes can be cut, held up or slowed.
* `resolver` - looks up the names of the nodes, so that a look-up can be slow or hang.
* `disk` - a disk whose syncs can be slowed down.
* `twistd` - starts a node with both.
* `pipes` - one direction of a connection inside the proxy.
* `connection` - one client's connection on the line protocol.
* `clients` - the requests of the clients, and the record of their answers.
* `faults` - the faults, and their order for a seed.
* `observer` - asks the nodes: which one leads, which ones are alive, whether their states are equal.
* `run` - one run, from the start to the verdict.

The seed decides the faults, their times and the requests of the clients; processes and kernels decide the rest. So a
seed repeats the kind of a run and not the run itself: the history is kept as evidence.

Not done: no fault loses unsynced writes (after kill -9 they are still in the page cache), and no clock jumps. The
simulation covers both.
"""
