"""Tells twistd that there is a `kvraft` to run; the service itself is imported only when it is chosen."""

from twisted.application.service import ServiceMaker

# twistd keeps the name of this variable in its plugin cache, so it is never changed.
kvraft = ServiceMaker(
    name="kvraft",
    module="kvraft.process.service",
    description="One node of a replicated key-value store.",
    tapname="kvraft",
)
