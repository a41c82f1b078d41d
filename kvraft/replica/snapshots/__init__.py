"""Snapshots in the replica: created, sent to a member that needs one, received there and installed (§7).

The replica uses `snapshotter`, which holds the others. `create` takes a snapshot of the store and compacts the log,
`send` and `receive` carry it to another member, `install` replaces log and store by it, and `context` is what they all
need of the replica.
"""
