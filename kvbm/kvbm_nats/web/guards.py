"""What every request passes: whether it is for us, who sends it, and the headers of every answer.

Rules
1. Without a token only loopback is served, and only by loopback's names: a page elsewhere whose name was made to point here
   (DNS rebinding) sends its own name.
2. With a token every request bears it, as `Authorization: Bearer`, or as the cookie that the login form sets. Only the form
   and what it looks like are open.
3. No answer may be framed, guessed at, cached by others, or run anything that is not a file of ours.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.problems import Problem, problem_answer

COOKIE = "kvbm_web"
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}
OPEN_PATHS = ("/login", "/static/")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def session_of(token: str) -> str:
    """What the cookie has: shows that its bearer knew the token, and is not the token."""
    return hmac.new(token.encode(), b"kvbm web session", hashlib.sha256).hexdigest()


def is_same(left: str, right: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(left.encode(), right.encode())


class Guard:
    """Middleware; see the module."""

    def __init__(self, app: ASGIApp, options: WebOptions) -> None:
        self._app, self._token = app, options.token
        self._session = session_of(options.token)
        names = {name.lower() for name in options.allowed_hosts}
        if options.is_loopback:
            names |= LOOPBACK_NAMES
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> ASGIApp | None:
        if self._names and _name_of(request.headers) not in self._names:
            return problem_answer(
                request,
                Problem(
                    421,
                    "this server is not known by that name",
                    why="the request's Host header names another one",
                    hint="open the address that `kvbm web` printed; behind a proxy, start it with --allow-host NAME",
                ),
            )
        if not self._token or request.url.path.startswith(OPEN_PATHS) or self._is_known(request):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(there, safe='')}", status_code=303)
        problem = Problem(
            401, "this needs a token", why="none was sent, or not the right one", hint="Authorization: Bearer TOKEN"
        )
        answer = problem_answer(request, problem)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _is_known(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and is_same(token.strip(), self._token):
            return True
        return is_same(request.cookies.get(COOKIE, ""), self._session)


def _name_of(headers: Headers) -> str:
    """The name in the Host header, without its port."""
    host = headers.get("host", "").lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
