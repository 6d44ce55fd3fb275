"""Where the operator wants the identity of a call to be looked for: before, after, or instead of our sources.

A source is written as `preview --explain` prints it: `header x-user-id`, `body metadata.user_id`,
`baggage user`, `kong consumer.username`. `default` stands for our own list (`contextsources.py`) without
those that are named beside it, `kong` for what Kong itself knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from kong_ai_tracing.contextsources import SOURCES
from kong_ai_tracing.labels import speaks_of_secret

DEFAULT = "default"
KONG = "kong"

_KINDS = ("header", "body", "baggage", "kong")
_EXAMPLES = "header x-user-id, body metadata.user_id, baggage user or kong consumer.username"
_HEADER_NAME = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)+")
_SECRET_HEADERS = frozenset(
    ("apikey", "helicone-auth", "x-portkey-virtual-key", "x-bf-vk", "langfuse-public-key", "x-goog-api-key")
)
_KONG_OWN = {
    "tags": ("kong service.tags", "kong route.tags", "kong consumer.tags"),
    "trace_name": ("kong route.name", "kong service.name"),
} | {
    field: found
    for field, sources in SOURCES.items()
    if (found := tuple(source for source in sources if source.startswith("kong ")))
}
"""What `kong` stands for."""
_NOT_OF_KONG = {
    "request.headers": "it is a header of the request",
    "request": "it is what the caller sent",
    "response": "it is the answer",
    "ai": "it is what a model was asked and answered",
    "capture": "it is what a model was asked and answered",
}
"""Parts of Kong's record that are no word of Kong's."""


def _sources(what: str, then: str = "", example: tuple[str, ...] | None = None) -> Meta:
    words = f"Where {what} is looked for" + (f", before the key {then}." if then else ".")
    return Meta(description=words, examples=[example] if example else None)


class FieldMapping(Struct, frozen=True, kw_only=True):
    """Where the values of a trace are looked for. The first source that says something wins; [] looks
    nowhere. Sources are written as preview --explain prints them; "default" is the built-in list, "kong" what
    Kong itself knows.
    """

    user_id: Annotated[
        tuple[str, ...],
        Meta(
            description='Where the user is looked for: ["kong", "default"] believes Kong\'s consumer first,'
            ' ["kong"] nobody else.',
            examples=[("kong", "default")],
        ),
    ] = (DEFAULT,)
    session_id: Annotated[tuple[str, ...], _sources("the session", example=("header x-call-id", DEFAULT))] = (
        DEFAULT,
    )
    trace_id: Annotated[
        tuple[str, ...],
        Meta(
            description="What names the trace that several calls share; an id of 32 hex digits, or any other"
            " text. [] makes each call a trace by itself.",
            examples=[("header x-workflow-run", DEFAULT)],
        ),
    ] = (DEFAULT,)
    parent_span_id: Annotated[tuple[str, ...], _sources("the caller's own span")] = (DEFAULT,)
    trace_name: Annotated[tuple[str, ...], _sources("the trace's name", "trace_name")] = (DEFAULT,)
    observation_name: Annotated[tuple[str, ...], _sources("the name of a call")] = (DEFAULT,)
    tags: Annotated[
        tuple[str, ...],
        Meta(
            description='Where tags are looked for; "kong": of the service, else the route or the consumer.',
            examples=[(DEFAULT, "kong")],
        ),
    ] = (DEFAULT,)
    environment: Annotated[
        tuple[str, ...],
        Meta(
            description="Where the environment is looked for. A caller's word wins over [[rule]] and the key"
            " environment: [] takes it away."
        ),
    ] = (DEFAULT,)
    release: Annotated[tuple[str, ...], _sources("the release", "release")] = (DEFAULT,)
    version: Annotated[tuple[str, ...], _sources("the version", "version")] = (DEFAULT,)
    prompt_name: Annotated[tuple[str, ...], _sources("the name of a Langfuse prompt")] = (DEFAULT,)
    prompt_version: Annotated[tuple[str, ...], _sources("the version of that prompt")] = (DEFAULT,)
    metadata: Annotated[
        tuple[str, ...],
        Meta(
            description="What else becomes a label of the trace, each as a source or as name=source.",
            examples=[("team=header x-team", "kong service.name")],
        ),
    ] = ()


FIELDS: tuple[str, ...] = tuple(name for name in FieldMapping.__struct_fields__ if name != "metadata")
LABEL = "metadata."
"""Before the name of a label, among the fields."""


def sources_of(mapping: FieldMapping) -> dict[str, tuple[str, ...]]:
    """Each field with its sources in order, ours where the operator says nothing."""
    found = SOURCES | {field: _expanded(field, getattr(mapping, field)) for field in FIELDS}
    labels: dict[str, tuple[str, ...]] = {}
    for word in mapping.metadata:
        name, source = label_of(word)
        labels[LABEL + name] = (*labels.get(LABEL + name, ()), source)
    return found | labels


def _expanded(field: str, words: Iterable[str]) -> tuple[str, ...]:
    if words == (DEFAULT,):
        return SOURCES[field]
    steps = [_KONG_OWN.get(field, ()) if word == KONG else (normal(word),) for word in words]
    named = {source for step in steps for source in step}
    found: list[str] = []
    for word, step in zip(words, steps, strict=True):
        found += [source for source in SOURCES[field] if source not in named] if word == DEFAULT else step
    return tuple(dict.fromkeys(found))


def normal(source: str) -> str:
    """A source with its name spelled as it is compared: headers in lower case with hyphens."""
    kind, _, place = source.strip().partition(" ")
    place = place.strip()
    if kind == "header":
        name, dot, member = place.partition(".")
        place = name.lower().replace("_", "-") + dot + member
    elif kind == "baggage":
        place = place.lower().replace("-", "_")
    return f"{kind} {place}" if place else kind


def label_of(word: str) -> tuple[str, str]:
    """The name of a label and its source, of `name=source` or of a source alone."""
    name, equals, source = word.partition("=")
    if equals and " " not in name.strip():
        return name.strip(), normal(source)
    source = normal(word)
    return source.partition(" ")[2], source


def problem_of(field: str, word: str) -> tuple[str, str] | None:
    """The reason why a word cannot stand in the list of a field, and the fix; None when it can."""
    if field == "metadata":
        name, source = label_of(word)
        return _problem_of_source(source, "") or _problem_of_label(name)
    if word == DEFAULT or (word == KONG and field in _KONG_OWN):
        return None
    if word == KONG:
        return f"Kong itself knows no {field}", 'name what you mean, like "kong service.name"'
    return _problem_of_source(normal(word), f", {DEFAULT} or {KONG}")


def _problem_of_label(name: str) -> tuple[str, str] | None:
    if name and not speaks_of_secret(name):
        return None
    return "its name says nothing, or speaks of a secret", 'write it as "name=source"'


def _problem_of_source(source: str, or_else: str) -> tuple[str, str] | None:
    kind, _, place = source.partition(" ")
    if kind not in _KINDS or not place or place.startswith(".") or place.endswith("."):
        # The usual slip is a header's name alone.
        first = f'"header {source}"' if _HEADER_NAME.fullmatch(source) else "a source"
        return "it names no place in a log line", f"write {first}, like {_EXAMPLES}{or_else}"
    return None if source in _BUILT_IN else _problem_of_place(kind, place)


_BUILT_IN = frozenset(source for sources in SOURCES.values() for source in sources)


def _problem_of_place(kind: str, place: str) -> tuple[str, str] | None:
    if " " in place:
        return "a name has no blanks in it", f"write one source, like {_EXAMPLES}"
    if speaks_of_secret(place) or (kind == "header" and place.partition(".")[0] in _SECRET_HEADERS):
        return (
            "a key or a password may stand there",
            "name another place, or Kong's consumer: kong consumer.id",
        )
    if kind == "kong" and place != "request.id":
        for part, reason in _NOT_OF_KONG.items():
            if place == part or place.startswith(part + "."):
                return reason, 'write "header …" or "body …", or name another part of Kong\'s record'
    return None
