"""Client sessions: the answers to their latest numbered writes, and the deadline of each session.

A session is an immutable value: each use replaces it by another one. So a snapshot that is being read keeps the old
sessions without copying them.

Each use moves the deadline of a session. A heap has one deadline for each session, which may be earlier than the real
one; it is updated when it is at the front. So a use costs the heap nothing. Expired sessions are found in the order of
their deadlines, which is the same on every member.
"""

from collections.abc import Iterable, Iterator, Mapping, Sized
from functools import partial
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain
from typing import Annotated, Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.client_sessions import WINDOW
from kvraft.commands.model import SessionBounds
from kvraft.store import chunks
from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.section import FrozenSection, Section, SectionLoader
from kvraft.store.table import Table, gather

SESSION_BYTES: Final = 600
"""Bytes that a session counts in addition to its answers: objects, places in dicts, and a deadline."""
ANSWER_BYTES: Final = 100
"""Bytes that an answer counts in addition to its own. A failure counts `FAILURE_BYTES` instead, since its text may
differ between versions, and all members must count the same."""
FAILURE_BYTES: Final = 400
SHARDS: Final = 256
"""Number of dicts; a snapshot reads one at a time."""
_HEAP_SPARE: Final = 64
"""The heap is rebuilt when it has more than twice as many deadlines as there are sessions, plus this number."""
_ENTRY_OVERHEAD_BYTES: Final = 32
"""The most bytes that the encoding adds to an answer, and to a chunk, and those of a session without its answers."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_BOUNDS: Final = SessionBounds()


class Answer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The answer to one write."""

    content: bytes
    """The encoding of the result by `kvraft.commands.results`."""
    is_failure: bool

    @property
    def size(self) -> int:
        """The bytes that it counts."""
        return FAILURE_BYTES if self.is_failure else ANSWER_BYTES + len(self.content)


def covered(answers: Iterable[Answer]) -> list[bytes]:
    """Return what the checksum covers of answers that leave or are given again, as of replaced values.

    The answers of failures are left out, since their wording may differ between versions.
    """
    return [answer.content for answer in answers if not answer.is_failure]


class ClientSession(msgspec.Struct, frozen=True, gc=False):
    """One session."""

    ttl_us: int
    deadline: int
    """Its deadline, microseconds of cluster time."""
    floor: int = 0
    """Numbers up to this one have left the window."""
    answers: Mapping[int, Answer] = {}
    """The answers by the numbers of their writes, all above the floor. The dict is never changed."""
    size: int = 0
    """The bytes that all answers count together."""

    def renewed(self, time_us: int) -> "ClientSession":
        """Return the session after a use at this time."""
        return msgspec.structs.replace(self, deadline=time_us + self.ttl_us)

    def with_answer(self, number: int, answer: Answer, room: int) -> tuple["ClientSession", list[Answer]] | None:
        """Return the session with one more answer, and the answers that leave the window for it.

        The answers that are too far below the highest number leave. Then the lowest ones below this number leave until
        all answers together have at most `room` bytes. None: they have more even when all of these have left.
        """
        window = Window(self)
        gone = window.add(number, answer)
        if window.size > room:
            for each in sorted(each for each in window.answers if each < number):
                gone.append(window.answers.pop(each))
                window.size -= gone[-1].size
                window.floor = each
                if window.size <= room:
                    break
            else:
                return None
        return window.session(), gone


