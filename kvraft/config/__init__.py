"""Reads config.json: checks the whole file and reports every mistake at once, each with its place and a remedy.

The smallest file lists the members of the cluster; everything else has a default (`values`)::

    {"peers": [{"id": 0, "address": "127.0.0.1:8080"}, {"id": 1, "address": "127.0.0.1:8081"}]}

`file` reads the bytes and parses the JSON. `structure` converts JSON to values. `explain` turns the errors of
`structure` into messages. `contradictions` finds settings that are each valid but contradict each other.
"""

from kvraft.config.address import Address
from kvraft.config.errors import ConfigError, ConfigInvalid, Mistake, UnknownNode, WrongValue
from kvraft.config.file import load
from kvraft.config.values import Config, Durability, History, Limits, OnFollower, Peer

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "ConfigInvalid",
    "Durability",
    "History",
    "Limits",
    "Mistake",
    "OnFollower",
    "Peer",
    "UnknownNode",
    "WrongValue",
    "load",
]
