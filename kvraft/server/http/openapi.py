"""The OpenAPI description of all routes, made from the table of routes itself."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import kvraft
from kvraft.server.http import answers
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL,
    MISDIRECTED,
    NOT_IMPLEMENTED,
    STATUSES,
    UNAVAILABLE,
    UNKNOWN_OUTCOME,
)

ANY_MAY_HAVE: Final = (BAD_REQUEST, FORBIDDEN, MISDIRECTED, INTERNAL, NOT_IMPLEMENTED, UNAVAILABLE, UNKNOWN_OUTCOME)
"""Statuses of errors that any request may come to."""
_ERROR: Final = {"$ref": "#/components/schemas/Error"}


def describe(routes: Sequence[Route]) -> dict[str, object]:
    """Return the description of these routes."""
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path.replace("*}", "}"), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kvraft",
            "version": kvraft.__version__,
            "description": "A replicated, linearizable key-value store. A member that does not lead answers writes and "
            "linearizable reads with 307 to the leader, or passes them on, as config.json says.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "message"],
                    "properties": {
                        "error": {"type": "string", "enum": sorted(STATUSES)},
                        "message": {"type": "string"},
                    },
                }
            }
        },
    }


def _operation(route: Route) -> dict[str, object]:
    parameters = [_variable(name) for name in route.variables]
    parameters += [_parameter(each, "query") for each in route.parameters]
    parameters += [_parameter(each, "header") for each in route.headers]
    described: dict[str, object] = {"summary": route.summary, "responses": _responses(route)}
    if parameters:
        described["parameters"] = parameters
    if route.body is not None:
        described["requestBody"] = {"required": True, "content": {route.body: {}}}
    return described


def _variable(name: str) -> dict[str, object]:
    kind = "integer" if name == "id" else "string"
    return {"name": name, "in": "path", "required": True, "schema": {"type": kind}}


def _parameter(parameter: Parameter, place: str) -> dict[str, object]:
    described: dict[str, object] = {
        "name": parameter.name,
        "in": place,
        "description": parameter.text,
        "required": parameter.required,
        "schema": {"type": parameter.kind},
    }
    if parameter.kind == "boolean":
        described["allowEmptyValue"] = True
    return described


def _responses(route: Route) -> dict[str, object]:
    responses: dict[str, object] = {
        str(answers.OK): {"description": route.answer_text, "content": {route.answer: {}}},
        str(answers.REDIRECT): {"description": "This member does not lead: ask at Location.", "content": {}},
    }
    for status in sorted({*ANY_MAY_HAVE, *route.errors}):
        codes = ", ".join(sorted(code for code, each in STATUSES.items() if each == status))
        responses[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {codes}",
            "content": {answers.JSON: {"schema": _ERROR}},
        }
    return responses


def route_beside(others: Sequence[Route]) -> Route:
    """Return the route of the description, which lists the others and itself."""

    def tell(call: Call) -> None:
        call.request.answer(answers.json(describe([*others, route])))

    route = Route(method="GET", path="/openapi.json", carry_out=tell, summary="What can be called: this description")
    return route
