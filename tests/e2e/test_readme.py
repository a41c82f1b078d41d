"""The README's first screen, typed as it stands there."""

import re
import subprocess
from pathlib import Path
from typing import Final

import attrs

from tests.conftest import require_tool
from tests.e2e.processes import REPOSITORY, Cluster, typing_environment

README: Final = REPOSITORY / "README.md"
CONSOLE: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
KILL: Final = re.compile(r"kill -9 \d+")
LED_AT_FIRST: Final = 1
"""The node that leads in the README's transcript, and is killed there."""


@attrs.frozen
class Step:
    """A command, and what it answered when the README was written."""

    command: str
    answer: str


def transcript() -> list[Step]:
    """Return what the README's console blocks show."""
    steps: list[Step] = []
    for block in CONSOLE.findall(README.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line.removeprefix("$ "), ""))
            else:
                steps[-1] = attrs.evolve(steps[-1], answer=steps[-1].answer + line + "\n")
    return steps


def type_in(command: str, folder: Path) -> str:
    """Run `command` as a person would, and return what it printed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=typing_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_the_readmes_transcript_is_what_happens(cluster: Cluster) -> None:
    """Each command of the README's console blocks gives the answer that stands below it, with any leader.

    The ports are those of this test's cluster, and so that the answers fit, the README's node 1 is the leader at
    first, and its node 2 the leader after it was killed.
    """
    require_tool("nc")
    steps = transcript()
    assert [step for step in steps if "nc localhost" in step.command], "the README shows no nc any more"
    roles = {LED_AT_FIRST: cluster.await_leader()}

    def in_this_cluster(text: str) -> str:
        rest = [node for node in cluster.ids if node not in roles.values()]
        everyone = {**dict(zip((role for role in (0, 2) if role not in roles), rest, strict=True)), **roles}
        for role, node in everyone.items():
            text = text.replace(f"808{role}", f"<{node}>")
        return re.sub(r"<(\d)>", lambda match: str(cluster.address(int(match[1]))[1]), text)

    for step in steps:
        if KILL.fullmatch(step.command):
            cluster.kill(roles[LED_AT_FIRST])
            roles[2] = cluster.await_leader()
        else:
            assert type_in(in_this_cluster(step.command), cluster.folder) == in_this_cluster(step.answer), step
    (cluster.folder / "readme.py").write_text(PYTHON.findall(README.read_text(encoding="utf-8"))[0], encoding="utf-8")
    assert type_in("python readme.py", cluster.folder) == "b'user:100' b'kmarulab'\nb'user:101' b'ada'\n"


def test_everything_the_readme_links_to_is_there() -> None:
    """Each relative link of the README and of the documents leads to a file."""
    others = [REPOSITORY / name for name in ("CONTRIBUTING.md", "benchmarks/README.md")]
    for page in (README, *others, *(REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
