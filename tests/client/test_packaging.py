"""What a program pays for, and gets, that imports a client."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("from kvraft.client import Client, If, Transaction", ("twisted", "asyncio", "attr", "cattrs")),
        ("from kvraft.client import AsyncClient", ("twisted", "attr", "cattrs")),
        ("import kvraft.client.twisted", ("cattrs",)),
    ],
)
def test_a_client_imports_neither_the_server_nor_what_it_does_not_need(
    statement: str, forbidden: tuple[str, ...]
) -> None:
    """In a process of its own, whatever the tests have imported here."""
    script = f"import sys; {statement}; print(*(name for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    imported = done.stdout.split()

    assert {name for name in imported if name.startswith("kvraft.")} == {
        name for name in imported if name.startswith("kvraft.client")
    }
    assert {name.partition(".")[0] for name in imported}.isdisjoint(forbidden)
