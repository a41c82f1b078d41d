"""The live page in a real browser, on real nodes that are killed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import missing_tool, require_tool
from tests.e2e.browser import find_program
from tests.e2e.page_session import AWKWARD, PHONE, PROGRAMS, TYPED, TYPED_LATER
from tests.e2e.processes import HOST, Cluster, environment, free_ports

SHOWN_S: Final = 2.0
"""Within so many seconds the page must show that the leader was killed, and the new leader."""
LOADED: Final = 1.5
"""With more runnable processes for each processor than this, a machine is given `LOADED_TIMES` as long."""
LOADED_TIMES: Final = 4
ELECTION_MS: Final = (800, 1600)
"""A leader that waits for a processor leads on: the session names it once. One that is killed is missed at once."""
SESSION_S: Final = 180


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What one session in the browser has seen, on the page of a follower: see page_session.py."""
    if find_program() is None:
        missing_tool("chromium is not installed")
    for program in ("nc", "curl", "redis-cli"):
        require_tool(program)
    folder = tmp_path_factory.mktemp("page")
    with Cluster(folder / "nodes", election_timeout_ms=ELECTION_MS) as cluster:
        http = free_ports(len(cluster.ids))
        for peer, port in zip(cluster.config["peers"], http, strict=True):
            peer["http"] = f"{HOST}:{port}"
        cluster.write_config()
        cluster.start()
        leader = cluster.await_leader()
        page = (leader + 1) % 3
        facts = {
            "url": f"http://{HOST}:{http[page]}/",
            "addresses": [cluster.hint(node) for node in cluster.ids],
            "http": [f"{HOST}:{port}" for port in http],
            "pids": [cluster.processes[node].pid for node in cluster.ids],
            "leader": leader,
            "page": page,
        }
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        with (folder / "session.out").open("wb") as output:
            session = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.page_session", str(folder / "facts.json")],
                env=environment(),
                cwd=Path(__file__).parents[2],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with its browser, so that both end together
            )
        try:
            status = session.wait(SESSION_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session.pid, signal.SIGKILL)
            session.wait()
        said = (folder / "session.out").read_text(encoding="utf-8")
        assert status == 0, said
        yield {**facts, **json.loads(said.splitlines()[-1])}
        cluster.check_logs()


def test_the_session_came_to_its_end(seen: dict[str, Any]) -> None:
    """Every step on the page succeeded, and the browser has complained of nothing."""
    assert "failed" not in seen, seen["failed"]
    assert seen["errors"] == []


def test_a_killed_leader_is_shown_within_two_seconds(seen: dict[str, Any]) -> None:
    """The page names the new leader, and marks the old one as silent."""
    is_loaded = os.getloadavg()[0] > LOADED * (os.cpu_count() or 1)

    assert seen["seconds until it is shown"] < SHOWN_S * (LOADED_TIMES if is_loaded else 1)
    assert seen["leads then"] != f"Node {seen['leader']}"
    assert seen["margin then"] == "0"


def test_a_value_edited_on_the_page_of_a_follower_arrives(seen: dict[str, Any]) -> None:
    """What was saved is what the leader has, as one revision more."""
    assert seen["stored"]["value"] == TYPED
    assert seen["stored"]["version"] == 2


def test_a_conflicting_edit_is_refused_in_words_and_what_was_typed_stays(seen: dict[str, Any]) -> None:
    """The revision is a condition: the other's value stays until the person decides, and so does the typed text."""
    assert "Not saved: somebody has changed this key since you opened it" in seen["refusal"]
    assert "from somebody else" in seen["refusal"]
    assert seen["role of notice"] == "alert"
    assert seen["stored after refusal"] == {"value": "from somebody else"}
    assert seen["field after refusal"] == TYPED_LATER
    assert seen["field after another key"] == TYPED_LATER
    assert seen["stored over it"] == {"value": TYPED_LATER}


def test_the_history_shows_every_value_of_the_key(seen: dict[str, Any]) -> None:
    """Newest first, also those of others."""
    assert seen["history"] == [TYPED_LATER, "from somebody else", TYPED, "before"]


