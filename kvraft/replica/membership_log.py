"""Logs the changes of the members: on the leader when a change begins, and on every node when it is committed."""

from typing import Final

from twisted.logger import Logger

from kvraft.events import Note, ignore
from kvraft.raft import Membership, Node

_log: Final = Logger(namespace="kvraft.replica")


class MembershipLog:
    """Compares successive configurations; `look` is called when the latest one has changed or was committed."""

    def __init__(self, node: Node, note: Note = ignore) -> None:
        self._node = node
        self._note = note
        self._settled = node.membership_at(node.commit)
        """The last committed configuration at the latest `look`."""
        self._begun: int | None = None
        """The index of a change that was logged as begun and is not committed; None while there is none."""

    def look(self) -> None:
        """Log what has changed since the last call."""
        node = self._node
        index, present = node.memberships[-1]
        if self._begun is not None and all(at != self._begun for at, _ in node.memberships[1:]):
            if self._begun > node.commit:
                _log.warn("the change of the members at entry {index} was given up", index=self._begun)
                self._note("change_given_up", index=self._begun)
            self._begun = None
        if index > node.commit:
            changes = changes_between(node.membership_at(index - 1), present)
            if changes and node.is_leader and self._begun != index:
                self._begun = index
                _log.info("a change of the members begins at entry {index}: {what}", index=index, what=_join(changes))
                self._note("change_begins", index=index, changes=changes)
        elif self._begun is not None:
            self._begun = None
        settled = node.membership_at(node.commit)
        if settled is not self._settled:
            changes = changes_between(self._settled, settled)
            self._settled = settled
            if changes:
                _log.info("a change of the members is committed: {what}", what=_join(changes))
                at = max(each for each, _ in node.memberships if each <= node.commit)
                self._note("change_committed", index=at, changes=changes)


def changes_between(before: Membership, after: Membership) -> list[str]:
    """Return a sentence for each difference that matters to an operator; bindings of incarnations do not."""
    sentences = [
        f"node {node} is a learner at {after.addresses.get(node)}" for node in sorted(after.learners - before.learners)
    ]
    sentences += [
        f"node {node} is to replace node {old}"
        for node, old in sorted(after.replacing.items())
        if before.replacing.get(node) != old
    ]
    sentences += [f"node {node} votes now" for node in sorted(after.voters - before.voters - before.outgoing)]
    sentences += [f"node {node} is leaving" for node in sorted(after.outgoing - after.voters - before.outgoing)]
    sentences += [f"node {node} has left" for node in sorted(before.members - after.members)]
    for node in sorted(before.members & after.members):
        if before.addresses.get(node) != after.addresses.get(node):
            sentences.append(f"node {node} is reached at {after.addresses.get(node)} now")
    return sentences


def _join(sentences: list[str]) -> str:
    return "; ".join(sentences)
