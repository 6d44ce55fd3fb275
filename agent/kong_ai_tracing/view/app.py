"""The pages: an address in, HTML out. What is shown comes from the store, escaped by the templates."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kong_ai_tracing.view import charts, formats, listing, overview
from kong_ai_tracing.view.conversation import conversation
from kong_ai_tracing.view.filters import RANGES, SORTS, Filters, read_filters
from kong_ai_tracing.view.links import Linked, links_of
from kong_ai_tracing.view.rawlines import NoLineError, raw_line
from kong_ai_tracing.view.reader import Reader, TooBroadError
from kong_ai_tracing.view.sources import Source
from kong_ai_tracing.view.timeline import timeline

_CHOSEN_KINDS = ("model", "provider", "status", "service", "route", "environment")
_MAX_OPTIONS = 200
_THEMES = ("light", "dark")


class Settings(Struct, frozen=True):
    """What the pages need to know besides the store."""

    langfuse: tuple[Linked, ...] = ()
    """The Langfuse projects that have the same traces."""
    raw_lines: bool = True
    clock: Callable[[], float] = time.time


class Pages:
    """The handlers; each runs in a thread of its own."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source = source
        self._reader = Reader(source.store)
        self._settings = settings
        self._templates = Environment(
            loader=PackageLoader("kong_ai_tracing.view"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(formats.FILTERS)

    def traces(self, request: Request) -> Response:
        filters = read_filters(request.query_params)
        with self._reader.reading() as db:
            page = listing.page(db, filters, self._now_ms()) if db else listing.Page([], None)
            options = {kind: _options(db, kind) for kind in _CHOSEN_KINDS} if db else {}
        shown = {"filters": filters, "page": page, "first_of_page": filters.after is None}
        if request.query_params.get("part") == "rows":
            return self._rows(request, shown)
        return self._page(
            request,
            "traces.html",
            **shown,
            options=options,
            ranges=RANGES,
            sorts=SORTS,
            change=self._reader.last_change(),
        )

    def _rows(self, request: Request, shown: dict[str, Any]) -> Response:
        """For live mode: only what changed is worth an answer."""
        change = str(self._reader.last_change())
        if request.query_params.get("change") == change:
            return Response(status_code=204)
        html = self._templates.get_template("rows.html").render(shown)
        return HTMLResponse(html, headers={"x-change": change})

    def trace(self, request: Request) -> Response:
        trace = self._trace(request)
        shown = timeline(trace)
        wanted = request.query_params.get("o", "")
        chosen = next((step for step in shown.steps if step.id == wanted), None) or _most_telling(shown.steps)
        said = orjson.loads(orjson.dumps(chosen.observation))
        return self._page(
            request,
            "trace.html",
            trace=trace,
            timeline=shown,
            chosen=chosen,
            said=said,
            asked=conversation(said["input"], "input") if "input" in said else None,
            answered=conversation(said["output"], "output") if "output" in said else None,
            langfuse=links_of(trace, self._settings.langfuse),
            raw_lines=self._settings.raw_lines and "origin" in said,
        )

    def raw(self, request: Request) -> Response:
        """The line of the log as it was written: nothing is taken out of it."""
        if not self._settings.raw_lines:
            raise HTTPException(403, "The lines of the log are shown on this machine only.")
        said = self._observation(request)
        try:
            line = raw_line(said["origin"], said.get("metadata", {}).get("kong_request_id"))
        except (NoLineError, KeyError) as error:
            raise HTTPException(404, str(error)) from None
        return PlainTextResponse(line + "\n")

    def body(self, request: Request) -> Response:
        """All of an input or output, as JSON text."""
        said = self._observation(request)
        name = request.path_params["name"]
        if name not in said:
            raise HTTPException(404, f"There is no {name}.")
        return PlainTextResponse(orjson.dumps(said[name], option=orjson.OPT_INDENT_2).decode())

    def overview(self, request: Request) -> Response:
        by = request.query_params.get("by", "")
        by = by if by in overview.GROUPS else "model"
        range_ = request.query_params.get("range", "24h")
        with self._reader.reading() as db:
            seen = overview.look(db, range_, by, self._now_ms()) if db else None
        return self._page(
            request,
            "overview.html",
            seen=seen,
            charts=charts.charts_of(seen) if seen and seen.total.calls else [],
            by=by,
            range=range_ if range_ in overview.RANGES else "all",
            ranges=overview.RANGES,
            groups=overview.GROUPS,
            everybody={overview.OTHERS, overview.NOBODY},
            filters=Filters(),
        )

    def _trace(self, request: Request) -> dict[str, Any]:
        trace = self._reader.trace(request.path_params["trace_id"])
        if trace is None or not trace.get("observations"):
            raise HTTPException(404, "There is no such trace, or it has left the store.")
        return trace

    def _observation(self, request: Request) -> dict[str, Any]:
        wanted = request.path_params["observation_id"]
        for each in self._trace(request)["observations"]:
            if each["id"] == wanted:
                said: dict[str, Any] = orjson.loads(orjson.dumps(each))
                return said
        raise HTTPException(404, "There is no such observation.")

    def failure(self, request: Request, error: Exception) -> Response:
        if isinstance(error, TooBroadError):
            error = HTTPException(503, "That takes too long: choose a shorter time, or more filters.")
        if isinstance(error, sqlite3.Error):
            error = HTTPException(503, f"The store cannot be read: {error}")
        assert isinstance(error, HTTPException)
        answer = self._page(request, "failure.html", why=error.detail)
        answer.status_code = error.status_code
        return answer

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        theme = request.cookies.get("theme", "")
        values |= {
            "theme": theme if theme in _THEMES else "",
            "what": self._source.what,
            "trouble": self._source.trouble,
            "here": request.url.path,
        }
        return HTMLResponse(self._templates.get_template(template).render(values))

    def _now_ms(self) -> int:
        return int(self._settings.clock() * 1000)


def application(source: Source, settings: Settings) -> Starlette:
    """The pages, without the gate before them."""
    pages = Pages(source, settings)
    return Starlette(
        routes=[
            Route("/", pages.traces),
            Route("/overview", pages.overview),
            Route("/trace/{trace_id}", pages.trace),
            Route("/trace/{trace_id}/{observation_id}/line", pages.raw),
            Route("/trace/{trace_id}/{observation_id}/{name:str}", pages.body),
            Route("/favicon.ico", lambda _: RedirectResponse("/static/icon.svg")),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers=dict.fromkeys((HTTPException, TooBroadError, sqlite3.Error), pages.failure),
    )


def _options(db: Any, kind: str) -> list[tuple[str, int]]:
    query = "SELECT value, traces FROM labels WHERE kind = ? ORDER BY traces DESC, value LIMIT ?"
    return [(value, traces) for value, traces in db.execute(query, (kind, _MAX_OPTIONS))]


def _most_telling(steps: list[Any]) -> Any:
    """What one wants to see first: the failure, else a call, else whatever there is."""
    failed = (step for step in steps if step.observation.get("level") == "ERROR")
    calls = (step for step in steps if step.observation["type"] in ("generation", "embedding"))
    return next(failed, None) or next(calls, None) or steps[0]
