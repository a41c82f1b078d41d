"""Says a thing once, however often a loop that tries again runs into it."""

from typing import Any, Final

from twisted.logger import Logger

CAUSES_MAX: Final = 256
"""How many causes are remembered. Beyond them nothing new is logged: a stranger may invent causes without end."""


class LogOncePerCause:
    """Logs a warning the first time that its cause is given, and not again until the cause is forgotten."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._causes: set[tuple[object, ...]] = set()

    def warn(self, cause: tuple[object, ...], message: str, **fields: Any) -> None:
        """Log `message`, a twisted.logger format, unless `cause` is known; a cause opens with the peer's id or None."""
        if cause in self._causes or len(self._causes) > CAUSES_MAX:
            return
        self._causes.add(cause)
        self._log.warn(message, **fields)
        if len(self._causes) > CAUSES_MAX:
            self._log.warn(
                "more than {limit} different complaints about peers; no further are logged", limit=CAUSES_MAX
            )

    def forget(self, *cause: object) -> None:
        """Forget the causes that open with these values: what was wrong there is right again."""
        self._causes = {each for each in self._causes if each[: len(cause)] != cause}
