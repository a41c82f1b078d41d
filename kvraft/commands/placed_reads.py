"""Reads that the asked member answers itself, and bounds on the age of its state.

A `LocalRead` is linearizable: the member asks the leader for a read index, and answers when it has applied the log up
to it (thesis §6.4). A `StaleRead` returns the member's present state with its age: the time since this state was
certainly that of the cluster. The leader answers both like any other read.
"""

import msgspec

from kvraft.commands.model import Aged, Failure, Result, View
from kvraft.commands.queries import Query


class LocalRead(msgspec.Struct, frozen=True, gc=False):
    """A linearizable read that the asked member answers."""

    query: Query

    def run(self, view: View) -> Result:
        """Return the answer."""
        return self.query.run(view)


class StaleRead(msgspec.Struct, frozen=True, gc=False):
    """A read of the asked member's state. Its result is `Aged`."""

    query: Query
    max_age_us: int | None
    """None: any age."""

    def run(self, view: View) -> Aged:
        """Return the answer of a leader, whose state has age 0."""
        return self.answer(view, 0)

    def answer(self, view: View, age_us: int | None) -> Aged:
        """Return the answer of a member whose state has this age; None: unknown."""
        if self.max_age_us is not None and (age_us is None or age_us > self.max_age_us):
            text = "this member's state is older than asked for, or its age is not known; ask another, or the leader"
            return Aged(Failure("TOO_STALE", text), age_us)
        return Aged(self.query.run(view), age_us)


def unplaced(query: Query) -> Query:
    """Return the query of a placed read, or the query itself."""
    return query.query if isinstance(query, LocalRead | StaleRead) else query
