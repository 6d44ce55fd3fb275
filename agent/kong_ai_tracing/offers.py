"""What the places named in `contextsources` say in one entry, and which of them is believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from kong_ai_tracing.contextsources import SOURCES
from kong_ai_tracing.entries import LogEntry, first_text, path_of, table, text
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.labels import flat

_JSON_HEADERS = (
    "langfuse-metadata",
    "x-langfuse-metadata",
    "x-portkey-metadata",
    "cf-aig-metadata",
    "x-tfy-metadata",
    "x-litellm-spend-logs-metadata",
)
"""Headers whose value is an object of labels."""

_PROPERTY_PREFIX = "helicone-property-"
_BODY_OBJECTS = frozenset(("trace", "tensorzero::tags"))
_LONGEST_PLAIN_USER = 20
_ABSENT = frozenset(("", "null", "undefined", "none"))
_VENDOR_SESSION = re.compile(r"x-[a-z0-9-]+-session-id")
_LOOKS_LIKE_ID = re.compile(r"[\w.:-]{6,200}")
_AGENT_USER = re.compile(r"(user_[0-9a-f]+)_account_[0-9a-f-]*_session_([0-9a-f-]{8,})")


Use = tuple[str, int, str]
"""A field that a place may give, the rank of the place there, and the name of the source."""


def _uses_of(kind: str) -> dict[str, list[Use]]:
    """For each place of a kind (`header`, `body` …) the fields it may give."""
    uses: dict[str, list[Use]] = {}
    for field, sources in SOURCES.items():
        for rank, source in enumerate(sources):
            if source.startswith(kind + " "):
                uses.setdefault(source.removeprefix(kind + " "), []).append((field, rank, source))
    return uses


_HEADERS = _uses_of("header")
_BAGGAGE = _uses_of("baggage")
_KONG = _uses_of("kong")
_BODY = _uses_of("body")
_METADATA = {
    place.removeprefix("metadata."): uses for place, uses in _BODY.items() if place.startswith("metadata.")
}
_BODY_MEMBERS = frozenset(_BODY)
METADATA_MEMBERS = frozenset(_METADATA)
"""Members of a body's `metadata` that become a field of their own."""


class Offers:
    """What the places of one entry offer; per field the most trusted value and its source."""

    __slots__ = ("_best", "labels")

    def __init__(self) -> None:
        self._best: dict[str, tuple[int, str, Any]] = {}
        self.labels: dict[str, Any] = {}
        """What headers say beside the fields, as labels of the trace."""

    def add(self, uses: list[Use] | None, value: Any) -> None:
        """A value and the fields it may give. Words that mean nothing are passed over."""
        if uses is None or value is None:
            return
        for field, rank, source in uses:
            best = self._best.get(field)
            if best is None or rank < best[0]:
                if not _says_something(value):
                    return
                self._best[field] = (rank, source, value)

    def get(self, field: str) -> Any:
        """The value of a field as it was found."""
        best = self._best.get(field)
        return None if best is None else best[2]

    def text(self, field: str) -> str | None:
        """The value of a field as text."""
        best = self._best.get(field)
        return None if best is None else first_text(best[2])

    def source(self, field: str) -> str | None:
        """Which source gave a field."""
        best = self._best.get(field)
        return None if best is None else best[1]

    def among(self, fields: frozenset[str]) -> list[str]:
        """Those of the fields that have a value."""
        return [] if fields.isdisjoint(self._best) else sorted(fields.intersection(self._best))


def offers_of(entry: LogEntry, headers: dict[str, Any], body: Fields, metadata: dict[str, Any]) -> Offers:
    """Look at all places. `metadata` is the body's object of that name."""
    offers = Offers()
    _from_headers(offers, headers)
    _from_body(offers, body)
    if metadata:
        _from_metadata(offers, metadata)
    _from_kong(offers, entry)
    return offers


