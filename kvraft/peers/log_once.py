"""Logs a warning once, even if a loop that retries meets its cause again and again."""

from typing import Any, Final

from twisted.logger import Logger

CAUSES_MAX: Final = 256
"""How many causes are kept. Beyond them nothing new is logged: an untrusted client can produce causes without end."""


class LogOncePerCause:
    """Logs a warning for the first occurrence of its cause, and not again until the cause is dropped."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._causes: set[tuple[object, ...]] = set()

    def warn(self, cause: tuple[object, ...], message: str, **fields: Any) -> None:
        """Log `message`, a twisted.logger format, unless `cause` was logged; it begins with the peer's id or None."""
        if cause in self._causes or len(self._causes) > CAUSES_MAX:
            return
        self._causes.add(cause)
        self._log.warn(message, **fields)
        if len(self._causes) > CAUSES_MAX:
            self._log.warn(
                "more than {limit} different complaints about peers; no further are logged", limit=CAUSES_MAX
            )

    def forget(self, *cause: object) -> None:
        """Drop the causes that begin with these values: the fault is over, and may be logged again."""
        self._causes = {each for each in self._causes if each[: len(cause)] != cause}
