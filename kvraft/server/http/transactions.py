"""Transactions: those of the line protocol's TXN."""

from functools import partial
from typing import Final

from kvraft.server import transaction_json
from kvraft.server.http import answers, once
from kvraft.server.http.answers import Answer, as_json
from kvraft.server.http.call import Call
from kvraft.server.http.routes import IDEMPOTENCY_KEY, ONCE, Route
from kvraft.server.http.statuses import CONFLICT, NOT_FOUND, TOO_LONG, UNPROCESSABLE


def _txn(call: Call) -> None:
    transaction = transaction_json.read(call.body)
    answer = as_json(partial(transaction_json.outcome, transaction))
    if call.header(IDEMPOTENCY_KEY) is None:
        call.ask(transaction, answer)
    else:
        once.ask(call, transaction, answer, _replay, keeps_either=True)


def _replay(succeeded: bool, revision: int) -> Answer:
    return answers.json({"succeeded": succeeded, "revision": revision, "results": None})


ROUTES: Final = (
    Route(
        method="POST",
        path="/txn",
        carry_out=_txn,
        summary='Carry out {"if": [...], "then": [...], "else": [...]} as one',
        headers=(ONCE,),
        body=answers.JSON,
        answer_text="`succeeded`, `revision` and `results`.",
        errors=(NOT_FOUND, CONFLICT, TOO_LONG, UNPROCESSABLE),
    ),
)
