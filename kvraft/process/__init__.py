"""One node as a process: how it is told to start, put together, run as a service, and ended.

`start` brings the command line and config.json together, `assembly` puts the parts of a node together, and `service` is
what `twistd kvraft` runs. `joining` adds a node to a running cluster or tells it a new address, `config_drift` says
where config.json differs from the log. `daemon` runs a node in the background, `logs` lays its log out, and `exits`
ends the process.
"""
