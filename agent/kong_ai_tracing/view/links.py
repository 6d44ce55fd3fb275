"""Where else a trace can be seen: in the Langfuse projects that its calls go to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line
from kong_ai_tracing.matching import Match, Place, matcher_of, place_of
from kong_ai_tracing.projects import Project
from kong_ai_tracing.view.rawlines import NoLineError, raw_line

_MOST_LINES_READ = 5


class Linked(Struct, frozen=True):
    """A project of a Langfuse, and which calls go there."""

    base_url: str
    name: str = ""
    """Empty for the project of the top-level keys."""
    match: Match | None = None
    """None: every call."""


class Link(Struct, frozen=True):
    """One link, for the page."""

    address: str
    name: str


def linked(projects: Sequence[Project]) -> tuple[Linked, ...]:
    """The projects that are in a Langfuse."""
    return tuple(
        Linked(
            project.config.endpoint.base_url,
            "" if project.match is None else project.name,
            project.match,
        )
        for project in projects
        if project.config.langfuse_enabled
    )


def links_of(trace: dict[str, Any], projects: Sequence[Linked]) -> list[Link]:
    """Those to which a call of the trace went, as far as its lines can still be read: only they say."""
    places = list(_places(trace)) if any(project.match is not None for project in projects) else []
    return [
        Link(f"{project.base_url}/trace/{trace['id']}", project.name)
        for project in projects
        if project.match is None or any(map(matcher_of(project.match), places))
    ]


def _places(trace: dict[str, Any]) -> Iterator[Place]:
    """Where its calls went in Kong."""
    lines: dict[tuple[str, int], tuple[dict[str, Any], str | None]] = {}
    for said in trace["observations"]:
        if "origin" in said:
            origin = said["origin"]
            request_id = said.get("metadata", {}).get("kong_request_id")
            lines.setdefault((origin["file"], origin["offset"]), (origin, request_id))
    for origin, request_id in list(lines.values())[:_MOST_LINES_READ]:
        try:
            data = raw_line(origin, request_id).encode()
        except NoLineError:
            continue
        for entry in read_entries(Line(origin["file"], 0, origin["offset"], data)):
            if isinstance(entry, LogEntry):
                yield place_of(entry)
