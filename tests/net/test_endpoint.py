"""A member is dialed when its name is known, at all of its addresses."""

from collections.abc import Sequence

import pytest
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface.verify import verifyObject

from kvraft.net.endpoint import ADDRESSES_PER_ATTEMPT, CONNECT_TIMEOUT_S, MemberEndpoint
from kvraft.net.names import LOOK_UP_AGAIN_S, LOOK_UP_S, Names
from kvraft.peers.link import BACKOFF_MAX_S
from tests.net.test_names import Reactor, Resolver
from tests.peers.twins import MemoryEndpoint, Node, Place, warnings

NAME = "node1.test"
TICK_S = 0.01


class Dialer:
    """A node whose peer 1 has a name."""

    def __init__(self) -> None:
        self.resolver = Resolver()
        self.reactor = Reactor()
        self.node = Node(names=Names(self.resolver), clock=self.reactor)
        self.node.peers.set_members({1: Place(NAME, 8081)})
        self.node.peers.start()

    def at(self, host: str) -> MemoryEndpoint:
        """Return an address at which the peer may be."""
        return self.node.endpoint(1, Place(host, 8081))

    def dialing(self, hosts: Sequence[str]) -> list[str]:
        """Return at which of these addresses an attempt to connect is under way."""
        return [host for host in hosts if self.at(host).dialing]

    def await_look_up(self, count: int) -> None:
        """Let time pass until so many look-ups were begun."""
        while len(self.resolver.begun) < count:
            self.node.pass_time(TICK_S)


@pytest.fixture
def dialer() -> Dialer:
    """A node that has begun to dial."""
    return Dialer()


def test_the_time_for_a_connection_begins_when_the_name_is_known(dialer: Dialer) -> None:
    """A look-up that takes longer than a connection may take is waited for, and the peer is dialed then."""
    dialer.node.pass_time(LOOK_UP_S - 0.1)
    dialer.resolver.answer(NAME, "10.0.0.1")
    dialer.node.pass_time(CONNECT_TIMEOUT_S - 0.1)
    assert dialer.at("10.0.0.1").cancelled == 0

    dialer.node.welcome(dialer.at("10.0.0.1").accept(), 1)

    assert dialer.node.peers.connected(1)
    assert dialer.resolver.begun == [NAME]


def test_a_hung_look_up_is_told_and_never_begun_twice(dialer: Dialer) -> None:
    """The peer's status says what is waited for; no other look-up of the name begins, and its answer is used."""
    with warnings() as texts:
        dialer.node.pass_time(30.0)
    assert dialer.resolver.begun == [NAME]
    assert "the look-up of the name node1.test has not ended within 3 s" in str(
        dialer.node.peers.status()[1].last_refusal
    )
    assert len(texts) == 1

    dialer.resolver.answer(NAME, "10.0.0.1")
    dialer.node.pass_time(BACKOFF_MAX_S + LOOK_UP_AGAIN_S + 2 * TICK_S)

    assert dialer.at("10.0.0.1").dialed_at


def test_the_end_does_not_wait_for_a_look_up(dialer: Dialer) -> None:
    """Stopping while a look-up hangs ends at once; its answer changes nothing."""
    ended: list[None] = []

    dialer.node.peers.stop().addCallback(ended.append)

    assert ended == [None]
    assert dialer.reactor.getDelayedCalls() == []
    dialer.resolver.answer(NAME, "10.0.0.1")
    assert not dialer.at("10.0.0.1").dialing


def test_the_addresses_of_a_name_are_dialed_one_after_the_other(dialer: Dialer) -> None:
    """One that refuses gives way to the next at once, one that does not answer after `CONNECT_TIMEOUT_S`."""
    hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    dialer.resolver.answer(NAME, *hosts)
    assert dialer.dialing(hosts) == ["10.0.0.1"]

    dialer.at("10.0.0.1").refuse()
    assert dialer.dialing(hosts) == ["10.0.0.2"]

    dialer.node.pass_time(CONNECT_TIMEOUT_S)
    assert dialer.at("10.0.0.2").cancelled == 1
    assert dialer.dialing(hosts) == ["10.0.0.3"]

    dialer.at("10.0.0.3").refuse()
    assert dialer.dialing(hosts) == []
    refusal = str(dialer.node.peers.status()[1].last_refusal)
    assert "10.0.0.1: Connection was refused by other side: nobody listens" in refusal
    assert "10.0.0.2: no answer within 1 s" in refusal


def test_each_attempt_begins_at_another_address(dialer: Dialer) -> None:
    """What listens at the first one may be another program, with which there is no talking."""
    hosts = ["10.0.0.1", "10.0.0.2"]
    dialer.resolver.answer(NAME, *hosts)
    dialer.at("10.0.0.1").accept().lose()
    dialer.await_look_up(2)

    dialer.resolver.answer(NAME, *hosts)

    assert dialer.dialing(hosts) == ["10.0.0.2"]


def test_an_attempt_tries_so_many_addresses_and_the_next_one_the_others(dialer: Dialer) -> None:
    """A name with very many addresses does not keep an attempt going for very long."""
    hosts = [f"10.0.0.{number}" for number in range(ADDRESSES_PER_ATTEMPT + 2)]
    dialer.resolver.answer(NAME, *hosts)
    for host in hosts[:ADDRESSES_PER_ATTEMPT]:
        dialer.at(host).refuse()
    assert dialer.dialing(hosts) == []
    dialer.await_look_up(2)

    dialer.resolver.answer(NAME, *hosts)

    assert dialer.dialing(hosts) == [hosts[ADDRESSES_PER_ATTEMPT]]


def test_a_name_that_is_gone_is_dialed_where_it_was(dialer: Dialer) -> None:
    """The last known address is used, and what is said when it does not answer names the look-up."""
    dialer.resolver.answer(NAME, "10.0.0.1")
    dialer.at("10.0.0.1").refuse()
    dialer.await_look_up(2)
    dialer.resolver.fail(NAME)

    dialer.at("10.0.0.1").refuse()

    refusal = str(dialer.node.peers.status()[1].last_refusal)
    assert "these are the last known addresses, since there is no node1.test" in refusal


def test_it_is_an_endpoint() -> None:
    """The link uses it as any other."""
    endpoint = MemberEndpoint(Reactor(), "10.0.0.1", 8081, Names(), lambda _, address: MemoryEndpoint(Reactor()))
    assert verifyObject(IStreamClientEndpoint, endpoint)
