"""Which node is to be started, and how: the command line and config.json brought together."""

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
    """A node that is to be started."""

    config: Config
    """Without a peer where there is no config.json."""
    node_id: int
    peer: Peer | None
    """Where it listens; None when that stands in its data directory alone."""
    join: Address | None = None
    """A member of the cluster that it is to join."""

    @property
    def folder(self) -> Path:
        """Its data directory."""
        return self.config.node_dir(self.node_id)


def read_config(path: Path, data_dir: str | None, *, may_miss: bool) -> Config:
    """Return what config.json says, or the defaults when it `may_miss` and does.

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
        WrongOption: it is none, or nobody could connect to it.
    """
    if text is None:
        return None
    try:
        address = Address.parse(text)
    except WrongValue as mistake:
        raise WrongOption(f"--{option}: {mistake}") from None
    if address.is_unspecified:
        raise WrongOption(f"--{option}: nobody can connect to {address}; name an address of a machine")
    return address


def plan(config: Config, node_id: int, address: Address | None, join: Address | None) -> Start:
    """Decide where a node listens: `--address`, else its entry in config.json, else what its data directory says.

    Raises:
        UnknownNode: nothing says where.
        WrongOption: it is to join, and nothing says where.
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
        config.peer(node_id)  # which raises, and names those that are listed
    return start


def resolve_address(start: Start, membership: Membership | None, seed: str | None) -> Address | None:
    """Return where the node itself is reached; None when nothing says so.

    1. What it is started with counts most, `--address` or else its entry in config.json (`plan`): nobody else knows
       better, and a node that has moved says so in this way.
    2. `membership`, the latest configuration on its disk.
    3. `seed`, the address with which it has joined, until its log says more.
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
