"""Clusters for the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Cluster, running_cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests of a module: they leave every node running, and use keys of their own."""
    with running_cluster(tmp_path_factory.mktemp("shared")) as cluster:
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes for one test, with a leader; it may do to them what it likes."""
    with running_cluster(tmp_path / "cluster") as cluster:
        yield cluster
