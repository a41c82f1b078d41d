"""How many connections of clients a node has, on whatever port they came: the limits are those of the node."""

from twisted.logger import Logger

from kvraft.server.limits import ServerLimits
from kvraft.server.sniff import FirstByte


class Occupancy:
    """Counts connections, and says whether there is room for one more."""

    _log = Logger()

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._is_full = False
        """Whether it was logged that clients are refused."""
        self.silent: dict[FirstByte, None] = {}
        """Connections that have not said anything yet, or are refused, in the order of their arrival."""
        self.opened = 0
        """Connections that are open, also those that are being dropped."""
        self.clients = 0
        """Client connections that are open."""
        self.refused_clients = 0
        """Clients that were turned away since the start, because there were too many."""

    @property
    def has_room(self) -> bool:
        """Whether one more connection can be accepted, whoever speaks on it."""
        return self._limits.connections is None or self.opened < self._limits.connections

    def admit(self) -> bool:
        """Count one more client, unless there are as many as are allowed."""
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
        # Not at the first gap: while clients come and go at the limit, each refusal would be logged.
        self._is_full = self._is_full and self.clients > self._limits.clients // 2
