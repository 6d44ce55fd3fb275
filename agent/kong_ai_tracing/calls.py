"""One log entry in, the AI calls it tells of out.

Kong says itself which requests ai-proxy and the AI transformers handled; on plain services it takes the
signs of `providers`. Nothing in a line makes this raise, and other traffic is no call.
"""

from __future__ import annotations

from msgspec import Struct, field

from kong_ai_tracing.bodies import Captured, captured_of
from kong_ai_tracing.context import CallSettings, Context, Identity, identify
from kong_ai_tracing.entries import LogEntry, first_text, number, text
from kong_ai_tracing.facts import (
    facts_of_call,
    facts_of_gateway,
    facts_of_section,
    facts_of_speed,
    known,
)
from kong_ai_tracing.ids import observation_id_from_seed
from kong_ai_tracing.levels import answered_by_kong, failed, level_of, message_of
from kong_ai_tracing.observations import Level, Observation
from kong_ai_tracing.payloads import Answered, Asked, Dialect, Sketch, read_answer, read_request
from kong_ai_tracing.providers import (
    Exchange,
    exchange_of,
    is_call,
    may_be_call,
    model_in_path,
    provider_by_signs,
    provider_of,
)
from kong_ai_tracing.sections import Place, Section, sections_of
from kong_ai_tracing.timing import timing_of
from kong_ai_tracing.usage import ZERO_USAGE, reported_cost, usage_buckets, usage_in_headers

__all__ = ["AICall", "CallSettings", "Context", "Level", "Observation", "calls_of"]

_MAX_MODEL = 200
_NOTHING_CAPTURED = Captured()
_COST_HEADER = "x-litellm-response-cost"


class AICall(Struct, kw_only=True):
    """One call to a model: its observation id (16 hex digits), what happened, and where it belongs."""

    id: str
    observation: Observation
    context: Context
    explain: dict[str, str] = field(default_factory=dict)
    """Which source gave each context value (`user_id` → `header x-user-id`); filled on request only."""


class _Exchanged(Struct):
    """Everything read of one call, before it takes Langfuse's form."""

    exchange: Exchange
    section: Section
    captured: Captured
    request: Sketch
    response: Sketch
    dialect: Dialect
    asked: Asked
    answered: Answered
    is_proxied: bool
    streamed: bool
    refused: bool
    """Whether the request failed by its status, so that its answer is none of the model's."""
    cache_status: str | None
    cache_hit: bool
    """Whether the answer came out of a cache, so that no model was called."""

    @property
    def failed(self) -> bool:
        return self.refused or self.answered.failure is not None

    @property
    def answer_captured(self) -> bool:
        """Whether the answer is the provider's own, not Kong's account of it."""
        body = self.response.body
        return body.text is not None and body is self.captured.response


def calls_of(entry: LogEntry, settings: CallSettings, explain: bool = False) -> list[AICall]:
    """The calls to models in one log entry; none when it is other traffic."""
    sections = sections_of(entry.ai)
    if sections:
        exchange = exchange_of(entry)
        captured = captured_of(entry)
        read = [_read_section(exchange, section, captured) for section in sections]
    elif may_be_call(entry):
        read = _read_plain(exchange_of(entry), captured_of(entry))
    else:
        return []
    if not read:
        return []
    main = read[0] if len(read) == 1 else next((each for each in read if each.is_proxied), read[0])
    identity = identify(
        entry, main.exchange.request_headers, main.request.fields or {}, settings, explain=explain
    )
    return [_call(each, identity, is_main=each is main) for each in read]


def _read_section(exchange: Exchange, section: Section, captured: Captured) -> _Exchanged:
    """Read a call that Kong tells of. A captured body is nearer to the truth than Kong's account."""
    if section.place is not Place.PROXIED:
        captured = _NOTHING_CAPTURED
    request = Sketch(captured.request if captured.request.text is not None else section.request)
    response = Sketch(captured.response if captured.response.text is not None else section.response)
    hint = exchange.dialect if section.place is Place.PROXIED else None
    return _read(exchange, section, captured, request, response, hint)


def _read_plain(exchange: Exchange, captured: Captured) -> list[_Exchanged]:
    """Read a request to a plain service, if it is a call to a model."""
    request, response = Sketch(captured.request), Sketch(captured.response)
    if not is_call(exchange, request, response):
        return []
    return [_read(exchange, Section(), captured, request, response, exchange.dialect)]


def _read(
    exchange: Exchange,
    section: Section,
    captured: Captured,
    request: Sketch,
    response: Sketch,
    hint: Dialect | None,
) -> _Exchanged:
    dialect, asked = read_request(request, hint)
    bare_text = asked.streamed and section.logs_bare_text and response.body is section.response
    answered = read_answer(response, dialect, bare_text=bare_text)
    is_proxied = section.place is Place.PROXIED
    streamed = is_proxied and (
        (response.stream is not None and not response.stream.listed)
        or asked.streamed
        or exchange.streamed
        or text(section.meta.get("request_mode")) == "stream"
    )
    cache_status = _cache_status(exchange, section)
    return _Exchanged(
        exchange,
        section,
        captured,
        request,
        response,
        dialect,
        asked,
        answered,
        is_proxied,
        streamed,
        refused=is_proxied and failed(exchange.entry.status),
        cache_status=cache_status,
        cache_hit=cache_status is not None and cache_status.lower() == "hit",
    )


