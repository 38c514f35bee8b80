"""Errors as pages and as JSON: what, why, what next, and the right status."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kvbm_events.schema.errors import InvalidCommand, KvbmError
from kvbm_nats.projection import ProjectionMissing, ProjectionUnavailable
from kvbm_nats.web.rendering import render

INTERNAL = 500


class Problem(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.status, self.what, self.why, self.hint = status, what, why, hint

    @classmethod
    def of(cls, error: KvbmError) -> Problem:
        """One of ours; what is wrong with the question is 400, what is wrong with what is read 503."""
        match error:
            case InvalidCommand():
                status = 400
            case ProjectionMissing() | ProjectionUnavailable():
                status = 503
            case _:
                status = INTERNAL
        return cls(status, error.what, why=error.why, hint=error.hint)


def problem_answer(request: Request, problem: Problem) -> Response:
    """The problem as who asked can read it."""
    if request.url.path.endswith(".json"):
        body = msgspec.json.encode({"what": problem.what, "why": problem.why, "hint": problem.hint})
        return Response(body, status_code=problem.status, media_type="application/json")
    page = render("problem.html", title=problem.what, problem=problem)
    return Response(page, status_code=problem.status, media_type="text/html")
