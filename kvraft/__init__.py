"""A strongly consistent, replicated key-value store: Raft on Twisted, one twistd process a node."""

__version__ = "0.1.0"
