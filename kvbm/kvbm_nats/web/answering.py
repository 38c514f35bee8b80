"""From a request to an answer: questions are asked in threads of their own, so that streams go on, with limits.

Each question has its own event loop and its own view of one moment of the projection.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.cli.source import seq_of
from kvbm_nats.projection import Projection, open_projection
from kvbm_nats.web import links
from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.problems import Problem, problem_answer
from kvbm_nats.web.rendering import render
from kvbm_nats.web.view import Ask, View, first_event
from kvbm_nats.web.worlds import Worlds

THREADS = 4
WAITING_MAX = 32
"""Questions that are asked or wait; whoever comes then is told to come again."""
QUERY_MAX = 2000


class Answering:
    """See the module."""

    def __init__(self, options: WebOptions) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kvbm-web")
        self._worlds = Worlds()
        self._waiting = 0

    async def answer(self, request: Request, view: View) -> Response:
        """The view's page, or its twin, or what is wrong."""
        is_json = request.url.path.endswith(".json")
        if len(request.url.query) > QUERY_MAX:
            why = f"a query has {QUERY_MAX:,} characters at most"
            return problem_answer(request, Problem(414, "the question is too long", why=why))
        try:
            body = await self._in_thread(view, request, is_json=is_json)
        except Problem as problem:
            return problem_answer(request, problem)
        except KvbmError as error:
            return problem_answer(request, Problem.of(error))
        return Response(body, media_type="application/json" if is_json else "text/html")

    async def _in_thread(self, view: View, request: Request, *, is_json: bool) -> bytes | str:
        if self._waiting >= WAITING_MAX:
            raise Problem(503, "too many questions at a time", why=f"{WAITING_MAX} wait already", hint="ask again soon")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._threads, lambda: asyncio.run(self._ask(view, request, is_json=is_json))
            )
        finally:
            self._waiting -= 1

    async def _ask(self, view: View, request: Request, *, is_json: bool) -> bytes | str:
        try:
            async with (
                asyncio.timeout(view.time_s),
                open_projection(self._options.projection) as projection,
                projection.one_moment(),
            ):
                return await self._answer(view, projection, request, is_json=is_json)
        except TimeoutError:
            raise Problem(
                503,
                "the answer takes too long for a page",
                why=f"it has {view.time_s:g} s",
                hint="ask for less, or use the command line, which has no limit",
            ) from None

    async def _answer(self, view: View, projection: Projection, request: Request, *, is_json: bool) -> bytes | str:
        path, query = dict(request.path_params), dict(request.query_params)
        names = [row.name for row in await projection.instances()]
        instance, at = path.pop("instance", ""), query.get("at", "")
        if instance and instance not in names:
            raise Problem(
                404, f"there is no instance {instance}", why="the projection has none of that name", hint="/ lists them"
            )
        last = (await projection.position()).seq
        until = await seq_of(projection, at or None)
        ask = Ask(
            options=self._options,
            projection=projection,
            instance=instance,
            at=at,
            until=until,
            last=last,
            path=path,
            query=query,
            worlds=self._worlds,
            is_twin=is_json,
        )
        answer = await view.answer(ask)
        if is_json:
            return msgspec.json.encode(answer)
        first = await first_event(ask)
        values: dict[str, object] = {
            "ask": ask,
            "answer": answer,
            "instances": names,
            "twins": [links.twin(request.url.path, request.url.query)],
            "first_seq": first.seq if first else 0,
            "commands": await view.commands(ask, answer),
        }
        return render(view.template, title=view.title(ask), **values | await view.context(ask, answer))

    def close(self) -> None:
        """Wait for no question any more."""
        self._worlds.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
