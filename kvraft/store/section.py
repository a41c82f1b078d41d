"""A section: one table of the store, which freezes for a snapshot, copies on write, and is loaded from chunks.

`kvraft.store.sections` lists them all, in the order in which a snapshot holds them. A new table is a class and its
place in that list: snapshots and the table of feature levels take from the class what they must know, and name no
section. What belongs to no table (the revision, the cluster time, the quota) is the snapshot's header, and no section
(`kvraft.store.snapshot`): it is a handful of values, copied at once.

A section whose chunks and fields are of a level above 0 stays empty until the cluster has come to that level, since
only commands of that level write to it; so nothing of it stands in the snapshots that an older member may have to read.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, ClassVar, Protocol

import attrs

from kvraft.store.chunks import Chunk, State


class AlreadyFrozen(Exception):
    """It is frozen for another snapshot; finish or release that one first."""


class Released(Exception):
    """The frozen state was let go before it was read to its end, so what was read of it is not the whole."""


@attrs.frozen(eq=False)
class FrozenSection:
    """What a section held when it was frozen, to be read once; no later write shows in it."""

    state: State
    chunks: Iterator[Chunk]
    """Whoever takes the next chunk pays for that one and no more: it is a step of a millisecond or two. With the last
    one the section thaws. After `release` or `Section.dismantle`, before that, it raises `Released`."""
    release: Callable[[], Sequence[Sized]]
    """Gives up what was not read; harmless when called again, and after the end. Returns what was kept for it, in
    pieces: to free all of it at once could take long."""


class SectionLoader(Protocol):
    """Fills an empty section from the chunks of a snapshot. After an error neither it nor the section is used again."""

    @property
    def loaded(self) -> int:
        """How many rows of the table, keys for instance, have been added as a whole."""
        ...

    @property
    def promised(self) -> int:
        """How many rows the state promises."""
        ...

    def add(self, chunk: Chunk) -> None:
        """Add a chunk of one of the section's kinds; they come in any order.

        Raises:
            SnapshotInvalid: it cannot be of this snapshot.
        """
        ...

    def finish(self) -> None:
        """See that everything is there.

        Raises:
            SnapshotInvalid: something is missing, or there is more than the state promises.
        """
        ...


class Section(ABC):
    """One table of the store."""

    STATE: ClassVar[type[State]]
    """Its fields of a snapshot's state: no two sections have one of the same name."""
    CHUNKS: ClassVar[tuple[type[Chunk], ...]]
    """The kinds of its chunks: no two sections have the same."""

    @property
    @abstractmethod
    def frozen(self) -> bool:
        """Whether writes leave what they replace with a snapshot."""

    @abstractmethod
    def freeze(self) -> FrozenSection:
        """Hold what is stored now still for a snapshot. It costs the same however much that is.

        Raises:
            AlreadyFrozen: another snapshot has not been read to its end or released.
        """

    @abstractmethod
    def loader(self, state: Mapping[str, Any], revision: int) -> SectionLoader:
        """Begin to fill this section, which is empty, from a snapshot with this state, taken at `revision`.

        Raises:
            SnapshotInvalid: the fields of this section are not what they must be.
        """

    @abstractmethod
    def dismantle(self) -> Sequence[Sized]:
        """Give up everything and return it in pieces, since to free much at once takes long.

        The section must not be used any more; a snapshot that is being read is released.
        """
