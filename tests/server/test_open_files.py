"""How many clients a node admits, by how many files its process may open."""

import resource

import pytest

from kvraft.peers.acceptor import STRANGERS_MAX
from kvraft.server import ServerLimits
from kvraft.server.open_files import FILES_A_MEMBER, MEMBERS_SPARE, NO_LIMIT, OWN_FILES, allow_open_files, within

MEMBERS = 3
RESERVE = OWN_FILES + STRANGERS_MAX + FILES_A_MEMBER * (MEMBERS + MEMBERS_SPARE)
WANTED = ServerLimits(clients=10_000, silent=1024)


def test_a_node_may_open_as_many_files_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit, as a rule 1,024, would refuse clients long before the configured limit does."""
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 65536))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    assert allow_open_files() == 65536
    assert limits == [(resource.RLIMIT_NOFILE, (65536, 65536))]


@pytest.mark.parametrize("files", [RESERVE + 8, 256, 1024, 4096])
def test_clients_get_what_nothing_else_needs(files: int) -> None:
    """Clients, silent connections and the reserve together are never more than the process may open."""
    limits = within(files, MEMBERS, WANTED)
    assert limits.clients + limits.silent + RESERVE == files
    assert limits.connections is not None
    assert limits.connections >= limits.clients + limits.silent + STRANGERS_MAX + 2 * MEMBERS
    assert limits.connections + OWN_FILES + 2 * MEMBERS <= files


@pytest.mark.parametrize("files", [65536, NO_LIMIT])
def test_a_large_limit_changes_nothing(files: int) -> None:
    """Where there are files for all of them, as many clients are admitted as are configured."""
    limits = within(files, MEMBERS, WANTED)
    assert (limits.clients, limits.silent) == (WANTED.clients, WANTED.silent)


def test_one_client_is_admitted_whatever_the_limit_is() -> None:
    """With hardly any files a node still answers one client: somebody must be able to ask it what is wrong."""
    assert within(10, MEMBERS, WANTED).clients == 1