class Window:
    """The answers of a session while some are added to it."""

    __slots__ = ("_session", "answers", "floor", "size")

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.floor = session.floor
        self.answers = dict(session.answers)
        self.size = session.size

    def add(self, number: int, answer: Answer) -> list[Answer]:
        """Add an answer; return those that leave, since they are too far below the highest number."""
        answers, before = self.answers, self.floor
        gone: list[Answer] = []
        floor = number - WINDOW
        if floor > before:
            self.floor = floor
            if floor == before + 1:  # numbers in their order, as most clients send them
                leaves = answers.pop(floor, None)
                if leaves is not None:
                    gone.append(leaves)
                    self.size -= leaves.size
            else:
                if floor - before <= WINDOW:
                    leaving: Iterable[int] = range(before + 1, floor + 1)
                else:
                    leaving = sorted(each for each in answers if each <= floor)
                gone = [answers.pop(each) for each in leaving if each in answers]
                self.size -= sum(each.size for each in gone)
        answers[number] = answer
        self.size += answer.size
        return gone

    def session(self) -> ClientSession:
        """Return the session with these answers. The window must not be used afterwards."""
        session = self._session
        return ClientSession(session.ttl_us, session.deadline, self.floor, self.answers, self.size)


class ClientSessionsState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a snapshot's state that belong to this table."""

    LEVEL: ClassVar[int] = 3

    client_sessions: _Count = 0
    client_sessions_opened: _Count = 0
    client_sessions_max: _Count = _BOUNDS.sessions
    client_session_bytes_max: _Count = _BOUNDS.bytes


class Sessions(Chunk, frozen=True, gc=False, array_like=True, tag=28):
    """Sessions: the client's id, time to live, deadline, floor, and number of answers."""

    LEVEL: ClassVar[int] = 3

    sessions: list[tuple[_Positive, _Positive, _Positive, _Count, _Count]]


class Answers(Chunk, frozen=True, gc=False, array_like=True, tag=29):
    """Some answers of one session, by their numbers."""

    LEVEL: ClassVar[int] = 3

    client: _Positive
    answers: list[tuple[_Positive, Answer]]


def _key(client: int) -> bytes:
    return client.to_bytes(8, "big")


class ClientSessions(Section):
    """A mapping of clients to their sessions."""

    STATE: ClassVar[type[State]] = ClientSessionsState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (Sessions, Answers)

    def __init__(self) -> None:
        self.table: Table[ClientSession] = Table(SHARDS)
        self._due: list[tuple[int, int]] = []
        """A heap of (deadline, client). Each session has one that is not later than its own deadline."""
        self.bounds = _BOUNDS
        self.opened = 0
        """How many sessions have ever been opened, which is also the id of the latest one."""
        self.bytes_used = 0
        """The bytes that all sessions count, with their answers."""

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return self.table.count

    def get(self, client: int, time_us: int) -> ClientSession | None:
        """Return a client's session, unless it has expired at this time."""
        session = self._find(client)
        return None if session is None or session.deadline <= time_us else session

    def _find(self, client: int) -> ClientSession | None:
        return self.table.get(_key(client))

    def put(self, client: int, session: ClientSession) -> None:
        """Store a session, which replaces the client's present one, if any."""
        old = self.table.set(_key(client), session)
        self.bytes_used += session.size - (-SESSION_BYTES if old is None else old.size)
        if old is None or session.deadline < old.deadline:
            heappush(self._due, (session.deadline, client))

    def remove(self, client: int) -> ClientSession | None:
        """End a session, and return it."""
        old = self.table.set(_key(client), None)
        if old is None:
            return None
        self.bytes_used -= SESSION_BYTES + old.size
        if len(self._due) > 2 * self.count + _HEAP_SPARE:
            self._due = [(session.deadline, each) for each, session in self.all()]
            heapify(self._due)
        return old

    def open(self, ttl_us: int, time_us: int) -> int:
        """Open a session and return the client's id."""
        self.opened += 1
        self.put(self.opened, ClientSession(ttl_us, time_us + ttl_us))
        return self.opened

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        due = self._due
        while due:
            deadline, client = due[0]
            session = self._find(client)
            if session is None:
                heappop(due)
            elif session.deadline != deadline:
                heapreplace(due, (session.deadline, client))
            else:
                return deadline
        return None

    def end_expired(self, time_us: int, most: int) -> None:
        """End sessions that have expired at this time, earliest deadlines first, at most the given number."""
        for _ in range(most):
            earliest = self.earliest
            if earliest is None or earliest > time_us:
                return
            self.remove(self._due[0][1])

    def all(self) -> Iterator[tuple[int, ClientSession]]:
        """Yield every client with its session, in no particular order."""
        for key, session in self.table.rows():
            yield int.from_bytes(key, "big"), session

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self.table.frozen

    @override
    def freeze(self) -> FrozenSection:
        frozen = self.table.freeze()
        state = ClientSessionsState(self.count, self.opened, *self.bounds)
        return FrozenSection(state, _gather(chain.from_iterable(frozen)), frozen.release)

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> "ClientSessionsLoader":
        loaded = ClientSessionsState.of(state)
        self.opened = loaded.client_sessions_opened
        self.bounds = SessionBounds(loaded.client_sessions_max, loaded.client_session_bytes_max)
        return ClientSessionsLoader(self, loaded)

    @override
    def dismantle(self) -> list[Sized]:
        return [*self.table.dismantle(), self._due]


