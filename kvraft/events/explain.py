"""Answers questions from what all nodes have noted: which node leads and why, why it was slow, which member left when.

It works on what the nodes answer to STATUS, MEMBERS and EVENTS, as JSON values. The times of a node whose clock differs
from the others' are corrected by the time that it named when it was asked.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from kvraft.events.sentences import milliseconds, sentence

CLOCK_S: Final = 0.5
"""A clock that differs by more is said to differ, and the times by it are corrected, seconds."""
SHOWN_MAX: Final = 10
"""Slow writes, gaps and changes that are shown, the latest ones."""
AROUND_S: Final = 0.1
"""Events so shortly before or after a slow write are listed with it, seconds."""
ELECTION_S: Final = 10.0
"""What was noted so long before a leader was elected may have to do with it; so may refusals while there is none."""

_TOLD_OF_ELECTIONS: Final = frozenset(
    {
        "asked",
        "stood",
        "granted_vote",
        "refused_vote",
        "refused_pre_vote",
        "stepped_down",
        "makes_way",
        "disk_full",
        "operator",
        "link_lost",
    }
)
_CAUSES: Final = frozenset(
    {
        "slow_sync",
        "disk_hangs",
        "disk_full",
        "long_turn",
        "lag",
        "silent",
        "apply_lag",
        "link_lost",
        "stepped_down",
        "leads",
    }
)
_CHANGES: Final = frozenset({"change_begins", "change_committed", "change_given_up"})
_VOTES: Final = frozenset({"voter", "joining", "leaving"})


@attrs.define
class Report:
    """What one node has answered; nothing where it does not answer."""

    address: str
    status: dict[str, Any] = attrs.field(factory=dict)
    members: dict[str, Any] = attrs.field(factory=dict)
    events: list[dict[str, Any]] = attrs.field(factory=list)
    why: str = ""
    """Why it does not answer, where that is known."""
    ahead_s: float = 0.0
    """How far its clock is ahead of that of the asking process, seconds."""


@attrs.frozen
class Answer:
    """A question and what is known of it."""

    question: str
    sentences: Sequence[str]


class View:
    """The events of all nodes together.

    Args:
        reports: one for each node that was asked.
        since: what was noted before is left out; in seconds since 1970.
    """

    def __init__(self, reports: Sequence[Report], since: float) -> None:
        self.up = [report for report in reports if report.status]
        self.down = [report for report in reports if not report.status]
        self.events = sorted(_corrected(self.up, since), key=lambda event: (event["time"], event["node"]))
        known = max(self.up, key=lambda report: report.status["commit"], default=None)
        self.members: list[dict[str, Any]] = [] if known is None else known.members.get("members", [])
        self._names = {member["address"]: member["id"] for member in self.members}
        leaders = [report for report in self.up if report.status.get("role") == "leader"]
        self.leader = max(leaders, key=lambda report: report.status["term"], default=None)

    @property
    def answering(self) -> set[int]:
        """The ids of the nodes that answer."""
        return {report.status["id"] for report in self.up}

    def name(self, report: Report) -> str:
        """Return the name and address of a node that does not answer."""
        node = self._names.get(report.address)
        return report.address if node is None else f"node {node} ({report.address})"

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the events of these kinds, oldest first."""
        return [event for event in self.events if event["kind"] in kinds]

    def last_contact(self, report: Report) -> dict[str, Any] | None:
        """Return the last loss of a connection with a node that does not answer."""
        node = self._names.get(report.address)
        return next((event for event in reversed(self.of("link_lost")) if event["peer"] == node), None)


def _corrected(reports: Iterable[Report], since: float) -> Iterable[dict[str, Any]]:
    for report in reports:
        shift = report.ahead_s if abs(report.ahead_s) > CLOCK_S else 0.0
        for event in report.events:
            if event["time"] - shift < since:
                continue
            told = {**event, "time": round(event["time"] - shift, 3)}
            if "first_time" in event:
                told["first_time"] = round(event["first_time"] - shift, 3)
            yield told


