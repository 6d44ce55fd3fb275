"""Kong's `ai` object in, the LLM calls it tells of out, whatever Kong's generation.

3.6 writes the call directly under `ai`, later versions under the name of the plugin (`ai-proxy`, `proxy`,
`ai-proxy-advanced`). Each AI transformer adds a call of its own beside it. What other AI plugins write
(guardrails, RAG, sanitizer) is no call of its own: it is handed on with the proxied call. MCP and A2A are
read by `rpc`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.bodies import NOT_LOGGED, Body, light_text
from kong_ai_tracing.entries import table

_NO_CALLS = frozenset(
    (
        "sanitizer",
        "compressor",
        "mcp",
        "a2a",
        "audit",
        "cache",
        "meta",
        "usage",
        "payload",
        "ai-sanitizer",
        "ai-prompt-compressor",
    )
)
_PROXIES = frozenset(("proxy", "ai-proxy", "ai-proxy-advanced"))
_HELPERS = re.compile(r"guard|armor|content[-_]safety|rag-|semantic-cache|judge", re.IGNORECASE)
"""Plugins that have models of their own asked, but for the proxied call."""
_OWN_MEMBERS = frozenset(("meta", "usage", "payload", "cache"))


class Place(IntEnum):
    """When a call happened, seen from the request that was proxied."""

    BEFORE = 0
    PROXIED = 1
    AFTER = 2


BEFORE, PROXIED, AFTER = Place
"""By names of their own: Python 3.11 takes ten times as long to look into an enum as for a name."""

_PLACES = {"ai-request-transformer": BEFORE, "ai-response-transformer": AFTER}


class Section(Struct, frozen=True):
    """One LLM call as Kong logged it. The default is a call of which Kong says nothing."""

    namespace: str = ""
    place: Place = PROXIED
    meta: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)
    request: Body = NOT_LOGGED
    response: Body = NOT_LOGGED
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What other plugins wrote about the proxied call, by the name that Kong gave it."""

    @property
    def logs_bare_text(self) -> bool:
        """Whether this generation of Kong logs a stream as its text alone: those before 3.9 do."""
        return self.namespace != "proxy"


def sections_of(ai: dict[str, Any]) -> list[Section]:
    """The calls of one line in the order in which they happened."""
    if not ai:
        return []
    cache = _cache_of(ai)
    found = [
        _section(name, value, cache, ai)
        for name, value in ai.items()
        if type(value) is dict and name not in _NO_CALLS and _is_call(name, value)
    ]
    if len(found) == 1 and found[0].place is PROXIED:
        return found
    if not any(section.place is PROXIED for section in found) and _is_call_itself(ai, bool(found)):
        found.append(_section("", ai, cache, {}))
    return sorted(found, key=lambda section: (section.place, section.namespace))


def is_known_namespace(name: str) -> bool:
    """Whether a key of the `ai` object is one of those that are read, or passed over knowingly."""
    return (
        name in _PROXIES
        or name in _PLACES
        or name in _NO_CALLS
        or name in _OWN_MEMBERS
        or _HELPERS.search(name) is not None
    )


def objects_in(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The objects that other plugins wrote beside a call, or without one."""
    if _OWN_MEMBERS.issuperset(value):
        return {}
    return {
        name: member
        for name, member in value.items()
        if name not in _OWN_MEMBERS and member and isinstance(member, dict) and name not in _PLACES
    }


def _is_call(name: str, value: dict[str, Any]) -> bool:
    if (
        type(value.get("meta")) is dict
        or type(value.get("usage")) is dict
        or type(value.get("payload")) is dict
    ):
        return name in _PROXIES or _HELPERS.search(name) is None
    # A guardrail may have refused the request before the proxy wrote anything.
    return name in _PROXIES and bool(objects_in(value))


def _is_call_itself(ai: dict[str, Any], has_others: bool) -> bool:
    """3.6 has no level for the plugin. A payload alone is a call there only if nothing else owns it."""
    if isinstance(ai.get("meta"), dict) or isinstance(ai.get("usage"), dict):
        return True
    payload = table(ai.get("payload"))
    return not has_others and not payload.keys().isdisjoint(("request", "response"))


def _cache_of(ai: dict[str, Any]) -> dict[str, Any]:
    """What the semantic cache wrote: under its own name in 3.8, later under that of the proxy."""
    for value in ai.values():
        if type(value) is dict and "cache" in value and (cache := table(value["cache"])):
            return cache
    return {}


def _section(name: str, value: dict[str, Any], cache: dict[str, Any], ai: dict[str, Any]) -> Section:
    place = _PLACES.get(name, PROXIED)
    is_proxied = place is PROXIED
    payload = table(value.get("payload"))
    # ai-proxy-advanced leaves the request one level higher.
    is_higher = is_proxied and payload.get("request") is None
    request = light_text(table(ai.get("payload")) if is_higher else payload, "request")
    response = light_text(payload, "response")
    return Section(
        name,
        place,
        table(value.get("meta")),
        table(value.get("usage")),
        cache if is_proxied else {},
        Body(request) if request else NOT_LOGGED,
        Body(response) if response else NOT_LOGGED,
        _objects_about(name, value, ai) if is_proxied else {},
    )


def _objects_about(name: str, value: dict[str, Any], ai: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = objects_in(value)
    if len(ai) > 1:
        beside = objects_in(ai)
        beside.pop(name, None)
        found = beside | found
    return found
