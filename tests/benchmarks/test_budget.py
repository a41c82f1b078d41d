"""A budget sums to what was measured."""

import pytest

from benchmarks.budget import OTHER, Thread, budget, of_member, place, system_calls
from benchmarks.budget_probe import short_path
from benchmarks.cluster import BenchmarkError


def test_a_sample_counts_for_its_room() -> None:
    """And those of a call into the kernel for the function that makes it."""
    assert place("twisted/internet/tcp.py", "doRead") == "sockets: recv"
    assert place("twisted/internet/tcp.py", "other") == "Twisted's reactor and transports"
    assert place("kvraft/store/store.py", "apply") == "store: apply"
    assert place("json/encoder.py", "encode") == OTHER


def test_a_budget_sums_to_the_time_of_the_thread() -> None:
    """Each part has the share of its samples, the largest first."""
    samples = [("kvraft/store/a.py", "x")] * 3 + [("kvraft/raft/b.py", "y")]
    assert budget(samples, 20.0) == {"store: apply": 15.0, "raft: the core": 5.0}


def test_without_samples_there_is_no_budget() -> None:
    """Rather than one that divides by nothing."""
    with pytest.raises(BenchmarkError):
        budget([], 20.0)


def test_a_member_pays_for_its_other_threads_too() -> None:
    """User mode and the kernel apart; a thread that is new had used nothing before."""
    before = {1: Thread(1.0, 1.0)}
    after = {1: Thread(2.0, 1.5), 2: Thread(0.25, 0.25)}
    member = of_member("leader", before, after, 1, 1_000_000, [("kvraft/raft/b.py", "y")])
    assert member.user_us == pytest.approx(1.25)
    assert member.kernel_us == pytest.approx(0.75)
    assert sum(member.parts.values()) == pytest.approx(2.0)
    assert member.parts["raft: the core"] == pytest.approx(1.5)
    assert "2.0   sum" in member.describe()


def test_system_calls_are_read_from_the_summary_of_strace() -> None:
    """With and without the column of errors; the line of the total is none."""
    summary = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           6       100           sendto
 40.00    0.000400           4        90        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           5       190        12 total
"""
    assert system_calls(summary) == {"sendto": 100, "recvfrom": 90}


def test_paths_begin_with_the_package() -> None:
    """Whatever folder it is installed in."""
    assert short_path("/some/kvraft/kvraft/store/store.py") == "kvraft/store/store.py"
    assert short_path("/lib/site-packages/twisted/internet/tcp.py") == "twisted/internet/tcp.py"
    assert short_path("/usr/lib/python3.11/json/encoder.py") == "encoder.py"