def _from_metadata(offers: Offers, metadata: dict[str, Any]) -> None:
    for name in METADATA_MEMBERS.intersection(metadata):
        offers.add(_METADATA[name], metadata[name])
    if isinstance(user := metadata.get("user_id"), str) and len(user) > _LONGEST_PLAIN_USER:
        _split_agent_user(offers, user)


def _says_something(value: Any) -> bool:
    if isinstance(value, list):
        return any(_says_something(item) for item in value)
    word = text(value)
    return word is not None and word.lower() not in _ABSENT


@lru_cache(256)
def _telling(names: tuple[str, ...]) -> tuple[str, ...]:
    """The headers worth a look. Remembered, because a client sends the same headers again and again."""
    return tuple(
        name for name in names if name in _KNOWN_HEADERS or "session-id" in name or _PROPERTY_PREFIX in name
    )


def _from_headers(offers: Offers, headers: dict[str, Any]) -> None:
    for name in _telling(tuple(headers)):
        if name in _KNOWN_HEADERS:
            _from_known_header(offers, name, headers[name])
        elif "session-id" in name:
            if _VENDOR_SESSION.fullmatch(name) and _LOOKS_LIKE_ID.fullmatch(first_text(headers[name]) or ""):
                offers.add(_HEADERS["x-*-session-id"], headers[name])
        elif _PROPERTY_PREFIX in name:
            offers.labels.update(flat({name.removeprefix(_PROPERTY_PREFIX): first_text(headers[name])}))


def _from_known_header(offers: Offers, name: str, value: Any) -> None:
    if (uses := _HEADERS.get(name)) is not None:
        offers.add(uses, value)
    else:
        _SPECIAL_HEADERS[name](offers, name, first_text(value))


def _read_labels(offers: Offers, name: str, value: str | None) -> None:
    members = value_of(value)
    if not isinstance(members, dict):
        offers.labels.update(flat({"metadata": value}))
        return
    offers.labels.update(flat(members))
    for member, inner in members.items():
        offers.add(_HEADERS.get(f"{name}.{member}"), inner)


def _read_baggage(offers: Offers, name: str, value: str | None) -> None:
    for entry in (value or "").split(","):
        key, equals, word = entry.partition(";")[0].partition("=")
        if equals:
            offers.add(_BAGGAGE.get(key.strip().lower().replace("-", "_")), unquote(word.strip()))


def _read_referer(offers: Offers, name: str, value: str | None) -> None:
    offers.labels.update(flat({"referer": path_of(value)}))


_SPECIAL_HEADERS: dict[str, Callable[[Offers, str, str | None], None]] = {
    "baggage": _read_baggage,
    "http-referer": _read_referer,
    **dict.fromkeys(_JSON_HEADERS, _read_labels),
}


_KNOWN_HEADERS = frozenset((*_HEADERS, *_SPECIAL_HEADERS))


def _from_body(offers: Offers, body: Fields) -> None:
    for name in _BODY_MEMBERS.intersection(body):
        value = value_of(body[name])
        offers.add(_BODY[name], value.get("id") if isinstance(value, dict) else value)
    for name in _BODY_OBJECTS.intersection(body):
        for member, value in table(value_of(body[name])).items():
            offers.add(_BODY.get(f"{name}.{member}"), value)


def _split_agent_user(offers: Offers, user: str) -> None:
    """Coding agents put user, account and session into the one field that Anthropic's API has."""
    session = _METADATA["user_id (agent session)"]
    if match := _AGENT_USER.fullmatch(user):
        offers.add(session, match[2])
    elif user.startswith("{"):
        offers.add(session, table(value_of(user)).get("session_id"))


def _from_kong(offers: Offers, entry: LogEntry) -> None:
    consumer = entry.consumer
    for name, uses in _CONSUMER if consumer else ():
        offers.add(uses, consumer.get(name))
    entity = entry.record.get("authenticated_entity")
    if isinstance(entity, dict):
        offers.add(_KONG["authenticated_entity.id"], entity.get("id"))


_CONSUMER = tuple((name, _KONG[f"consumer.{name}"]) for name in ("custom_id", "username", "id"))
