"""Reads that say who answers them: the member that is asked, and how old its state may be.

A `LocalRead` is linearizable all the same: the member asks the leader how far the log is committed, and answers when it
has come so far. A `StaleRead` shows the state that is here, with its age: the time since this state was certainly that
of the cluster. The leader answers both as any other read.
"""

import msgspec

from kvraft.commands.model import Aged, Failure, Result, View
from kvraft.commands.queries import Query


class LocalRead(msgspec.Struct, frozen=True, gc=False):
    """A linearizable read that the member answers which is asked."""

    query: Query

    def run(self, view: View) -> Result:
        """Return the answer."""
        return self.query.run(view)


class StaleRead(msgspec.Struct, frozen=True, gc=False):
    """A read of what a member has. Its result is `Aged`."""

    query: Query
    max_age_us: int | None
    """None: however old it is."""

    def run(self, view: View) -> Aged:
        """Return the answer, where the state is certainly that of the cluster."""
        return self.answer(view, 0)

    def answer(self, view: View, age_us: int | None) -> Aged:
        """Return the answer of a member whose state has this age; None: it is not known."""
        if self.max_age_us is not None and (age_us is None or age_us > self.max_age_us):
            text = "this member's state is older than asked for, or its age is not known; ask another, or the leader"
            return Aged(Failure("TOO_STALE", text), age_us)
        return Aged(self.query.run(view), age_us)


def unplaced(query: Query) -> Query:
    """Return the read itself, whoever answers it."""
    return query.query if isinstance(query, LocalRead | StaleRead) else query
