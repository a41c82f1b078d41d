"""HTTP: for curl, for browsers and for everything that speaks nothing else; one more translation of the database.

A request takes this way::

    bytes ─ port ─ channel ─ request ─ site ─ routes ─ call ── Database.ask ──╮
                                                                              │
    bytes ─────────── channel ─ request ──────── answers ────────── results ──╯

`port` counts its clients with those of the node's other port, `channel` bounds what one connection may cost, `request`
turns away what a web page elsewhere makes a browser send (`names`). `routes` says what can be called, and each of
`keys`, `status` and so on has the routes of one thing; `openapi.json` is made of them. `stream` is an answer that goes
on: server-sent events.

Nothing here is imported but by the process that listens, and Twisted's web server by nothing else.
"""