def test_members_and_charts_show_what_each_node_takes_and_does(seen: dict[str, Any]) -> None:
    """The memory and the disk of each member, and the requests and their latency, in words as well."""
    assert len(seen["members"]) == 3
    for row in seen["members"]:
        assert len(re.findall(r"[\d.]+ [KM]iB", row)) == 2, row
    throughput, latency = seen["charts"]
    assert re.fullmatch(r"Requests a second: Writes [\d.]+/s, Reads [\d.]+/s", throughput)
    assert latency.startswith("99th percentile of latency: Writes ")


def test_a_value_is_edited_as_json_and_as_hexadecimal_digits(seen: dict[str, Any]) -> None:
    """What is neither is refused in words, and stays in the field; numbers stay as they were typed."""
    assert seen["laid out"] == '{\n  "a": [\n    1,\n    2.50\n  ]\n}'
    assert seen["refused forms"].keys() == {"json", "hex"}
    refusal, stayed, stored = seen["refused forms"]["json"]
    assert ("This is no JSON" in refusal, stayed, stored) == (True, True, '{"a":[1,2.50,3]}')
    refusal, stayed, stored = seen["refused forms"]["hex"]
    assert ("no pairs of hexadecimal digits" in refusal, stayed, stored) == (True, True, "kv")


def test_what_was_typed_outlives_a_reload(seen: dict[str, Any]) -> None:
    """The draft of a key is there when the page is loaded anew."""
    assert seen["field after reload"] == "74 79 70 65 64"


def test_a_conflicting_delete_is_refused_in_words(seen: dict[str, Any]) -> None:
    """The other's value stays; one that was not changed goes, and can be created anew from the field."""
    refusal, left = seen["refused delete"]
    assert "somebody has changed this key" in refusal
    assert left == "two"
    assert seen["deleted"] == [{"value": None}, "two"]


def test_elections_are_told_with_their_reasons(seen: dict[str, Any]) -> None:
    """The leader since the other was killed, and the candidates with their reasons, without what is no election."""
    told = " ".join(seen["elections"])
    successor = seen["leads then"].lower()
    assert re.search(rf"{successor} leads term \d|follows {successor} in term \d", told)
    assert re.search(rf"{successor} asks for pre-votes, as |votes for {successor} in term|pre-vote for term", told)
    assert "lost its connection" not in told


def test_the_lines_to_copy_do_what_they_say(seen: dict[str, Any]) -> None:
    """Each program writes the value that was typed, whatever is in it, and reads it back."""
    assert seen["written by"] == dict.fromkeys(PROGRAMS, AWKWARD)
    assert {program for program, said in seen["read by"].items() if "two" in said and "$HOME" in said} == {*PROGRAMS}


def test_the_page_goes_on_when_its_own_node_is_killed(seen: dict[str, Any]) -> None:
    """It says so, shows what the last member says, links to its page with the same key, and keeps what was typed."""
    (last,) = {0, 1, 2} - {seen["leader"], seen["page"]}

    assert f"Node {seen['page']}, which served this page, does not answer" in seen["banner"]
    assert seen["links"] == [f"http://{seen['http'][last]}/#cluster"]
    assert seen["margin at last"] == "\N{MINUS SIGN}1"
    assert seen["field at last"] == TYPED_LATER


def test_data_never_become_markup(seen: dict[str, Any]) -> None:
    """A value that is HTML is shown as text."""
    assert seen["markup"] == "<img src=x onerror=document.title='run'><script>1</script>"
    assert seen["title"] != "run"


@pytest.mark.parametrize("view", ["cluster", "keys"])
def test_everything_has_a_name_a_contrast_and_fits_a_phone(seen: dict[str, Any], view: str) -> None:
    """A screen reader finds a name for every control, every text is legible, and nothing is cut off at 390 px."""
    assert seen[f"unlabelled {view}"] == []
    assert seen[f"faint light {view}"] == []
    assert seen[f"faint dark {view}"] == []
    assert seen[f"width {view}"] <= PHONE["width"]
