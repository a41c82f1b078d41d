"""Golden scripts: text files of commands, each followed by a rule and by what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

RULE: Final = "----"
"""The line between a command and its outcome, which ends with an empty line."""


class Teller(Protocol):
    """Carries out the commands of one script."""

    def do(self, command: str) -> list[str]:
        """Carry out one command; return the rule and what came of it."""
        ...


def retold(text: str, teller: Teller) -> str:
    """Return the script with the present outcome of its commands."""
    told: list[str] = []
    is_outcome = False
    for line in text.splitlines():
        is_outcome = line == RULE or (is_outcome and bool(line))
        if is_outcome:
            continue
        told.append(line)
        if line and not line.startswith("#"):
            told += teller.do(line)
    return "\n".join(told).rstrip("\n") + "\n"


def rewrite(folder: Path, make_teller: Callable[[], Teller]) -> None:
    """Write the present outcomes into all scripts of a folder."""
    for path in sorted(folder.glob("*.txt")):
        path.write_text(retold(path.read_text(encoding="utf-8"), make_teller()), encoding="utf-8")
