"""A section: one table of the store, which freezes for a snapshot, copies on write, and is loaded from chunks.

`kvraft.store.sections` lists them all, in the order in which a snapshot holds them. A new table is a class and its
place in that list: snapshots and the table of feature levels get everything from the class, and depend on no particular
section. Values that belong to no table (the revision, the cluster time, the quota) are in the snapshot's header
(`kvraft.store.snapshot`), and are copied at once.

A section whose chunks and fields have a level above 0 stays empty until the cluster has reached that level, since only
commands of that level write to it; so the snapshots that an older member may have to read do not contain it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, ClassVar, Protocol

import attrs

from kvraft.store.chunks import Chunk, State


class AlreadyFrozen(Exception):
    """The section is frozen for another snapshot; finish or release that one first."""


class Released(Exception):
    """The frozen state was released before it was read to its end, so the chunks read so far are incomplete."""


@attrs.frozen(eq=False)
class FrozenSection:
    """The content of a section when it was frozen, to be read once; later writes do not show."""

    state: State
    chunks: Iterator[Chunk]
    """Each chunk is made when it is taken, in a step of a millisecond or two. The section thaws with the last one. If
    `release` or `Section.dismantle` was called before that, it raises `Released`."""
    release: Callable[[], Sequence[Sized]]
    """Gives up the chunks that were not read; harmless when called again, and after the end. Returns the saved content
    in pieces, since freeing all of it at once could take long."""


class SectionLoader(Protocol):
    """Fills an empty section from the chunks of a snapshot. After an error neither it nor the section is used again."""

    promised: int
    """How many rows the state promises."""

    @property
    def loaded(self) -> int:
        """How many complete rows of the table, such as keys, have been added."""
        ...

    def add(self, chunk: Chunk) -> None:
        """Add a chunk of one of the section's kinds; they come in any order.

        Raises:
            SnapshotInvalid: it does not fit this snapshot.
        """
        ...

    def finish(self) -> None:
        """Check that everything has been loaded.

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
        """Whether writes save replaced content for a snapshot."""

    @abstractmethod
    def freeze(self) -> FrozenSection:
        """Freeze the present content for a snapshot, in constant time.

        Raises:
            AlreadyFrozen: another snapshot has not been read to its end or released.
        """

    @abstractmethod
    def loader(self, state: Mapping[str, Any], revision: int) -> SectionLoader:
        """Begin to fill this section, which is empty, from a snapshot with this state, taken at `revision`.

        Raises:
            SnapshotInvalid: the fields of this section are invalid.
        """

    @abstractmethod
    def dismantle(self) -> Sequence[Sized]:
        """Empty the section and return its content in pieces, since freeing much at once takes long.

        The section must not be used afterwards; a snapshot that is being read is released.
        """
