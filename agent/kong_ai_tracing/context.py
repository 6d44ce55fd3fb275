"""Who asked, in which session and trace, under which labels.

What comes in is the head of a request and the members of its body, what goes out is the `Context` that is
repeated on every span of the trace. Only values at the places named in `contextsources` leave; no other
header does.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.entries import LogEntry, integer, table, text
from kong_ai_tracing.ids import trace_id_from_seed
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.labels import MAX_CHARACTERS, environment_of, flat, label, limited, tags_of
from kong_ai_tracing.mapping import FIELDS, LABEL
from kong_ai_tracing.offers import Offers, Texts, offers_of
from kong_ai_tracing.optouts import OptOut, opt_out_of
from kong_ai_tracing.places import DEFAULT_PLACES, Places
from kong_ai_tracing.pricing import NO_PRICES, Prices
from kong_ai_tracing.ruling import NO_PROVIDERS, NO_RULES, Decision, Providers, Rules
from kong_ai_tracing.tracekeys import parent_id_of, trace_key_of

ADJUSTED = "kong_ai_tracing.adjusted"
"""Metadata: names of the values that had to be changed to be accepted."""

_LARGEST_VERSION = 2**31
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
    join_caller_trace: bool = False
    """Whether the caller's own span becomes the parent of its calls."""
    places: Places = DEFAULT_PLACES
    """Where the values of a context are looked for."""
    rules: Rules = NO_RULES
    providers: Providers = NO_PROVIDERS
    prices: Prices = NO_PRICES


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
    made_up: tuple[str, ...] = ()
    """Those of the labels whose names are the caller's own."""
    opt_out: OptOut | None = None
    """What the caller wants kept out."""
    ruling: Decision | None = None
    """What the operator's rules say of it."""


class Identity(Struct):
    """A context, and what else the same places say about one call."""

    context: Context
    observation_name: str | None = None
    parent_span_id: str | None = None
    """The caller's own span as it was found."""
    prompt: tuple[str, int] | None = None
    """Name and version of the prompt in Langfuse from which the call was made."""
    parent_id: str | None = None
    """The observation under which the call hangs, where the caller's span is to be its parent."""
    sources: dict[str, str] = field(default_factory=dict)
    """Which source gave each value; empty unless asked for."""
    passed_over: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each value what other sources said; empty unless asked for."""


def identify(
    entry: LogEntry, headers: dict[str, Any], body: Fields, settings: CallSettings, *, explain: bool
) -> Identity:
    """Read the identity of a call from the head of its request, its body, and Kong."""
    metadata = table(value_of(body["metadata"])) if "metadata" in body else {}
    offers = offers_of(entry, headers, body, metadata, settings.places, every=explain)
    said = offers.texts()
    key = trace_key_of(entry, offers, by_correlation_id=settings.group_by_correlation_id)
    name, name_source = _trace_name(entry, said, offers, settings)
    ruling = settings.rules.decide(entry)
    environment, environment_source = _environment(said, offers, ruling, settings)
    labels, made_up = _metadata(said, offers, metadata, settings.places)
    fitting = _Fitting()
    context = Context(
        trace_id=key[0] if key else trace_id_from_seed(entry.seed),
        shared=key is not None,
        trace_name=fitting.fit("trace_name", name),
        environment=fitting.fit_environment(environment, settings.environment),
        user_id=fitting.fit("user_id", said["user_id"]) if "user_id" in said else None,
        session_id=fitting.fit("session_id", said["session_id"]) if "session_id" in said else None,
        tags=tags_of(tags) if (tags := offers.get("tags")) else [],
        metadata=labels,
        made_up=made_up,
        opt_out=opt_out_of(headers, metadata),
        ruling=ruling,
    )
    if release := said.get("release") or settings.release:
        context.release = fitting.fit("release", release)
    if version := said.get("version") or settings.version:
        context.version = fitting.fit("version", version)
    identity = Identity(context, parent_span_id=said.get("parent_span_id"))
    if "observation_name" in said:
        identity.observation_name = _observation_name(said, offers, fitting)
    if "prompt_name" in said:
        identity.prompt = _prompt(said)
    if settings.join_caller_trace:
        identity.parent_id = parent_id_of(offers, key)
    if fitting.originals:
        context.metadata.update(fitting.notes())
    if explain:
        trace_source = key[1] if key else _own_id(entry)
        identity.sources = _sources(
            offers, trace_source, name_source, environment_source, ruling, settings.places
        )
        if fitting.originals:
            identity.sources[ADJUSTED] = context.metadata[ADJUSTED]
        identity.passed_over = _passed_over(offers, environment_source, ruling, settings.places)
    return identity


class _Fitting:
    """Brings values within Langfuse's limits, and remembers which had to be changed."""

    __slots__ = ("originals",)

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}

    def fit(self, name: str, value: str) -> str:
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


