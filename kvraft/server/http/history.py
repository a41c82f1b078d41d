"""The revisions of a key, the newest first."""

from collections.abc import Sequence
from typing import Any, Final

from kvraft.commands import Failure, InvalidCommand, Item, get_key, get_key_at
from kvraft.server import replies
from kvraft.server.http import answers
from kvraft.server.http.call import Call

HISTORY_ITEMS: Final = 20
"""Revisions of a key in an answer, unless the request names a number."""
HISTORY_ITEMS_MAX: Final = 100
"""Most revisions in one answer; each takes a read of its own."""
HISTORY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of values after which no further revision is read."""


class _History:
    """Reads one revision of a key after the other, the newest first, as far back as the store keeps them."""

    def __init__(self, call: Call) -> None:
        for name in ("revision", "stale", "local"):
            if name in call.arguments:
                raise InvalidCommand(f"a history begins with the key as it is; leave {name} out")
        limit = call.arguments.number("limit")
        self._limit = HISTORY_ITEMS if limit is None else limit
        if not 1 <= self._limit <= HISTORY_ITEMS_MAX:
            raise InvalidCommand(f"limit is a number from 1 to {HISTORY_ITEMS_MAX} here")
        self._call = call
        self._key = call.variable("key")
        self._items: list[Item] = []
        self._bytes = 0

    def start(self) -> None:
        """Read the key as it is."""
        self._call.ask_then([get_key(self._key)], self._found)

    def _found(self, results: Sequence[Any]) -> None:
        (item,) = results
        if isinstance(item, Failure):
            self._end(failure=item)
        elif item is None:
            self._end()
        else:
            assert isinstance(item, Item), "what stands under a key is an item"
            self._items.append(item)
            self._bytes += len(item.value)
            if len(self._items) == self._limit or self._bytes > HISTORY_BYTES_MAX:
                self._end(more=True)
            else:
                self._call.ask_then([get_key_at(self._key, item.modify_revision - 1)], self._found)

    def _end(self, *, more: bool = False, failure: Failure | None = None) -> None:
        """Answer. With a failure the store does not keep what came before."""
        if not self._items:
            self._call.request.answer(answers.error("NO_SUCH_KEY", "the key is not there"))
            return
        told: dict[str, object] = {
            **replies.text("key", self._key),
            "revisions": [replies.members(item) for item in self._items],
            "more": more or failure is not None,
        }
        if failure is not None and failure.details:
            told["oldest_revision"] = failure.details.get("oldest_revision")
        self._call.request.answer(answers.json(told))


def begin_history(call: Call) -> None:
    """Answer with the revisions of a key."""
    _History(call).start()
