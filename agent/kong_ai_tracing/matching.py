"""Which calls a rule of the operator is for: by Kong's own names of what they passed through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from typing import Annotated

from msgspec import Meta, Struct

from kong_ai_tracing.entries import LogEntry, path_of, table, text

_PATTERN = "as a shell pattern (hr-*) or a list of them"

_REMEMBERED_PLACES = 1024


class Match(Struct, frozen=True, kw_only=True):
    """The calls that a rule is for: all keys that are given must fit; none at all fits every call."""

    service: Annotated[
        tuple[str, ...],
        Meta(description=f"Name or id of the Kong service, {_PATTERN}.", examples=["hr-*"]),
    ] = ()
    route: Annotated[
        tuple[str, ...], Meta(description="Name or id of the Kong route.", examples=["support-chat"])
    ] = ()
    workspace: Annotated[
        tuple[str, ...], Meta(description="Name or id of the Kong workspace.", examples=["team-a"])
    ] = ()
    consumer: Annotated[
        tuple[str, ...],
        Meta(description="Username, custom id or id of the Kong consumer.", examples=["partner-*"]),
    ] = ()
    tag: Annotated[
        tuple[str, ...], Meta(description="A tag of the service, route or consumer.", examples=["internal"])
    ] = ()
    host: Annotated[
        tuple[str, ...],
        Meta(
            description="Host of the Kong service, or the one the caller asked for.",
            examples=["llm.internal"],
        ),
    ] = ()
    path: Annotated[
        tuple[str, ...],
        Meta(description="Path of the request, as the caller or as Kong asked for it.", examples=["/llm/*"]),
    ] = ()


FIELDS: tuple[str, ...] = Match.__struct_fields__

Place = tuple[tuple[str, ...], ...]
"""What one entry says in each of the `FIELDS`."""


def place_of(entry: LogEntry) -> Place:
    """The names under which an entry is known to Kong."""
    record, service, route, consumer = entry.record, entry.service, entry.route, entry.consumer
    tags = (*_tags(service), *_tags(route), *_tags(consumer))
    asked_host = text(table(entry.request.get("headers")).get("host"))
    paths = entry.path, path_of(record.get("upstream_uri"))
    return (
        _texts(service.get("name"), service.get("id")),
        _texts(route.get("name"), route.get("id")),
        _texts(record.get("workspace_name"), record.get("workspace")),
        _texts(consumer.get("username"), consumer.get("custom_id"), consumer.get("id")),
        _texts(*tags),
        _texts(service.get("host"), asked_host and asked_host.partition(":")[0]),
        _texts(*paths),
    )


def matcher_of(match: Match) -> Callable[[Place], bool]:
    """A quick test whether a place fits. Remembers places: a gateway has few."""
    wanted = [
        (index, re.compile("|".join(map(translate, patterns))).match)
        for index, name in enumerate(FIELDS)
        if (patterns := getattr(match, name))
    ]

    @lru_cache(_REMEMBERED_PLACES)
    def fits(place: Place) -> bool:
        return all(any(fit(word) for word in place[index]) for index, fit in wanted)

    return fits


def _tags(entity: dict[str, object]) -> Iterable[object]:
    tags = entity.get("tags")
    return tags if isinstance(tags, list) else ()


def _texts(*values: object) -> tuple[str, ...]:
    return tuple(found for value in values if (found := text(value)))
