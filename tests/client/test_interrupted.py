"""The blocking client in programs that fork, whose calls are interrupted by signals, or that only look for events."""

import contextlib
import os
import signal
import socket
import warnings
from collections.abc import Callable
from typing import Any, Final

import pytest

from kvraft.client import Client, InvalidRequest, OutcomeUnknown, Unavailable, Watch
from kvraft.client.channel import Channel
from kvraft.client.following import Following
from tests.client.fake import FakeNode, event, fake_nodes


def in_a_child(do: Callable[[], str]) -> str:
    """Fork, and return the text that the child has made."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn, since the nodes are threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits for ever
        try:
            os.write(writer, do().encode())
        except BaseException as error:  # noqa: BLE001 - the child must not run the rest of the tests
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told


class Interrupted:
    """A socket whose sends raise after they have sent, as the handler of Ctrl-C does, while `is_armed`."""

    is_armed = False

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self._connection = _connect(address, timeout)

    def send(self, data: memoryview) -> int:
        """Send, and raise."""
        sent = self._connection.send(data)
        if Interrupted.is_armed:
            Interrupted.is_armed = False
            raise KeyboardInterrupt
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


_connect: Final = socket.create_connection


def raise_interrupt(*_: object) -> None:
    """Raise as the handler of Ctrl-C does."""
    raise KeyboardInterrupt


# --- fork ------------------------------------------------------------------------------------------------------------


def test_a_child_has_a_connection_and_numbers_of_its_own() -> None:
    """Each write of both is carried out: under the parent's numbers the node would take some for repeated."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.incr("n")
        connections = node.accepted
        told = in_a_child(lambda: f"{client.incr('n', 10)} {client.get('n')!r}")
        assert told == "11 b'11'"
        assert client.incr("n", 100) == 111
        assert node.accepted == connections + 1


def test_a_child_does_not_get_the_results_of_its_parent() -> None:
    """What the parent has asked is the parent's; the child may ask anew."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("a", "1")
        with client.batch() as batch:
            read, written = batch.get("a"), batch.incr("n")

            def fail() -> str:
                with pytest.raises(Unavailable):
                    read.result()
                with pytest.raises(OutcomeUnknown):
                    written.result()
                return "failed"

            assert in_a_child(fail) == "failed"
        assert (read.result(), written.result()) == (b"1", 1)


def test_a_client_that_is_closed_stays_closed_in_a_child() -> None:
    """As in the parent."""
    with fake_nodes() as (node,):
        client = Client(node.address)
        client.close()
        assert "ClientClosed" in in_a_child(lambda: str(client.get("a")))


def test_a_child_does_not_release_the_lock_of_its_parent() -> None:
    """For the child it is lost, and the end of its block leaves it to the parent."""
    with fake_nodes() as (node,), Client(node.address) as client:
        lock = client.lock("job")
        with lock:

            def leave() -> str:
                is_held, is_lost = lock.is_held, lock.lost.is_set()
                lock.__exit__(None, None, None)
                return f"{is_held} {is_lost}"

            assert in_a_child(leave) == "False True"
            assert node.locks == {b"job": 1}
            assert lock.is_held
        assert node.locks == {}


def test_parent_and_child_each_see_every_event() -> None:
    """The child continues the watch on a connection of its own."""
    with fake_nodes() as (node,), Client(node.address) as client, client.watch("k") as watch:
        node.tell(event(1))
        assert next(watch).revision == 1

        def wait() -> str:
            assert watch.take(timeout_s=0.05) is None
            client.set("ready", "1")
            return str(next(watch).revision)

        def tell(line: bytes) -> None:
            if b"ready" in line:
                node.tell(event(2))

        node.before = tell
        assert in_a_child(wait) == "2"
        assert next(watch).revision == 2


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_an_answer_is_never_taken_for_that_of_another_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a signal has interrupted a call right after it had sent its request."""
    monkeypatch.setattr("kvraft.client.blocking_driver.socket.create_connection", Interrupted)
    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("a", "1")
        client.set("b", "2")
        Interrupted.is_armed = True
        with pytest.raises(KeyboardInterrupt):
            client.get("a")
        assert [client.get("b"), client.get("a")] == [b"2", b"1"]


