"""A process that is to serve HTTP, and cannot."""

import socket
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kvraft.config import Address, Config, Peer
from kvraft.process import exits
from kvraft.process.service import NodeService
from kvraft.process.start import plan


def test_a_taken_port_for_http_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says what it was for, and which key of config.json can name another."""

    def leave(status: int, why: str) -> None:
        raise SystemExit(f"{status}: {why}")

    monkeypatch.setattr(exits, "leave", leave)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = Address(*taken.getsockname())
        config = Config((Peer(0, Address("127.0.0.1", 8080), http=http),), data_dir=tmp_path / "data")
        service = NodeService(plan(config, 0, None, None), Clock())
        with pytest.raises(SystemExit, match=f"71: node 0 cannot listen on {http} for HTTP: .*is it running already"):
            service._bind(http, "http")
    with pytest.raises(SystemExit, match='let "http" in the node'):
        service._bind(Address("192.0.2.1", 9080), "http")
