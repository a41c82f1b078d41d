"""A node listens on every address of this machine that its name stands for, and on nothing else."""

import errno
import os
import socket
from collections.abc import Callable, Generator

import pytest

from kvraft.config import Address
from kvraft.net.listen import advice, listen_on
from kvraft.net.names import Done, LookUpFailed, Names
from tests.e2e.processes import free_ports

ELSEWHERE = "192.0.2.1"
"""An address for documents, which no machine has."""
HERE = "127.0.0.1"
ALSO_HERE = "127.0.0.2"

Listen = Callable[..., list[tuple[str, int]]]


@pytest.fixture
def port() -> int:
    """A port on which nothing listens."""
    return free_ports(1)[0]


@pytest.fixture
def listen() -> Generator[Listen]:
    """Listen on a name that stands for some hosts, and return where; all is closed when the test ends."""
    sockets: list[socket.socket] = []

    def listen(port: int, *hosts: str) -> list[tuple[str, int]]:
        names = Names(lambda _, done: done(hosts or LookUpFailed("there is no node.test")))
        sockets.extend(listen_on(Address("node.test", port), names))
        return [each.getsockname()[:2] for each in sockets]

    yield listen
    for each in sockets:
        each.close()


def test_all_addresses_of_a_name_are_listened_to(listen: Listen, port: int) -> None:
    """Clients that take any of them reach the node."""
    assert listen(port, HERE, ALSO_HERE) == [(HERE, port), (ALSO_HERE, port)]
    for host in (HERE, ALSO_HERE):
        socket.create_connection((host, port)).close()


def test_addresses_of_other_machines_are_left_out(listen: Listen, port: int) -> None:
    """A name may stand for several machines, whichever comes first."""
    assert listen(port, ELSEWHERE, HERE) == [(HERE, port)]


def test_a_name_of_another_machine_cannot_be_bound(listen: Listen, port: int) -> None:
    """The error says that none of its addresses is this machine's."""
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)) as raised:
        listen(port, ELSEWHERE)
    assert "this machine has no such address" in advice(raised.value)


def test_an_address_that_is_taken_is_not_left_out(listen: Listen, port: int) -> None:
    """Another program would answer there; nothing stays open."""
    with socket.create_server((ALSO_HERE, port)):
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)) as raised:
            listen(port, HERE, ALSO_HERE)
        assert "is it running already" in advice(raised.value)
        socket.create_server((HERE, port)).close()


def test_a_name_that_is_not_found(listen: Listen, port: int) -> None:
    """The advice names the setting that needs no look-up."""
    with pytest.raises(LookUpFailed) as raised:
        listen(port)
    assert '"bind"' in advice(raised.value)


def test_both_families_of_a_name_share_the_port(listen: Listen, port: int) -> None:
    """The socket for IPv6 leaves IPv4 to the other one, also where both stand for every interface."""
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert listen(port, "::", "0.0.0.0") == [("::", port), ("0.0.0.0", port)]


def test_an_address_needs_no_look_up(port: int) -> None:
    """It is bound as it stands; IPv6's "any" alone serves IPv4 as well, as it always did."""

    def begin(name: str, _done: Done) -> None:
        raise AssertionError(f"{name} is looked up")

    host = "::" if _has_ipv6() else HERE
    (listening,) = listen_on(Address(host, port), Names(begin))
    with listening:
        assert listening.getsockname()[:2] == (host, port)
        socket.create_connection((HERE, port)).close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
