"""The form that takes the token, and the cookie that it sets."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kvbm_nats.web.guards import COOKIE, is_same, session_of
from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.rendering import render

HOURS = 12
"""How long the cookie is good for."""
BODY_MAX = 4096


class Login:
    """See the module."""

    def __init__(self, options: WebOptions) -> None:
        self._token = options.token

    async def show(self, request: Request) -> Response:
        """The form; where no token is asked for, the first page."""
        there = _inside(request.query_params.get("next", "/"))
        return self._form(there) if self._token else RedirectResponse(there, status_code=303)

    async def take(self, request: Request) -> Response:
        """Set the cookie and go where the user wanted to, if the token is right."""
        fields = parse_qs(await _body_of(request))
        there = _inside(fields.get("next", ["/"])[0])
        if not self._token or not is_same(fields.get("token", [""])[0].strip(), self._token):
            return self._form(there, wrong=True)
        answer = RedirectResponse(there, status_code=303)
        answer.set_cookie(
            COOKIE,
            session_of(self._token),
            max_age=HOURS * 3600,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @staticmethod
    def _form(there: str, *, wrong: bool = False) -> Response:
        page = render("login.html", title="Token", there=there, wrong=wrong)
        return Response(page, status_code=401 if wrong else 200, media_type="text/html")


async def _body_of(request: Request) -> str:
    """The body, if it is as small as a form's."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            return ""
    return body.decode(errors="replace")


def _inside(there: str) -> str:
    """The path if it is one of ours: a form must not send anybody elsewhere."""
    is_path = there.startswith("/") and not there.startswith(("//", "/\\"))
    return there if is_path and there.isprintable() else "/"