def _cache_status(exchange: Exchange, section: Section) -> str | None:
    """What a cache of Kong did; on plain services it is proxy-cache, which says it in a header."""
    logged = text(section.cache.get("cache_status"))
    if logged or section.place is not Place.PROXIED:
        return logged
    said = first_text(exchange.response_headers.get("x-cache-status"))
    return said if said and answered_by_kong(exchange.entry) else None


def _call(read: _Exchanged, identity: Identity, *, is_main: bool) -> AICall:
    entry = read.exchange.entry
    seed = entry.seed if is_main else f"{entry.seed}/{read.section.namespace}"
    return AICall(
        id=observation_id_from_seed(seed),
        observation=_observation(read, identity),
        context=identity.context,
        explain=identity.sources,
    )


def _observation(read: _Exchanged, identity: Identity) -> Observation:
    exchange, section, asked, answered = read.exchange, read.section, read.asked, read.answered
    entry = exchange.entry
    timing = timing_of(entry, section, read.captured, streamed=read.streamed and not read.failed)
    level, status_message = _level(read)
    usage, usage_source = _usage(read)
    model, requested, provider = _model(read), _requested_model(read), _provider(read)
    return Observation(
        type="span" if read.cache_hit else read.dialect.type,
        name=_name(read, identity, requested or model),
        started_at_ms=timing.started_at_ms,
        ended_at_ms=timing.ended_at_ms,
        completion_started_at_ms=timing.completion_started_at_ms,
        level=level,
        status_message=status_message,
        provider=provider,
        model=model,
        model_parameters=asked.parameters,
        input=asked.input,
        output=None if read.refused else answered.output,
        usage_details=usage,
        cost_details=_cost(read),
        metadata=known(
            {"provider": provider, "model": model, "environment": identity.context.environment},
            {"request_model": requested if requested != model else None},
            facts_of_gateway(exchange),
            facts_of_section(section),
            facts_of_call(asked, answered, read.request.body, read.response.body),
            facts_of_speed(timing, usage),
            {"streaming": read.streamed, "usage_source": usage_source, "cache_status": read.cache_status},
            {"parent_span_id": identity.parent_span_id},
        ),
        origin=entry.origin,
    )


def _name(read: _Exchanged, identity: Identity, model: str | None) -> str:
    """Operation and model as they were asked for: dated names would scatter what belongs together."""
    if not read.is_proxied:
        return f"{read.section.namespace} {model or ''}".rstrip()
    return identity.observation_name or f"{read.dialect.operation} {model or ''}".rstrip()


def _level(read: _Exchanged) -> tuple[Level, str | None]:
    """The status of a request says nothing about the call that a transformer made before or after it."""
    if read.is_proxied:
        return level_of(read.exchange.entry, read.answered)
    if read.answered.failure is not None:
        return "ERROR", message_of(read.answered.failure)
    return "DEFAULT", None


def _model(read: _Exchanged) -> str | None:
    """The model that answered, as exactly as anybody says it."""
    meta = read.section.meta
    found = read.answered.model or text(meta.get("response_model"))
    if found is None and read.is_proxied:
        found = read.exchange.kong_model[1]
    found = found or read.asked.model or text(meta.get("request_model"))
    if found is None and read.is_proxied:
        found = model_in_path(read.exchange)
    return _fit_model(found) if found else None


def _requested_model(read: _Exchanged) -> str | None:
    requested = text(read.section.meta.get("request_model")) or read.asked.model
    return _fit_model(requested) if requested else None


def _fit_model(name: str) -> str | None:
    return name.replace("\x00", "")[:_MAX_MODEL] or None


def _provider(read: _Exchanged) -> str | None:
    logged = text(read.section.meta.get("provider_name"))
    if logged or not read.is_proxied:
        return logged
    if read.section.namespace or read.section.meta:
        # ai-proxy refused before it had chosen a provider, or 3.8 logs none with an error.
        return read.exchange.kong_model[0] or provider_by_signs(read.exchange)
    return provider_of(read.exchange, read.dialect)


def _usage(read: _Exchanged) -> tuple[dict[str, int], str | None]:
    """Token counts and who counted: the provider, or Kong, which estimates those of a stream."""
    if read.cache_hit:
        return dict(ZERO_USAGE), None
    kongs_word = "kong_estimate" if read.streamed else "kong"
    found = usage_buckets(read.answered.usage)
    if any(found.values()):
        return found, "provider" if read.answer_captured or not read.streamed else kongs_word
    if read.failed:
        return dict(ZERO_USAGE), None
    found = usage_buckets(read.section.usage)
    if any(found.values()):
        return found, kongs_word
    found = usage_in_headers(read.exchange.response_headers) if read.is_proxied else {}
    return found, "provider" if found else None


def _cost(read: _Exchanged) -> dict[str, float]:
    """Kong's cost where prices are configured, unless it comes from an estimate; else the provider's."""
    if read.failed or read.cache_hit:
        return {}
    estimated = read.streamed and read.answer_captured and read.section.usage
    cost = None if estimated else number(read.section.usage.get("cost"))
    cost = cost or reported_cost(read.answered.usage)
    if not cost and read.is_proxied:
        cost = number(first_text(read.exchange.response_headers.get(_COST_HEADER)))
    return {"total": cost} if cost is not None and cost > 0 else {}
