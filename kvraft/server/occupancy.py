"""Counts the client connections of a node on all its ports: the limits are those of the node."""

from twisted.logger import Logger

from kvraft.server.limits import ServerLimits
from kvraft.server.sniff import FirstByte


class Occupancy:
    """Counts connections, and decides whether one more is accepted."""

    _log = Logger()

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._is_full = False
        """Whether it was logged that clients are refused."""
        self.silent: dict[FirstByte, None] = {}
        """Connections that have sent nothing yet, or are refused, in the order of their arrival."""
        self.opened = 0
        """How many connections are open, including those that are being dropped."""
        self.clients = 0
        """How many client connections are open."""
        self.refused_clients = 0
        """How many clients were refused since the start, because there were too many."""

    @property
    def has_room(self) -> bool:
        """Whether one more connection can be accepted, of a client or a peer."""
        return self._limits.connections is None or self.opened < self._limits.connections

    def admit(self) -> bool:
        """Count one more client and return True, unless as many as are allowed are connected."""
        if self.clients < self._limits.clients:
            self.clients += 1
            return True
        self.refused_clients += 1
        if not self._is_full:
            self._is_full = True
            self._log.warn(
                "{clients} clients are connected, as many as are allowed: more are refused", clients=self.clients
            )
        return False

    def leave(self) -> None:
        """Count one client less."""
        self.clients -= 1
        # Not when the first client leaves: while clients come and go at the limit, each refusal would be logged.
        self._is_full = self._is_full and self.clients > self._limits.clients // 2
