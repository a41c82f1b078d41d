"""The entry point of the `kvraft` command: it carries out the most frequent commands itself, and the rest by click.

To import click takes longer than to send a request to a node. So the commands that people and scripts type most,
`kvraft get KEY`, `kvraft set KEY VALUE` and `kvraft --version`, run without click. A command line with any other option
goes to click, and so does one with a mistake. A test compares both ways for each of these commands.
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kvraft import __version__
from kvraft.cli import statuses

if TYPE_CHECKING:
    from kvraft.client import Client

TIMEOUT_S: Final = 10.0
"""Time that a request may take, seconds, as in `kvraft.cli.options`."""
COMPLETE_VARIABLE: Final = "_KVRAFT_COMPLETE"
"""Environment variable that is set while a shell asks click for completions."""


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    plain = not any(argument.startswith("-") for argument in arguments) and COMPLETE_VARIABLE not in os.environ
    match arguments:
        case ["--version"]:
            print(f"kvraft {__version__}")
            return statuses.OK
        case ["get", key] if plain:
            return _ended(lambda: get(key))
        case ["set", key, value] if plain:
            return _ended(lambda: set_(key, value))
    from kvraft.cli.main import main as main_of_click

    return main_of_click(arguments)


def _ended(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return statuses.interrupted()
    except BrokenPipeError:
        return statuses.end_of_a_pipe()
    except Exception as error:
        told = statuses.tell(error)
        if told is None:
            raise
        return told
    return status


def _client() -> "Client":
    """Import the client and make one.

    msgspec imports two names from `typing_extensions` where that is installed, else from `typing`, which has them since
    Python 3.11. To import `typing_extensions` takes longer than to import msgspec, so it is hidden during the import.
    """
    name = "typing_extensions"
    is_hidden = name not in sys.modules
    if is_hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        from kvraft.cli.patient import PatientClient
    finally:
        if is_hidden:
            del sys.modules[name]
    return PatientClient(None, TIMEOUT_S, "text")


def get(key: str) -> int:
    """Print the value of a key, with a line feed after it; return the exit status."""
    with _client() as client:
        value = client.get(key.encode(errors="surrogateescape"))
    if value is None:
        print(f"kvraft: there is no key {key}", file=sys.stderr)
        return statuses.NO_SUCH_KEY
    sys.stdout.buffer.write(value + b"\n")
    return statuses.OK


def set_(key: str, value: str) -> int:
    """Write a key; return the exit status."""
    with _client() as client:
        client.set(key.encode(errors="surrogateescape"), value.encode(errors="surrogateescape"))
    print("OK")
    return statuses.OK


if __name__ == "__main__":
    sys.exit(main())
