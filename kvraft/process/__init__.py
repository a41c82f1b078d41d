"""One node as a process: its options, its assembly, its service, and its end.

`start` combines the command line and config.json, `assembly` builds the parts of a node, and `service` is what
`twistd kvraft` runs. `join` adds a node to a running cluster and keeps the members it got in its `seed`, `move` reports
a new address to the cluster; both `ask` members over the line protocol. `config_drift` reports where config.json
differs from the log. `daemon` runs a node in the background, `logs` formats its log, and `exits` ends the process.
"""