def explain(view: View, topics: Sequence[str]) -> list[Answer]:
    """Return the answers about these topics."""
    return [_TOPICS[topic](view) for topic in topics]


def clock(seconds: float) -> str:
    """Return a time of day, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]


def line(event: dict[str, Any]) -> str:
    """Return an event with its time; one that happened several times with when it began."""
    begun = f", since {clock(event['first_time'])}" if "first_time" in event else ""
    # The node's own sentence: a later version of kvraft may have events that are unknown to this one.
    return f"{clock(event['time'])} {event.get('text') or sentence(event)}{begun}"


# --- who leads --------------------------------------------------------------------------------------------------------


def _who_leads(view: View) -> Answer:
    if view.leader is None:
        return Answer("Why is there no leader?", [*_why_none(view), *_led_last(view), *_clocks(view)])
    node, term = view.leader.status["id"], view.leader.status["term"]
    elected = next((event for event in view.of("leads") if (event["node"], event["term"]) == (node, term)), None)
    if elected is None:
        return Answer("Which node leads, and why?", [f"node {node} leads term {term}", *_silent(view), *_clocks(view)])
    said = [f"node {node} leads term {term} since {clock(elected['time'])}"]
    before = [event for event in view.of("leads", "follows") if event["term"] < term]
    if before:
        last = before[-1]
        said.append(f"before it node {last.get('leader', last['node'])} led term {last['term']}")
    begins = max([elected["time"] - ELECTION_S, *(event["time"] for event in before)])
    said += [line(event) for event in _about_election(view, begins, elected["time"], term)]
    return Answer("Which node leads, and why?", [*said, *_silent(view), *_clocks(view)])


def _about_election(view: View, begins: float, ends: float, term: int) -> list[dict[str, Any]]:
    """Return what led to the election of `term`."""
    return [
        event
        for event in view.events
        if event["kind"] in _TOLD_OF_ELECTIONS
        and begins <= event["time"] <= ends + AROUND_S
        and event.get("term", term) <= term
    ]


def _why_none(view: View) -> list[str]:
    voters = [member for member in view.members if member["role"] in _VOTES]
    said = ["no node leads"]
    if not view.up:
        return ["no node answers", *_silent(view)]
    here = [member for member in voters if member["id"] in view.answering]
    missing = [member for member in voters if member["id"] not in view.answering]
    needed = len(voters) // 2 + 1
    said.append(
        f"{len(voters)} nodes vote, so an election needs {needed} of them; "
        f"{len(here)} answer{'' if len(here) != 1 else 's'}: {_names(here)}"
    )
    if missing:
        said.append(f"missing: {_names(missing, addresses=True)}")
    said += _silent(view)
    if len(here) < needed:
        said.append(f"start {_names(missing)} again: without a majority no node can be elected")
        return said
    return [*said, *_why_votes_lack(view)]


def _why_votes_lack(view: View) -> list[str]:
    """Return why no node is elected although a majority answers."""
    said = [
        f"node {report.status['id']} has no vote: it may have lost votes that it gave, and must catch up first"
        for report in view.up
        if not report.status.get("voting", True)
    ]
    said += [
        f"node {report.status['id']} has no connection with node {peer} ({about['address']})"
        for report in view.up
        for peer, about in sorted(report.status.get("peers", {}).items())
        if not about["connected"] and int(peer) in view.answering
    ]
    recent = [event for event in view.events if event["kind"] in _TOLD_OF_ELECTIONS]
    latest = recent[-1]["time"] if recent else 0.0
    return said + [line(event) for event in recent if event["time"] >= latest - ELECTION_S]


def _led_last(view: View) -> list[str]:
    leads = view.of("leads", "follows")
    if not leads:
        return []
    last = max(leads, key=lambda event: (event["term"], event["time"]))
    leader = last.get("leader", last["node"])
    said = [f"node {leader} led last, in term {last['term']}"]
    lost = [event for event in view.of("link_lost") if event["peer"] == leader and event["time"] >= last["time"]]
    return said + [line(event) for event in [*lost, *view.of("stepped_down")][-3:]]


def _names(members: Sequence[dict[str, Any]], *, addresses: bool = False) -> str:
    names = [f"node {each['id']}" + (f" ({each['address']})" if addresses else "") for each in members]
    return "none" if not names else ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]


def _silent(view: View) -> list[str]:
    """Return a sentence for each node that does not answer."""
    said = []
    for report in view.down:
        lost = view.last_contact(report)
        when = f"; node {lost['node']} lost its connection with it at {clock(lost['time'])}" if lost else ""
        why = f": {report.why}" if report.why else ""
        said.append(f"{view.name(report)} does not answer{why}{when}")
    return said


def _clocks(view: View) -> list[str]:
    return [
        f"the clock of node {report.status['id']} is {abs(report.ahead_s):.1f} s "
        f"{'ahead of' if report.ahead_s > 0 else 'behind'} this one; its times are corrected"
        for report in view.up
        if abs(report.ahead_s) > CLOCK_S
    ]


# --- why it was slow --------------------------------------------------------------------------------------------------


def _why_slow(view: View) -> Answer:
    said = [_gap(view, event) for event in view.of("leads")]
    for event in view.of("slow_write")[-SHOWN_MAX:]:
        said += [line(event), *(f"  {line(cause)}" for cause in _causes(view, event))]
    said = [each for each in said if each]
    said += [line(event) for event in view.of("refused")[-SHOWN_MAX:]]
    if view.leader is None:
        said.append("no node leads now, so no write is carried out")
    return Answer("Why was a write slow?", said or ["no write took longer than 100 ms in this time"])


def _gap(view: View, elected: dict[str, Any]) -> str:
    """Return how long there was no leader before one was elected; nothing for a leadership that was handed over."""
    # A node that asked for pre-votes and then followed a leader of an earlier term again had only missed messages.
    led = [event["time"] for event in view.of("leads", "follows") if event["term"] < elected["term"]]
    before = max((time for time in led if time <= elected["time"]), default=0.0)
    noticed = [
        event.get("first_time", event["time"])
        for event in view.of("asked", "stepped_down")
        if before <= event["time"] <= elected["time"]
    ]
    if not noticed:
        return ""
    gap = elected["time"] - min(noticed)
    return (
        f"{clock(elected['time'])} node {elected['node']} was elected in term {elected['term']}; for "
        f"{milliseconds(gap)} before there was no leader, and writes had to wait"
    )


def _causes(view: View, slow: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what all nodes noted while a write was slow."""
    begins = slow.get("first_time", slow["time"]) - slow["seconds"] - AROUND_S
    return [
        event
        for event in view.events
        if event["kind"] in _CAUSES
        and event["time"] >= begins
        and event.get("first_time", event["time"]) <= slow["time"] + AROUND_S
    ]


# --- who left ---------------------------------------------------------------------------------------------------------


def _who_left(view: View) -> Answer:
    said = _silent(view)
    told: dict[tuple[object, ...], dict[str, Any]] = {}
    for event in view.events:
        if event["kind"] in _CHANGES:
            told.setdefault((event["kind"], event["index"], *event.get("changes", ())), event)
        elif event["kind"] in {"started", "operator"}:
            told[event["kind"], event["node"], event["seq"]] = event
    said += [line(event) for event in [*told.values()][-SHOWN_MAX:]]
    present = _names(view.members, addresses=True)
    return Answer("Which members left, and which came?", [*said, f"the members are {present}"] if view.up else said)


def _timeline(view: View) -> Answer:
    return Answer("What has happened?", [line(event) for event in view.events])


_TOPICS: Final = {"leader": _who_leads, "slow": _why_slow, "members": _who_left, "events": _timeline}
TOPICS: Final = tuple(_TOPICS)
"""What can be asked."""