def test_what_waited_for_an_interrupted_call_ends() -> None:
    """Of a write it says that it may have happened; it does not wait for ever."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("a", "1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Channel, "received", raise_interrupt)
            with contextlib.suppress(KeyboardInterrupt), client.batch() as batch:
                read, written = batch.get("a"), batch.incr("n")
        assert client.get("a") == b"1"
        with pytest.raises(Unavailable):
            read.result()
        with pytest.raises(OutcomeUnknown):
            written.result()


class InterruptedPoll:
    """A wait that is interrupted."""

    def register(self, *_: object) -> None:
        """Do nothing."""

    poll = staticmethod(raise_interrupt)


def test_an_interrupted_wait_keeps_the_connection() -> None:
    """While a call only waits for the node, nothing is lost with it."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("a", "1")
        client.set("b", "2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kvraft.client.blocking_driver.select.poll", InterruptedPoll)
            with pytest.raises(KeyboardInterrupt):
                client.get("a")
        assert client.get("b") == b"2"
        assert node.accepted == 1


def test_a_handler_cannot_use_the_client_that_it_has_interrupted() -> None:
    """In the middle of a step it is told so, and the call that was interrupted goes on."""
    received = Channel.received
    refused: list[InvalidRequest] = []

    def interrupt(channel: Channel, data: bytes, now: float) -> None:
        with pytest.raises(InvalidRequest, match="interrupted") as caught:
            client.get("b")
        refused.append(caught.value)
        received(channel, data, now)

    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("a", "1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Channel, "received", interrupt)
            assert client.get("a") == b"1"
        assert len(refused) == 1


def test_a_watch_misses_nothing_when_a_call_is_interrupted() -> None:
    """It asks again for what follows the last event that it has."""
    lines: list[bytes] = []
    with fake_nodes() as (node,), Client(node.address) as client, client.watch("k") as watch:
        node.tell(event(1))
        assert next(watch).revision == 1
        node.before = lines.append
        node.tell(event(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Following, "received", raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                next(watch)
        wait_for_watch(node, watch)
        assert lines == [b"WATCH k FROM 2"]
        node.tell(event(2))
        assert next(watch).revision == 2


def test_a_watch_repeats_nothing_when_a_call_is_interrupted() -> None:
    """What had arrived before the interruption is given out, and what follows is asked for."""
    received = Following.received
    lines: list[bytes] = []

    def interrupt(following: Following, data: bytes, now: float) -> None:
        received(following, data, now)
        following.next_revision = 1  # the interruption came before this was set
        raise KeyboardInterrupt

    with fake_nodes() as (node,), Client(node.address) as client, client.watch("k") as watch:
        node.before = lines.append
        node.tell(event(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Following, "received", interrupt)
            with pytest.raises(KeyboardInterrupt):
                next(watch)
        assert next(watch).revision == 1
        wait_for_watch(node, watch)
        assert lines == [b"WATCH k FROM 2"]


def wait_for_watch(node: FakeNode, watch: Watch) -> None:
    """Let it be on another connection than the first."""
    while len(node.watchers) < 2:
        assert watch.take(timeout_s=0.01) is None


# --- a look without a wait -------------------------------------------------------------------------------------------


def test_a_look_without_a_wait_finds_what_has_arrived() -> None:
    """Repeated, it begins the watch as well."""
    with fake_nodes() as (node,), Client(node.address) as client, client.watch("k", first=1) as watch:
        while not node.watchers:
            assert watch.take(0) is None
        node.tell(event(1))
        while (found := watch.take(0)) is None:
            pass
        assert found.revision == 1
