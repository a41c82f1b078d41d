"""The seed: a file in the data directory of a node that has joined a cluster with `--join`.

It is durable before the cluster is asked to add the node, and holds the node's address, the members at that time and
the id of the cluster. At its next start, with `--join` or without, the node connects to these members until its own log
has a configuration. The seed replaces config.json and, like it, is not changed by later events.
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
    """The node cannot join; the text says what to do about it, `status` is the exit status of the process."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cluster as a node found it when it joined."""

    version: int
    id: int
    address: str
    """The address of this node."""
    cluster_id: str | None
    members: dict[int, str]
    """The addresses of the other members."""
    learners: list[int] = []
    removed: list[int] = []

    @property
    def membership(self) -> Membership:
        """The configuration with which this node begins. It does not contain the node until the log adds it."""
        return Membership(
            voters=self.members.keys() - set(self.learners),
            learners=self.learners,
            addresses=self.members,
            removed=self.removed,
        )


def read_seed(folder: Path) -> Seed | None:
    """Return the seed in a node's data directory; None if it has not joined with `--join`.

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
    """Make the seed durable, atomically.

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
    """Return the error to raise for an error of the operating system."""
    return JoinFailed(exit_status.OSERR if lacks_files(error) else exit_status.IOERR, f"{what}: {error}")
