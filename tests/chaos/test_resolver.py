"""The names of the stand-in for the resolver, in the process of the test."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from kvraft.chaos.resolver import POLL_S, Name, stand_in, write_names

DELAY_S = 0.2
PATIENCE_S = 10.0


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of names that count in this process while the test runs."""
    path = tmp_path / "names.json"
    write_names(path, {})
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # so that it is put back
    stand_in(path)
    yield path
    write_names(path, {})


def hosts(name: str) -> list[str]:
    """Look a name up."""
    return [str(where[0]) for *_, where in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)]


def test_a_name_stands_for_its_hosts(names: Path) -> None:
    """In their order; what the file does not name is looked up as always."""
    write_names(names, {"node.test": Name(["127.0.0.2", "127.0.0.1"]), "gone.test": Name([])})

    assert hosts("node.test") == ["127.0.0.2", "127.0.0.1"]
    assert hosts("127.0.0.1") == ["127.0.0.1"]
    with pytest.raises(socket.gaierror):
        hosts("gone.test")


def test_a_slow_name(names: Path) -> None:
    """It takes as long as the file says."""
    write_names(names, {"node.test": Name(["127.0.0.1"], DELAY_S)})
    began = time.monotonic()

    hosts("node.test")

    assert time.monotonic() - began >= DELAY_S


def test_a_name_that_hangs_until_it_is_mended(names: Path) -> None:
    """The look-up that hangs ends then."""
    write_names(names, {"node.test": Name(["127.0.0.1"], hangs=True)})
    found: list[str] = []
    hanging = Thread(target=lambda: found.extend(hosts("node.test")))
    hanging.start()
    time.sleep(3 * POLL_S)
    assert found == []

    write_names(names, {"node.test": Name(["127.0.0.1"])})
    hanging.join(PATIENCE_S)

    assert found == ["127.0.0.1"]
