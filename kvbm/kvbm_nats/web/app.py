"""The application: which URL is which view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from kvbm_nats.projection import open_projection
from kvbm_nats.web import links
from kvbm_nats.web.answering import Answering
from kvbm_nats.web.feed import Feed
from kvbm_nats.web.guards import HEADERS, Guard
from kvbm_nats.web.login import Login
from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.problems import Problem, problem_answer
from kvbm_nats.web.view import View
from kvbm_nats.web.views import VIEWS
from kvbm_nats.web.views.request import WHY_TWINS

STATIC = Path(__file__).with_name("static")
KEY_DIGITS_MIN = 4
_HEX = set("0123456789abcdef")


def make_app(options: WebOptions, closing: asyncio.Event) -> Starlette:
    """The application; its streams end when `closing` is set."""
    answering, login = Answering(options), Login(options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_projection(options.projection) as projection:
            app.state.feed = Feed(projection, closing)
            yield
        answering.close()

    routes: list[BaseRoute] = [
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/login", login.show, methods=["GET"]),
        Route("/login", login.take, methods=["POST"]),
        Route("/i/{instance}/stream", _stream),
        Route("/i/{instance}/find", _find),
        *(route for view in VIEWS for route in _routes(answering, view)),
        *(_twin(answering, view) for view in WHY_TWINS),
    ]
    middleware = [Middleware(Guard, options=options), Middleware(GZipMiddleware, minimum_size=1000)]
    return Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _not_allowed, Exception: _failed},
    )


def _routes(answering: Answering, view: View) -> list[Route]:
    """The page and its twin. The twin is first: its path fits the page's pattern, too."""
    return [_twin(answering, view), Route(view.path, _endpoint(answering, view))]


def _twin(answering: Answering, view: View) -> Route:
    path = "/index.json" if view.path == "/" else f"{view.path}.json"
    return Route(path, _endpoint(answering, view))


def _endpoint(answering: Answering, view: View) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await answering.answer(request, view)

    return endpoint


async def _stream(request: Request) -> Response:
    feed: Feed = request.app.state.feed
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    if feed.is_full:
        return problem_answer(
            request, Problem(503, "too many pages are open", hint="close some, and load this one again")
        )
    if after and not (after.isdecimal() and len(after) < 19):  # noqa: PLR2004 - of 64 bits
        return problem_answer(request, Problem(400, f"after={after[:40]!r} is no sequence"))
    news = feed.stream(request.path_params["instance"], int(after) if after else None)
    return StreamingResponse(news, media_type="text/event-stream")


async def _find(request: Request) -> Response:
    """To the block or the request that the words name."""
    instance, words = request.path_params["instance"], request.query_params.get("q", "").strip()
    at = request.query_params.get("at", "")
    if len(words) >= KEY_DIGITS_MIN and not set(words.lower()) - _HEX:
        return RedirectResponse(links.block(instance, words.lower(), at=at), status_code=303)
    return RedirectResponse(links.instance(instance, "requests", containing=words, at=at), status_code=303)


async def _not_found(request: Request, _error: Exception) -> Response:
    hint = "/ lists the instances; each page leads to the others"
    return problem_answer(request, Problem(404, "there is no such page", why=request.url.path[:200], hint=hint))


async def _not_allowed(request: Request, _error: Exception) -> Response:
    return problem_answer(request, Problem(405, f"{request.method[:20]} is not allowed", why="pages are read only"))


async def _failed(request: Request, _error: Exception) -> Response:
    hint = "read what `kvbm web` wrote on its terminal; the command that the page shows may say more"
    answer = problem_answer(request, Problem(500, "this page failed", why="it is a fault of this program", hint=hint))
    answer.headers.update(HEADERS)  # it is answered outside the guard
    return answer
