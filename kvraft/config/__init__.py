"""Reads config.json: checks the whole of it and reports every mistake at once, each with its place and a remedy.

The smallest file names the members of the cluster, and everything else has a default (`values`)::

    {"peers": [{"id": 0, "address": "127.0.0.1:8080"}, {"id": 1, "address": "127.0.0.1:8081"}]}

`file` reads the bytes and parses them, `structure` turns JSON into values, `explain` puts into words what it refused,
and `contradictions` compares what is right by itself and wrong together.
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
