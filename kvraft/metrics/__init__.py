"""What a node counts of its own work, and how monitoring reads it.

A running node only adds to plain numbers: `histogram`, `requests`. `series` takes one point a second of them, for the
page. `catalogue` names every metric, and `exposition` makes Prometheus' text of them on request.
"""

from kvraft.metrics.histogram import Histogram
from kvraft.metrics.requests import RequestCounts
from kvraft.metrics.series import Series

__all__ = ["Histogram", "RequestCounts", "Series"]
