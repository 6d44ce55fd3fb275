"""The sources of all fields as what they are looked up by: headers, members of a body, Kong's own values.

Made once from the operator's mapping. Looking into a line then costs one look for each header and member that
is there, not one for each source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.contextsources import SOURCES
from kong_ai_tracing.entries import first_text, text
from kong_ai_tracing.ids import trace_id_from
from kong_ai_tracing.mapping import LABEL, FieldMapping, sources_of
from kong_ai_tracing.traceids import SPAN_READERS, TRACE_READERS

MESSAGE_SOURCES = frozenset(("header x-message-id", "body metadata.message_id"))
"""Sources of a trace id that name one turn of a chat, which is no id yet."""

_ABSENT = frozenset(("", "null", "undefined", "none", "unspecified", "not_specified", "error__not_set"))
_LABEL_HEADERS = frozenset(
    (
        "langfuse-metadata",
        "x-langfuse-metadata",
        "x-portkey-metadata",
        "cf-aig-metadata",
        "x-tfy-metadata",
        "x-litellm-spend-logs-metadata",
    )
)
"""Headers whose value is an object of labels."""
_VENDOR_SESSION = "x-*-session-id"
_VENDOR_HEADER = re.compile(r"x-[a-z0-9-]+-session-id")
_AGENT_SESSION = "body metadata.user_id (agent session)"

Read = Callable[[Any], Any]
Use = tuple[str, int, str, Read]
"""A field that a place may give, the rank of the place there, the name of the source, and what reads the
value or gives None when it says nothing."""


Ranks = dict[str, int]
"""For fields the best rank that a place has."""


class Branch(Struct):
    """A member of an object: the fields that it gives itself, and those that its own members give."""

    uses: list[Use] = field(default_factory=list)
    members: dict[str, Branch] = field(default_factory=dict)


class Places:
    """Which places are looked at, and for which fields."""

    __slots__ = (
        "agent_session",
        "baggage",
        "body",
        "headers",
        "kong",
        "labels",
        "metadata",
        "own",
        "own_below",
        "own_in_header",
        "telling",
    )

    def __init__(self, mapping: FieldMapping = FieldMapping()) -> None:  # noqa: B008 - it is frozen
        sources = sources_of(mapping)
        self.headers: dict[str, Branch] = _tree(sources, "header")
        self.baggage = {name: branch.uses for name, branch in _flat(sources, "baggage").items()}
        self.kong: dict[str, tuple[Branch, Ranks]] = {
            name: (branch, _ranks(branch)) for name, branch in _tree(sources, "kong").items()
        }
        """With what each can give at best: Kong's word on a caller is seldom needed, and on every line."""
        self.body: dict[str, Branch] = _tree(sources, "body")
        self.metadata: dict[str, Branch] = self.body.pop("metadata", Branch()).members
        """Of the body's object of that name."""
        self.agent_session = _uses_of(sources, _AGENT_SESSION)
        self.labels = [name for name in sources if name.startswith(LABEL)]
        """Fields that are labels of the operator's own."""
        self.own = _paths_below("body metadata.", SOURCES, sources)
        """What stands in a body's `metadata` for a field of its own, and so is no label."""
        self.own_below = frozenset(path for path in self.own if "." in path)
        self.own_in_header = {
            header: _paths_below(f"header {header}.", SOURCES, sources) for header in _LABEL_HEADERS
        }
        """The same in each header that holds labels."""
        self.telling = lru_cache(256)(self._telling)

    def _telling(self, names: tuple[str, ...]) -> tuple[tuple[str, Branch, str], ...]:
        """The headers worth a look, and how. Remembered: a client sends the same headers again and again."""
        return tuple(self._of_header(names))

    def _of_header(self, names: tuple[str, ...]) -> Iterator[tuple[str, Branch, str]]:
        vendor = self.headers.get(_VENDOR_SESSION)
        for name in names:
            branch = self.headers.get(name)
            kind = _kind_of(name)
            if branch is not None or kind:
                yield name, branch or Branch(), kind or ("object" if branch and branch.members else "")
            elif vendor is not None and _VENDOR_HEADER.fullmatch(name):
                yield name, vendor, "vendor"


def _kind_of(header: str) -> str:
    """How the value of a header is to be taken apart; empty for one that is a value as it is."""
    if header == "baggage":
        return "baggage"
    if header == "http-referer":
        return "referer"
    if header in _LABEL_HEADERS:
        return "labels"
    return "property" if header.startswith("helicone-property-") else ""


def _flat(sources: Mapping[str, Sequence[str]], kind: str) -> dict[str, Branch]:
    """Each place of a kind with its uses."""
    found: dict[str, Branch] = {}
    for name, places in sources.items():
        for rank, source in enumerate(places):
            if source.startswith(kind + " "):
                branch = found.setdefault(source.partition(" ")[2], Branch())
                branch.uses.append((name, rank, source, _reader(name, source)))
    return found


def _tree(sources: Mapping[str, Sequence[str]], kind: str) -> dict[str, Branch]:
    """The same by their first names, then by the names below."""
    found: dict[str, Branch] = {}
    for place, branch in _flat(sources, kind).items():
        _plant(found, place, branch)
    return found


def _ranks(branch: Branch) -> Ranks:
    """What a member gives, itself or by its own members."""
    found: Ranks = {}
    below = (pair for member in branch.members.values() for pair in _ranks(member).items())
    for name, rank in (*((name, rank) for name, rank, _, _ in branch.uses), *below):
        found[name] = min(rank, found.get(name, rank))
    return found


def _plant(members: dict[str, Branch], place: str, branch: Branch) -> None:
    first, dot, rest = place.partition(".")
    if not dot:
        members.setdefault(first, Branch()).uses.extend(branch.uses)
        return
    below = members.setdefault(first, Branch()).members
    _plant(below, rest, branch)
    if "." in rest:
        # A member may be called `user.id`, as OpenTelemetry does, or be within one called `user`.
        below.setdefault(rest, Branch()).uses.extend(branch.uses)


def _uses_of(sources: Mapping[str, Sequence[str]], wanted: str) -> list[Use]:
    found = _flat(sources, wanted.partition(" ")[0]).get(wanted.partition(" ")[2])
    return found.uses if found else []


def _paths_below(start: str, *tables: Mapping[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(
        place.removeprefix(start)
        for table in tables
        for places in table.values()
        for place in places
        if place.startswith(start)
    )


def _reader(name: str, source: str) -> Read:
    if name == "trace_id" and source not in MESSAGE_SOURCES:
        return _text_reader(TRACE_READERS.get(source, trace_id_from))
    if name == "parent_span_id" and source in SPAN_READERS:
        return _text_reader(SPAN_READERS[source])
    return _anything if name.startswith(LABEL) else saying


def _text_reader(read: Callable[[str], str | None]) -> Read:
    def of_value(value: Any) -> str | None:
        word = first_text(value)
        return read(word) if word is not None and word.lower() not in _ABSENT else None

    return of_value


def _anything(value: Any) -> Any:
    """A label may be a number, a list or an object."""
    return saying(value) if isinstance(value, str) else value


def saying(value: Any) -> Any:
    """The value; None for one of the words that mean nothing."""
    if type(value) is str:
        return None if value.strip().lower() in _ABSENT else value
    if type(value) is list:
        return value if any(saying(item) is not None for item in value) else None
    return None if text(value) is None else value


DEFAULT_PLACES = Places()
