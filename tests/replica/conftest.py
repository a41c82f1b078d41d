"""A cluster that every test may have, and that is checked and stopped after it."""

from collections.abc import Iterator

import pytest

from tests.replica.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three members with a disk each, a leader among them; at the end no member has failed and the logs match."""
    cluster = Cluster()
    cluster.settle()
    yield cluster
    cluster.check()
