"""The seed: a file in the data directory of a node that has joined a cluster by itself (`--join`).

It is durable before the cluster is asked to add the node, and holds what the node was told: where it listens, who the
members were, and of which cluster. From it the node knows at its next start which nodes to talk to, with `--join` or
without, until its own log says more. The seed takes the place of config.json and, like it, is never changed by what
happens later.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from kvraft.errors import exit_status
from kvraft.raft import Membership
from kvraft.storage.errors import lacks_files

SEED_NAME: Final = "joined.json"
SEED_VERSION: Final = 1


class JoinFailed(Exception):
    """The node cannot join; the text says what to do about it, `status` is that of the process."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node that has joined knew of its cluster when it did."""

    version: int
    id: int
    address: str
    """Where this node is reached."""
    cluster_id: str | None
    members: dict[int, str]
    """Where the other members are reached."""
    learners: list[int] = []
    removed: list[int] = []

    @property
    def membership(self) -> Membership:
        """The configuration that this node begins with. It does not contain the node: the log says when it does."""
        return Membership(
            voters=self.members.keys() - set(self.learners),
            learners=self.learners,
            addresses=self.members,
            removed=self.removed,
        )


def read_seed(folder: Path) -> Seed | None:
    """Return the seed in a node's data directory, None when it has not joined by itself.

    Raises:
        JoinFailed: there is one that cannot be used.
    """
    path = folder / SEED_NAME
    try:
        seed = msgspec.json.decode(path.read_bytes(), type=Seed)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JoinFailed(exit_status.IOERR, f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise _refused(f"{path} cannot be read", error) from error
    if seed.version != SEED_VERSION:
        raise JoinFailed(exit_status.PROTOCOL, f"{path} has the version {seed.version}; run the kvraft that wrote it")
    return seed


def write_seed(folder: Path, seed: Seed) -> None:
    """Make the seed durable: whole or not at all.

    Raises:
        JoinFailed: the operating system refuses it.
    """
    path = folder / SEED_NAME
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(seed) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _refused(f"{path} cannot be written", error) from error


def _refused(what: str, error: OSError) -> JoinFailed:
    """Return what to raise for an error of the operating system."""
    return JoinFailed(exit_status.OSERR if lacks_files(error) else exit_status.IOERR, f"{what}: {error}")
