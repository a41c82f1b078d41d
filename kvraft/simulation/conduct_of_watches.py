"""What a node may not overlook of its watches, checked from outside: a change that is not told is missed for good."""

from typing import Any

from kvraft.process.assembly import Assembly
from kvraft.raft import InvariantViolated
from kvraft.simulation.conduct import Objection
from kvraft.store import Store


def watch_watches(assembly: Assembly, object_to: Objection) -> None:
    """Check that the end of one watch hides no other from the changes, and that none skips a snapshot's changes."""
    node, watches = assembly.replica.node.id, assembly.replica._watches  # noqa: SLF001 - no user can see them
    all_of_them: Any = watches._all  # noqa: SLF001
    index, replaced = watches._index, watches.replaced  # noqa: SLF001
    remove = index.remove

    def remove_and_look(span: Any, watch: Any) -> None:
        remove(span, watch)
        for each in all_of_them:
            if each is not watch and each.is_live and each not in index.find(each.span.start):
                object_to(
                    InvariantViolated(
                        f"node {node}: a watch of {each.span} is not found by its first key, since one of {span} ended"
                    )
                )

    def replace_and_look(store: Store) -> None:
        told = {each: watches._position(each) for each in all_of_them}  # noqa: SLF001
        replaced(store)
        for each, revision in told.items():
            if each in all_of_them and each.is_live and revision < store.revision:
                object_to(
                    InvariantViolated(
                        f"node {node}: a watch of {each.span} has been told all up to revision {revision}, and goes on "
                        f"after revision {store.revision} of an installed snapshot"
                    )
                )

    index.remove, watches.replaced = remove_and_look, replace_and_look  # type: ignore[method-assign]
