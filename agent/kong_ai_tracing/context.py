"""Who asked, in which session and trace, under which labels.

What comes in is the head of a request and the members of its body, what goes out is the `Context` that is
repeated on every span of the trace. Only values at the places named in `contextsources` leave; no other
header does.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.entries import LogEntry, table, text
from kong_ai_tracing.ids import trace_id_from_seed
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.labels import environment_of, flat, label, limited, tags_of
from kong_ai_tracing.offers import METADATA_MEMBERS, Offers, offers_of
from kong_ai_tracing.optouts import OptOut, opt_out_of
from kong_ai_tracing.tracekeys import parent_span_of, trace_key_of

ADJUSTED = "kong_ai_tracing.adjusted"
"""Metadata: names of the values that had to be changed to be accepted."""

_METADATA_FIELDS = frozenset(
    (
        "organization_id",
        "project_id",
        "message_id",
        "chat_id",
        "agent_id",
        "app_name",
        "prompt_name",
        "prompt_version",
        "helicone_prompt_id",
    )
)


class CallSettings(Struct, frozen=True, kw_only=True):
    """What the operator decides about how calls are read."""

    environment: str = "production"
    trace_name: str = "route"
    """`route`: Kong's route names the trace where the caller does not; `path`: the request path does."""
    group_by_correlation_id: bool = False
    release: str | None = None
    version: str | None = None
    service_environments: dict[str, str] = field(default_factory=dict)
    """Environment by name or id of a Kong service or route."""


class Context(Struct, kw_only=True):
    """Who asked, in which session and trace, under which labels: repeated on every span of the trace."""

    trace_id: str
    """32 hex digits."""
    shared: bool
    """True when the caller named the trace, so that other calls may belong to it."""
    trace_name: str
    environment: str
    user_id: str | None = None
    session_id: str | None = None
    tags: list[str] = field(default_factory=list)
    release: str | None = None
    version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    opt_out: OptOut | None = None
    """What the caller wants kept out."""


class Identity(Struct):
    """A context, and what else the same places say about one call."""

    context: Context
    observation_name: str | None
    parent_span_id: str | None
    sources: dict[str, str]
    """Which source gave each value; empty unless asked for."""


def identify(
    entry: LogEntry, headers: dict[str, Any], body: Fields, settings: CallSettings, *, explain: bool
) -> Identity:
    """Read the identity of a call from the head of its request, its body, and Kong."""
    metadata = table(value_of(body["metadata"])) if "metadata" in body else {}
    offers = offers_of(entry, headers, body, metadata)
    key = trace_key_of(entry, headers, offers, by_correlation_id=settings.group_by_correlation_id)
    fitting = _Fitting()
    name, name_source = _trace_name(entry, offers, settings)
    environment, environment_source = _environment(entry, offers, settings)
    context = Context(
        trace_id=key[0] if key else trace_id_from_seed(entry.seed),
        shared=key is not None,
        trace_name=fitting.fit("trace_name", name) or "",
        environment=fitting.fit_environment(environment, settings.environment),
        user_id=fitting.fit("user_id", offers.text("user_id")),
        session_id=fitting.fit("session_id", offers.text("session_id")),
        tags=tags_of(tags) if (tags := offers.get("tags")) else [],
        release=fitting.fit("release", offers.text("release") or settings.release),
        version=fitting.fit("version", offers.text("version") or settings.version),
        metadata=_metadata(offers, metadata),
        opt_out=opt_out_of(headers, metadata),
    )
    if fitting.originals:
        context.metadata.update(fitting.notes())
    identity = Identity(
        context, _observation_name(offers, fitting), parent_span_of(headers, offers), sources={}
    )
    if explain:
        trace_source = key[1] if key else _own_id(entry)
        identity.sources = _sources(offers, trace_source, name_source, environment_source)
    return identity


class _Fitting:
    """Brings values within Langfuse's limits, and remembers which had to be changed."""

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}

    def fit(self, name: str, value: str | None) -> str | None:
        if value is None:
            return None
        fitted = limited(value)
        if fitted != value:
            self.originals[name] = value
        return fitted

    def fit_environment(self, value: str, default: str) -> str:
        fitted = environment_of(value) or environment_of(default) or "default"
        if fitted != value:
            self.originals["environment"] = value
        return fitted

    def notes(self) -> dict[str, Any]:
        originals = {f"kong_ai_tracing.{name}": label(value) for name, value in self.originals.items()}
        return {ADJUSTED: ",".join(sorted(self.originals)), **originals}


def _trace_name(entry: LogEntry, offers: Offers, settings: CallSettings) -> tuple[str, str]:
    if named := offers.text("trace_name"):
        return named, offers.source("trace_name") or ""
    route = text(entry.route.get("name"))
    if route and settings.trace_name != "path":
        return route, "kong route.name"
    return entry.path or entry.upstream_path or "/", "request path"


def _environment(entry: LogEntry, offers: Offers, settings: CallSettings) -> tuple[str, str]:
    if named := offers.text("environment"):
        return named, offers.source("environment") or ""
    if settings.service_environments:
        for kind, entity in (("route", entry.route), ("service", entry.service)):
            for member in ("name", "id"):
                if found := settings.service_environments.get(text(entity.get(member)) or ""):
                    return found, f"configuration of {kind} {member}"
    return settings.environment, "configuration"


def _observation_name(offers: Offers, fitting: _Fitting) -> str | None:
    name = offers.text("observation_name")
    if name and offers.source("observation_name") == "header helicone-session-path":
        name = name.rstrip("/").rpartition("/")[2] or None
    return fitting.fit("observation_name", name)


def _metadata(offers: Offers, metadata: dict[str, Any]) -> dict[str, Any]:
    """Labels of the trace: those with a name of their own, then whatever the caller added."""
    found: dict[str, Any] = {}
    if metadata:
        found = flat({name: value for name, value in metadata.items() if name not in METADATA_MEMBERS})
    found.update(offers.labels)
    for name in offers.among(_METADATA_FIELDS):
        found[name] = label(offers.text(name))
    return found


def _own_id(entry: LogEntry) -> str:
    return "kong request.id" if entry.request_id else "digest of the line"


def _sources(offers: Offers, trace: str, name: str, environment: str) -> dict[str, str]:
    found = {
        "trace_id": trace,
        "user_id": offers.source("user_id"),
        "session_id": offers.source("session_id"),
        "trace_name": name,
        "observation_name": offers.source("observation_name"),
        "tags": offers.source("tags"),
        "environment": environment,
        "release": offers.source("release"),
        "version": offers.source("version"),
    }
    found.update((field, offers.source(field)) for field in sorted(_METADATA_FIELDS))
    return {field: source for field, source in found.items() if source}
