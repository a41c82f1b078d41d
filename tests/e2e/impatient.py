"""Runs twistd with clients closed sooner than after a minute without a request: `impatient.py SECONDS ARGUMENT...`.

Otherwise the process is an ordinary node.
"""

import importlib
import sys
from typing import Any

import attrs

from kvraft.config import Config
from kvraft.server import ServerLimits

if __name__ == "__main__":
    _, seconds, *arguments = sys.argv
    service: Any = importlib.import_module("kvraft.process.service")
    usual = service.server_limits

    def server_limits(config: Config) -> ServerLimits:
        """Return the limits of a node, but for that time."""
        limits: ServerLimits = usual(config)
        return attrs.evolve(limits, idle_s=float(seconds))

    service.server_limits = server_limits

    from twisted.scripts.twistd import run

    sys.argv = ["twistd", *arguments]
    run()
