"""Begins the checks of one process that look at single calls between its parts."""

from collections.abc import Callable, Mapping

from kvraft.process.assembly import Assembly
from kvraft.raft import Entry, InvariantViolated
from kvraft.simulation.conduct_of_connections import watch_connections
from kvraft.simulation.conduct_of_followers import watch_followers, watch_orders
from kvraft.simulation.conduct_of_leaders import watch_commits, watch_probes, watch_rounds, watch_windows
from kvraft.simulation.conduct_of_members import watch_answers
from kvraft.simulation.conduct_of_requests import watch_forwarding, watch_local_reads, watch_proposals, watch_uncertain
from kvraft.simulation.conduct_of_snapshots import watch_snapshots
from kvraft.simulation.conduct_of_votes import watch_losses, watch_votes
from kvraft.simulation.conduct_of_watches import watch_watches
from kvraft.simulation.member import Member


def watch_calls(
    member: Member,
    assembly: Assembly,
    committed: Mapping[int, Entry],
    reached: Callable[[], int],
    object_to: Callable[[InvariantViolated], None],
) -> None:
    """Begin to check a new process; violations are listed, since production code may catch what is raised there.

    Args:
        member: the node.
        assembly: the parts of its process.
        committed: all committed entries, by their index.
        reached: returns the last entry that any node has applied.
        object_to: takes a violation.
    """
    node = assembly.replica.node
    watch_answers(node, assembly.replica.intake, object_to)
    watch_probes(node, object_to)
    watch_windows(node, object_to)
    watch_rounds(node, object_to)
    watch_commits(node, object_to)
    watch_votes(node, object_to)
    watch_losses(node, object_to)
    watch_followers(node, object_to)
    watch_orders(node, object_to)
    watch_connections(member.id, assembly, object_to)
    watch_snapshots(member, assembly, object_to)
    watch_proposals(assembly, committed, object_to)
    watch_forwarding(assembly, object_to)
    watch_uncertain(assembly, object_to)
    watch_local_reads(assembly, reached, object_to)
    watch_watches(assembly, object_to)