def _trace_name(entry: LogEntry, said: Texts, offers: Offers, settings: CallSettings) -> tuple[str, str]:
    if named := said.get("trace_name"):
        return named, offers.source("trace_name") or ""
    route = text(entry.route.get("name"))
    if route and settings.trace_name != "path":
        return route, "kong route.name"
    return entry.path or entry.upstream_path or "/", "request path"


def _environment(
    said: Texts, offers: Offers, ruling: Decision | None, settings: CallSettings
) -> tuple[str, str]:
    """The caller's word, else that of a rule. An operator who trusts no caller maps it to nothing."""
    if named := said.get("environment"):
        return named, offers.source("environment") or ""
    if ruling and ruling.environment:
        return ruling.environment, ruling.sources["environment"]
    return settings.environment, "configuration"


def _observation_name(said: Texts, offers: Offers, fitting: _Fitting) -> str | None:
    name = said["observation_name"]
    if offers.source("observation_name") == "header helicone-session-path":
        name = name.rstrip("/").rpartition("/")[2]
    return fitting.fit("observation_name", name) if name else None


def _prompt(said: Texts) -> tuple[str, int] | None:
    """The link to a prompt. A name alone is none, and Langfuse takes no other versions than numbers."""
    name, version = said["prompt_name"], integer(said.get("prompt_version"))
    if len(name) > MAX_CHARACTERS or version is None or not 0 < version < _LARGEST_VERSION:
        return None
    return name, version


def _metadata(
    said: Texts, offers: Offers, metadata: dict[str, Any], places: Places
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Labels of the trace: whatever the caller added, whose names are given besides, then those that have a
    name."""
    found: dict[str, Any] = {}
    if metadata:
        found = flat({name: value for name, value in metadata.items() if name not in places.own})
        for path in places.own_below:
            found.pop(path, None)
    found.update(offers.labels)
    made_up = tuple(found)
    for field_name in places.labels:
        if (value := offers.get(field_name)) is not None:
            found.update(flat({field_name.removeprefix(LABEL): value}))
    for name in offers.among(_METADATA_FIELDS):
        if name in said:
            found[name] = label(said[name])
    return found, made_up


def _own_id(entry: LogEntry) -> str:
    return "kong request.id" if entry.request_id else "digest of the line"


def _sources(
    offers: Offers, trace: str, name: str, environment: str, ruling: Decision | None, places: Places
) -> dict[str, str]:
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
        "parent_span_id": offers.source("parent_span_id"),
    }
    found.update((field, offers.source(field)) for field in (*sorted(_METADATA_FIELDS), *places.labels))
    if ruling:
        found.update((f"privacy.{key}", rule) for key, rule in ruling.sources.items() if key != "environment")
    return {field: source for field, source in found.items() if source}


def _passed_over(
    offers: Offers, environment: str, ruling: Decision | None, places: Places
) -> dict[str, dict[str, str]]:
    """What other sources said of each field, as labels of bounded length."""
    found = {
        field: offers.passed_over(field) for field in (*FIELDS, *sorted(_METADATA_FIELDS), *places.labels)
    }
    if ruling and ruling.environment and environment != ruling.sources["environment"]:
        found["environment"][ruling.sources["environment"]] = ruling.environment
    return {
        field: {source: str(label(value)) for source, value in others.items()}
        for field, others in found.items()
        if others
    }
