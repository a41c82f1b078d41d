"""Finds the addresses of the cluster's nodes: from an argument, from the environment, or from config.json."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kvraft.client.errors import InvalidRequest, NodesUnknown

NODES_VARIABLE: Final = "KVRAFT_NODES"
"""Environment variable with the addresses of the nodes, separated by commas."""
CONFIG_PATH: Final = "config.json"
_PORT_MAX: Final = 65_535
_WRITTEN: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/]+)):(\d{1,5})")


class Address(NamedTuple):
    """The host and the port of a node."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read "host:port", with an IPv6 address in brackets.

    Raises:
        InvalidRequest: the text is no address; the message says how to write one.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or not 0 < int(match[3]) <= _PORT_MAX:
        raise InvalidRequest(f'{text!r} is no address of a node; write "host:port", such as 127.0.0.1:8080')
    return Address(match[1] or match[2], int(match[3]))


def parse_nodes(nodes: str | Iterable[str]) -> tuple[Address, ...]:
    """Read addresses: a str with commas between them, or an iterable of such texts.

    Raises:
        InvalidRequest: one of them is malformed, or there is none.
    """
    texts = nodes.split(",") if isinstance(nodes, str) else nodes
    found = tuple(dict.fromkeys(parse_address(text) for text in texts if text.strip()))
    if not found:
        raise InvalidRequest("name at least one node of the cluster, such as 127.0.0.1:8080")
    return found


def find_nodes(
    nodes: str | Iterable[str] | None = None,
    environment: Mapping[str, str] | None = None,
    config: "str | os.PathLike[str]" = CONFIG_PATH,
) -> tuple[Address, ...]:
    """Return the addresses in `nodes`, else those in KVRAFT_NODES, else those in config.json.

    Raises:
        NodesUnknown: there is no config.json, or it cannot be read as one.
        InvalidRequest: an address is malformed, or the list is empty.
    """
    if nodes is not None:
        return parse_nodes(nodes)
    written = (os.environ if environment is None else environment).get(NODES_VARIABLE, "")
    if written.strip():
        return parse_nodes(written)
    try:
        # Without pathlib, whose import is a noticeable part of a program that sends one request.
        with open(config, encoding="utf-8-sig") as file:  # noqa: PTH123
            peers = json.load(file)["peers"]
        return parse_nodes([peer["address"] for peer in peers])
    except FileNotFoundError:
        raise NodesUnknown(
            f"nothing says where the cluster is: name its nodes, set {NODES_VARIABLE}=host:port,host:port, or go where "
            "its config.json is"
        ) from None
    except (KeyError, TypeError):
        raise NodesUnknown(
            f'{config} does not say where the cluster is: it has no "peers" that each have an "address"; '
            "kvraft check config tells more"
        ) from None
    except (OSError, ValueError) as error:
        raise NodesUnknown(f"{config} does not say where the cluster is: {error}") from None
