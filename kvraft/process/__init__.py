"""One node as a process: how it is told to start, put together, run as a service, and ended.

`start` brings the command line and config.json together, `assembly` puts the parts of a node together, and `service` is
what `twistd kvraft` runs. `join` adds a node to a running cluster and keeps what it was told in its `seed`, `move`
tells the cluster a new address; both `ask` members over the line protocol. `config_drift` says where config.json
differs from the log. `daemon` runs a node in the background, `logs` lays its log out, and `exits` ends the process.
"""
