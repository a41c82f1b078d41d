"""Which node to start, and how: combines the command line and config.json."""

from pathlib import Path
from typing import Final

import attrs

from kvraft.config import Address, Config, Peer, WrongValue, load
from kvraft.config.values import ID_MAX
from kvraft.raft import Membership


class WrongOption(Exception):
    """An option of the command line makes no sense; the text says why."""


@attrs.frozen
class Start:
    """A node to start."""

    config: Config
    """Without a peer where there is no config.json."""
    node_id: int
    peer: Peer | None
    """Its addresses; None when only its data directory holds its address."""
    join: Address | None = None
    """A member of the cluster to join."""

    @property
    def folder(self) -> Path:
        """Its data directory."""
        return self.config.node_dir(self.node_id)


def read_config(path: Path, data_dir: str | None, *, may_miss: bool) -> Config:
    """Return the content of config.json, or the defaults when it `may_miss` and does not exist.

    Raises:
        ConfigError: it cannot be used.
    """
    is_missing = may_miss and not path.exists()
    config = Config(peers=(), data_dir=path.parent / "data") if is_missing else load(path)
    return config if data_dir is None else attrs.evolve(config, data_dir=Path(data_dir).absolute())


def read_id(text: str | None, config: Config) -> int:
    """Return the node's id.

    Raises:
        WrongOption: it is none.
    """
    ids = ", ".join(str(peer.id) for peer in config.peers)
    if text is None:
        raise WrongOption(f"say which node this is: --id with one of {ids}" if ids else "say which node this is: --id")
    if not text.isdecimal() or int(text) > ID_MAX:
        raise WrongOption(f"--id {text!r} is no number; it must be one of {ids}" if ids else f"--id {text!r} is no id")
    return int(text)


def read_address(option: str, text: str | None) -> Address | None:
    """Return the address that an option names.

    Raises:
        WrongOption: it is none, or no other machine could connect to it.
    """
    if text is None:
        return None
    try:
        address = Address.parse(text)
    except WrongValue as mistake:
        raise WrongOption(f"--{option}: {mistake}") from None
    if address.is_unspecified:
        raise WrongOption(f"--{option}: no node can connect to {address}; name an address of a machine")
    return address


def plan(config: Config, node_id: int, address: Address | None, join: Address | None) -> Start:
    """Choose a node's address: `--address`, else its entry in config.json, else the one in its data directory.

    Raises:
        UnknownNode: there is none of them.
        WrongOption: the node is to join, and there is none of them.
    """
    listed = {peer.id: peer for peer in config.peers}.get(node_id)
    if address is not None:
        bind = listed.bind if listed is not None and listed.address == address else None
        http = listed.http if listed is not None else None
        return Start(config, node_id, Peer(node_id, address, bind, http), join)
    start = Start(config, node_id, listed, join)
    if listed is None and not has_data(start.folder):
        if join is not None:
            raise WrongOption(
                f"say where node {node_id} is reached: --address HOST:PORT, since config.json does not list it"
            )
        config.peer(node_id)  # which raises, with the ids that are listed
    return start


def resolve_address(start: Start, membership: Membership | None, seed: str | None) -> Address | None:
    """Return the address at which other nodes reach this one; None when there is none.

    In order of precedence:

    1. `--address`, or else its entry in config.json (`plan`): this is how an operator moves a node.
    2. Its address in `membership`, the latest configuration on its disk.
    3. `seed`, the address with which it has joined, until its log has a configuration.
    """
    if start.peer is not None:
        return start.peer.address
    known = membership.addresses.get(start.node_id) if membership is not None else None
    place = seed if known is None else known
    return None if place is None else Address.parse(place)


SEGMENTS: Final = "segment-*"


def has_data(folder: Path) -> bool:
    """Whether a node has run with this data directory."""
    return any(folder.glob(SEGMENTS))
