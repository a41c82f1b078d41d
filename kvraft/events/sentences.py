"""Puts one event into words."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Told = Mapping[str, Any]
"""An event as a node reports it: its node, kind and facts."""

_WHY_REFUSED: Final = {
    "has_leader": "it receives messages from a leader",
    "saving_a_vote": "the vote that it has given is not on its disk yet",
    "shorter_log": "the candidate's log is shorter than its own",
    "old_term": "the term of the request is over",
    "voted_for_another": "it has given its vote in this term to another node",
    "no_vote": "it may have lost votes that it gave, and has no vote",
}
_WHY_STEPPED_DOWN: Final = {
    "no_quorum": "no majority has answered it for an election timeout",
    "higher_term": "a later term has begun",
    "resigned": "it was asked to, or has no vote any more",
}


def sentence(told: Told) -> str:
    """Return what happened, as a sentence that names the node, without the time."""
    make = _SENTENCES.get(told["kind"])
    words = f"node {told['node']} notes {told['kind']}" if make is None else make(told)
    times = told.get("times", 1)
    return f"{words} ({times} times)" if times > 1 else words


def milliseconds(seconds: float) -> str:
    """Return a duration for a person."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _asked(told: Told) -> str:
    asks = f"node {told['node']} asks for pre-votes, as {{why}} (term {told['term']})"
    peer = told.get("peer")
    match told.get("why"):
        case "connection_lost":
            return asks.format(why=f"its connection with node {peer} broke")
        case "silence" if peer is not None:
            return asks.format(why=f"it receives nothing from node {peer}, which led")
        case "silence":
            return asks.format(why="it receives nothing from a leader")
        case _:
            return asks.format(why="the election before has had no result")


def _stood(told: Told) -> str:
    why = "the leader has ordered it" if told.get("why") == "transfer" else "a majority has granted it a pre-vote"
    return f"node {told['node']} stands for election in term {told['term']}: {why}"


def _refused(what: str) -> Callable[[Told], str]:
    def words(told: Told) -> str:
        why = _WHY_REFUSED.get(told.get("why") or "", "no reason is given")
        return f"node {told['node']} refuses node {told['peer']} {what} for term {told['term']}: {why}"

    return words


def _slow_write(told: Told) -> str:
    parts = [f"{milliseconds(told['waited'])} until it was proposed"] if told.get("waited") else []
    parts.append(f"{milliseconds(told['replicated'])} until a majority had it on disk and it was applied")
    return f"node {told['node']} took {milliseconds(told['seconds'])} for a write: {', '.join(parts)}"


def _text(template: str) -> Callable[[Told], str]:
    return lambda told: template.format_map(_Shown(told))


class _Shown(dict[str, Any]):
    """The facts of an event as a template shows them."""

    def __missing__(self, name: str) -> str:
        if name == "duration":
            return milliseconds(self["seconds"])
        if name == "what":
            return "; ".join(self["changes"])
        if name == "requests":
            return "a request" if self["count"] == 1 else f"{self['count']} requests"
        if name == "why_stepped_down":
            return _WHY_STEPPED_DOWN.get(self.get("why", ""), "no reason is given")
        return "?"


_SENTENCES: Final[dict[str, Callable[[Told], str]]] = {
    "asked": _asked,
    "stood": _stood,
    "granted_pre_vote": _text("node {node} grants node {peer} a pre-vote for term {term}"),
    "refused_pre_vote": _refused("a pre-vote"),
    "granted_vote": _text("node {node} votes for node {peer} in term {term}"),
    "refused_vote": _refused("its vote"),
    "got_pre_vote": _text("node {node} gets a pre-vote of node {peer} for term {term}"),
    "missed_pre_vote": _text("node {node} does not get a pre-vote of node {peer} for term {term}"),
    "got_vote": _text("node {node} gets the vote of node {peer} in term {term}"),
    "missed_vote": _text("node {node} does not get the vote of node {peer} in term {term}"),
    "stepped_down": _text("node {node} stops leading term {term}: {why_stepped_down}"),
    "leads": _text("node {node} leads term {term}"),
    "follows": _text("node {node} follows node {leader} in term {term}"),
    "no_leader": _text("node {node} has no leader in term {term}"),
    "link_up": _text("node {node} is connected with node {peer}"),
    "link_lost": _text("node {node} has lost its connection with node {peer}"),
    "refused_by": _text("node {peer} refuses the connection of node {node}: {code}"),
    "change_begins": _text("a change of the members begins at entry {index}: {what}"),
    "change_committed": _text("a change of the members is committed: {what}"),
    "change_given_up": _text("the change of the members at entry {index} was given up"),
    "operator": _text("{caller} has asked node {node} for {command}"),
    "slow_sync": _text("the disk of node {node} took {duration} for a save"),
    "disk_hangs": _text("the disk of node {node} has not finished a save for {duration}"),
    "long_turn": _text("node {node} was busy for {duration} without a pause"),
    "slow_write": _slow_write,
    "lag": _text("node {peer} lacks {entries} entries of the log of node {node}, which leads"),
    "silent": _text("node {peer} has not answered node {node}, which leads, for {duration}"),
    "apply_lag": _text("node {node} has {entries} committed entries still to apply"),
    "refused": _text("node {node} has refused {requests} ({protocol}) with {code}"),
    "started": _text("node {node} started, kvraft {version}"),
    "disk_full": _text("node {node} can save nothing and neither leads nor stands: {reason}"),
    "disk_ok": _text("node {node} can save again"),
    "makes_way": _text("node {node} stops leading, as its disk has not finished a save for {duration}"),
    "differs": _text("node {peer} has come to another state at entry {index}"),
    "stopping": _text("node {node} is asked to stop"),
}
