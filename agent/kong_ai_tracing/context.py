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
from kong_ai_tracing.labels import MAX_CHARACTERS, environment_of, flat, label, limited_all, tags_of
from kong_ai_tracing.mapping import FIELDS, LABEL
from kong_ai_tracing.offers import Offers, Texts, offers_of
from kong_ai_tracing.optouts import OptOut, opt_out_of
from kong_ai_tracing.places import DEFAULT_PLACES, Places
from kong_ai_tracing.pricing import NO_PRICES, Prices
from kong_ai_tracing.ruling import NO_PROVIDERS, NO_RULES, Decision, Providers, Rules
from kong_ai_tracing.tracekeys import parent_id_of, trace_key_of

ADJUSTED = "kong_ai_tracing.adjusted"
"""Metadata: names of the values that had to be changed to be accepted."""

_NAMES = (
    "trace_name",
    "environment",
    "user_id",
    "session_id",
    "release",
    "version",
    "observation_name",
)
"""What has to be brought within Langfuse's limits."""
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
    said = _said(offers, settings)
    key = trace_key_of(entry, offers, by_correlation_id=settings.group_by_correlation_id)
    name, name_source = _trace_name(entry, said, offers, settings)
    ruling = settings.rules.decide(entry)
    environment, environment_source = _environment(said, offers, ruling, settings)
    labels, made_up = _labels(said, offers, metadata, settings.places)
    said["trace_name"], said["environment"] = name, environment
    fitted = limited_all(said)
    fitted["environment"] = environment_of(environment) or environment_of(settings.environment) or "default"
    adjusted = _adjusted(said, fitted) if fitted != said else {}
    labels |= adjusted
    context = Context(
        trace_id=key[0] if key else trace_id_from_seed(entry.seed),
        shared=key is not None,
        trace_name=fitted["trace_name"],
        environment=fitted["environment"],
        user_id=fitted.get("user_id"),
        session_id=fitted.get("session_id"),
        tags=tags_of(tags) if (tags := offers.get("tags")) else [],
        release=fitted.get("release"),
        version=fitted.get("version"),
        metadata=labels,
        made_up=made_up,
        opt_out=opt_out_of(headers, metadata),
        ruling=ruling,
    )
    identity = Identity(context, fitted.get("observation_name"), said.get("parent_span_id"))
    if "prompt_name" in said:
        identity.prompt = _prompt(said)
    if settings.join_caller_trace:
        identity.parent_id = parent_id_of(offers, key)
    if explain:
        trace_source = key[1] if key else _own_id(entry)
        identity.sources = _sources(
            offers, trace_source, name_source, environment_source, ruling, settings.places
        )
        if adjusted:
            identity.sources[ADJUSTED] = adjusted[ADJUSTED]
        identity.passed_over = _passed_over(offers, environment_source, ruling, settings.places)
    return identity


def _said(offers: Offers, settings: CallSettings) -> Texts:
    """What is said of each field, or where nobody says it, configured."""
    said = offers.texts()
    if settings.release:
        said.setdefault("release", settings.release)
    if settings.version:
        said.setdefault("version", settings.version)
    path = said.get("observation_name")
    if path and offers.source("observation_name") == "header helicone-session-path":
        said["observation_name"] = path.rstrip("/").rpartition("/")[2]
    return said


def _adjusted(given: Texts, fitted: Texts) -> dict[str, Any]:
    """What is told of values that had to be changed."""
    changed = [name for name in _NAMES if name in given and fitted[name] != given[name]]
    if not changed:
        return {}
    return {ADJUSTED: ",".join(sorted(changed))} | {
        f"kong_ai_tracing.{name}": label(given[name]) for name in changed
    }


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


def _prompt(said: Texts) -> tuple[str, int] | None:
    """The link to a prompt. A name alone is none, and Langfuse takes no other versions than numbers."""
    name, version = said["prompt_name"], integer(said.get("prompt_version"))
    if len(name) > MAX_CHARACTERS or version is None or not 0 < version < _LARGEST_VERSION:
        return None
    return name, version


def _labels(
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
    if not _METADATA_FIELDS.isdisjoint(said):
        found |= {name: label(said[name]) for name in sorted(_METADATA_FIELDS.intersection(said))}
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