def _gather(sessions: Iterator[tuple[bytes, ClientSession]]) -> Iterator[Chunk]:
    """Yield the chunks one by one: answers of sessions, each before the chunk that has its session."""
    bytes_full, count_full = chunks.room()
    gathered: list[tuple[int, int, int, int, int]] = []
    for key, session in sessions:
        client = int.from_bytes(key, "big")
        gathered.append((client, session.ttl_us, session.deadline, session.floor, len(session.answers)))
        yield from gather(session.answers.items(), _answer_bytes, partial(Answers, client))
        if len(gathered) == count_full or len(gathered) * 2 * _ENTRY_OVERHEAD_BYTES > bytes_full:
            yield Sessions(gathered)
            gathered = []
    if gathered:
        yield Sessions(gathered)


def _answer_bytes(row: tuple[int, Answer]) -> int:
    _, answer = row
    return len(answer.content) + _ENTRY_OVERHEAD_BYTES


class ClientSessionsLoader(SectionLoader):
    """Builds the table from its chunks, which come in any order."""

    def __init__(self, sessions: ClientSessions, state: ClientSessionsState) -> None:
        self._sessions = sessions
        self.promised = state.client_sessions
        self._missing: dict[int, int] = {}
        """For each session that is not complete yet: how many answers it has."""
        self._answers: dict[int, dict[int, Answer]] = {}
        """The answers so far of sessions that are not complete yet."""

    @property
    @override
    def loaded(self) -> int:
        return self._sessions.count

    @override
    def add(self, chunk: Chunk) -> None:
        sessions = self._sessions
        if isinstance(chunk, Answers):
            answers = self._answers.setdefault(chunk.client, {})
            for number, answer in chunk.answers:
                if answers.setdefault(number, answer) is not answer:
                    raise SnapshotInvalid("a number of a client has two answers")
            self._complete(chunk.client)
            return
        assert isinstance(chunk, Sessions), "a chunk of another section"
        for client, ttl_us, deadline, floor, count in chunk.sessions:
            if client > sessions.opened or sessions.get(client, 0) is not None:
                raise SnapshotInvalid("a client has two sessions, or one that was never opened")
            sessions.put(client, ClientSession(ttl_us, deadline, floor))
            self._missing[client] = count
            self._complete(client)

    def _complete(self, client: int) -> None:
        """Add the answers of a client to its session, if all of them are here."""
        answers = self._answers.get(client, {})
        if len(answers) != self._missing.get(client):
            return
        session = self._sessions.get(client, 0)
        assert session is not None, "a session comes before its answers are complete"
        if any(number <= session.floor for number in answers):
            raise SnapshotInvalid("a client has an answer below those that are kept")
        size = sum(answer.size for answer in answers.values())
        self._sessions.put(client, msgspec.structs.replace(session, answers=answers, size=size))
        self._answers.pop(client, None)
        del self._missing[client]

    @override
    def finish(self) -> None:
        if self.loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self.loaded} client sessions, and its state promises {self.promised}")
        if self._missing or self._answers:
            raise SnapshotInvalid("it holds more answers of clients than their sessions, or fewer")
