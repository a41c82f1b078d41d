"""Whole runs of `make chaos`, short ones: clean where kvraft keeps its promises, and failed where it cannot."""

import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from kvraft.chaos.faults import (
    disconnect_clients,
    isolate_the_leader,
    kill_all,
    kill_the_leader,
    pause_the_leader,
    split,
)
from kvraft.chaos.run import EXPLANATION, FAULTS, HISTORY, Plan, Result, Run
from kvraft.simulation.check import main as check_file
from kvraft.simulation.history import Action, Outcome, load, save
from tests.conftest import deadline
from tests.e2e.processes import REPOSITORY, environment

RUN_S = 150.0
"""Longest time for a run that does harm for a few seconds, on a busy machine."""


async def run(plan: Plan) -> Result:
    """Return what came of a run."""
    from twisted.internet import reactor

    return await Run(reactor, plan).run()


@deadline(RUN_S)
async def test_real_nodes_keep_their_promises(tmp_path: Path) -> None:
    """Killed, paused and cut off, the nodes lose nothing and contradict nothing; a falsified record is convicted."""
    result = await run(
        Plan(
            tmp_path / "run",
            seconds=15.0,
            seed=3,
            process_faults={kill_the_leader: 2, pause_the_leader: 2, kill_all: 1},
            network_faults={isolate_the_leader: 2, split: 1, disconnect_clients: 1},
        )
    )

    assert result.is_clean, (str(result), result.findings)
    assert result.faults >= 4
    assert result.outcomes[Outcome.OK] > 500
    assert check_file([str(tmp_path / "run" / HISTORY)]) == 0
    assert "everything is healed" in (tmp_path / "run" / FAULTS).read_text(encoding="utf-8")

    operations = load(tmp_path / "run" / HISTORY)
    written = {each.value for each in operations if each.action is Action.SET and each.outcome is Outcome.OK}
    # These keys are written once, so that a read which finds nothing afterwards can only be a loss.
    read = max(
        (each for each in operations if each.key.startswith("once") and each.is_read and each.value in written),
        key=lambda each: each.invoked,
    )
    operations[operations.index(read)] = attrs.evolve(read, value=None)
    save(tmp_path / "falsified", operations)
    assert check_file([str(tmp_path / "falsified")]) == 1


@deadline(RUN_S)
async def test_nodes_that_forget_are_convicted(tmp_path: Path) -> None:
    """Nodes that keep nothing on disk lose everything when all are killed, and the verdict says so."""
    result = await run(
        Plan(
            tmp_path / "run",
            seconds=2.0,
            seed=3,
            settings={"durability": "memory"},
            process_faults={},
            network_faults={},
        )
    )

    assert not result.is_clean
    assert result.report.violations
    explanation = (tmp_path / "run" / EXPLANATION).read_text(encoding="utf-8")
    assert "-> None, ok" in explanation
    assert check_file([str(tmp_path / "run" / HISTORY)]) == 1


@pytest.mark.parametrize("how", ["interrupted", "finished"])
def test_the_command_leaves_nothing_behind(tmp_path: Path, how: str) -> None:
    """It prints one line and its exit status says whether all is well; Ctrl-C is no pass, and ends all nodes too."""
    seconds = "60" if how == "interrupted" else "1"
    command = [sys.executable, "-m", "kvraft.chaos", "--seconds", seconds, "--seed", "1", "--folder", "run"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,  # noqa: PLW1509 - it only sets a signal
    ) as process:
        try:
            if how == "interrupted":
                wait_for_history(tmp_path / "run" / HISTORY)
                process.send_signal(signal.SIGINT)
            said, complained = process.communicate(timeout=RUN_S)
        finally:
            process.kill()

    assert nodes_of(tmp_path) == []
    if how == "finished":
        assert process.returncode == 0, complained
        assert said.startswith("chaos: clean; seed 1, 1 s, 3 nodes, ")
        assert said.count("\n") == 1
    else:
        assert process.returncode == 2
        assert said == ""
        assert "interrupted; seed 1" in complained


def listen_to_ctrl_c() -> None:
    """Undo what a shell does to processes in its background, where the tests may run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_history(path: Path) -> None:
    """Wait until clients are at work."""
    from tests.e2e.clients import wait_until

    wait_until("operations", lambda: path.exists() and path.stat().st_size > 0)


def nodes_of(folder: Path) -> list[str]:
    """Return the processes that run in a folder below this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text(encoding="utf-8"))
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return found
