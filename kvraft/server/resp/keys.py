"""Commands on keys, whatever stands under them."""

from typing import Final

from kvraft.commands import Operation, delete_key
from kvraft.server.resp.encoding import INTEGER, Reply
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.table import Arguments, Command


def _del(arguments: Arguments) -> tuple[Operation, Reply]:
    if len(arguments) > 2:  # noqa: PLR2004 - several keys
        raise RespError("ERR several keys are not supported yet")
    return delete_key(arguments[1]), INTEGER


COMMANDS: Final = (
    Command(
        name="del",
        arity=-2,
        flags=("write",),
        keys=(1, -1, 1),
        read=_del,
        summary="Delete a key",
    ),
)
