"""A process that is to serve HTTP, and cannot."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from twisted.internet.task import Clock

from kvraft.config import Address, Config, Peer
from kvraft.net.listen import listen_on
from kvraft.net.names import Names
from kvraft.process import exits
from kvraft.process.service import NodeService
from kvraft.process.start import plan

HERE: Final = Address("127.0.0.1", 8080)


def test_a_taken_port_for_http_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says what it was for, and which key of config.json can name another."""

    def leave(status: int, why: str) -> None:
        raise SystemExit(f"{status}: {why}")

    def start(http: Address) -> None:
        config = Config((Peer(0, HERE, http=http),), data_dir=tmp_path / "data")
        NodeService(plan(config, 0, None, None), Clock()).startService()

    monkeypatch.setattr(exits, "leave", leave)
    monkeypatch.setattr("kvraft.process.service.listen_on", listen_on_all_but(HERE))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = Address(*taken.getsockname())
        with pytest.raises(SystemExit, match=f"71: node 0 cannot listen on {http} for HTTP: .*is it running already"):
            start(http)
    with pytest.raises(SystemExit, match='let "http" in the node'):
        start(Address("192.0.2.1", 9080))


def listen_on_all_but(address: Address) -> Callable[[Address, Names], list[socket.socket]]:
    """Return what listens on an address that is given to it; on this one it only pretends to."""
    return lambda where, names: [] if where == address else listen_on(where, names)
