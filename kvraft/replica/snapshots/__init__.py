"""The life of a snapshot in the replica: created, sent to a member that needs it, received there and installed (§7).

`snapshotter` is what the replica sees: it brings the others together. `create` takes a snapshot of the store and
shortens the log, `send` and `receive` carry it to another member, `install` puts it in the place of log and store, and
`context` is what they all need of the replica.
"""
