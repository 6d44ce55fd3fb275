"""Head and bodies of one call in, everything read of it out, before it takes Langfuse's form.

Several places may say the same thing: the provider's answer, Kong's account of it, headers, the path.
Which of them is believed first is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from kong_ai_tracing.bodies import Captured
from kong_ai_tracing.entries import first_text, number, text
from kong_ai_tracing.levels import answered_by_kong, failed, level_of, message_of
from kong_ai_tracing.observations import Level
from kong_ai_tracing.payloads import Answered, Asked, Dialect, Sketch, read_answer, read_request
from kong_ai_tracing.payloads.dialect import Failure
from kong_ai_tracing.providers import (
    Exchange,
    dialect_said,
    is_call,
    model_in_path,
    provider_by_signs,
    provider_of,
)
from kong_ai_tracing.sections import PROXIED, Section
from kong_ai_tracing.usage import ZERO_USAGE, reported_cost, usage_buckets, usage_in_headers

_MAX_MODEL = 200
_NOTHING_CAPTURED = Captured()
_USUAL_TIERS = frozenset(("default", "standard", "on_demand"))
_CACHE_HEADER = "x-cache-status"
_COST_HEADER = "x-litellm-response-cost"


class Begun(Struct):
    """One call whose bodies were looked at, but not read yet."""

    exchange: Exchange
    section: Section
    captured: Captured
    request: Sketch
    response: Sketch
    is_proxied: bool
    hint: Dialect | None
    """The dialect that seems to be spoken."""


class Reading(Struct):
    """Everything read of one call."""

    exchange: Exchange
    section: Section
    captured: Captured
    request: Sketch
    response: Sketch
    is_proxied: bool
    dialect: Dialect
    asked: Asked
    answered: Answered
    streamed: bool
    refused: bool
    """Whether the request failed by its status, so that its answer is none of the model's."""
    failed: bool
    cache_status: str | None
    cache_hit: bool
    """Whether the answer came out of a cache, so that no model was called."""

    @property
    def answer_captured(self) -> bool:
        """Whether the answer is the provider's own, not Kong's account of it."""
        body = self.response.body
        return body.content is not None and body is self.captured.response

    @property
    def level(self) -> tuple[Level, str | None]:
        """The status of a request says nothing about the call that a transformer made before or after it."""
        if not self.failed and not self.answered.partial:
            return "DEFAULT", None
        if self.is_proxied:
            return level_of(self.exchange.entry, self.answered)
        if self.answered.failure is not None:
            return "ERROR", message_of(self.answered.failure)
        return "DEFAULT", None

    @property
    def quoted(self) -> str | None:
        """What the provider says of a failure."""
        return None if self.answered.failure is None else message_of(self.answered.failure)

    @property
    def model(self) -> str | None:
        """The model that answered, as exactly as anybody says it."""
        found = self.answered.model or text(self.section.meta.get("response_model"))
        if found is None and self.is_proxied:
            found = self.exchange.kong_model[1]
        found = found or self.asked.model or text(self.section.meta.get("request_model"))
        if found is None and self.is_proxied:
            rule = self.exchange.rule
            found = (rule.model if rule is not None else None) or model_in_path(self.exchange)
        return fit_model(found)

    @property
    def requested_model(self) -> str | None:
        """The model asked for; where neither Kong nor the request names it, by the path."""
        found = text(self.section.meta.get("request_model")) or self.asked.model
        if found is None and self.is_proxied:
            found = model_in_path(self.exchange)
        return fit_model(found)

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings asked for. The service tier is the one that was given: Langfuse prices by it."""
        settings = self.asked.parameters
        tier = self.answered.service_tier or text(self.answered.usage.get("service_tier"))
        if tier is None or (tier in _USUAL_TIERS and "service_tier" not in settings):
            return settings
        return {**settings, "service_tier": tier}

    @property
    def provider(self) -> str | None:
        rule = self.exchange.rule
        if rule is not None and rule.provider and self.is_proxied:
            return rule.provider
        logged = text(self.section.meta.get("provider_name"))
        if logged or not self.is_proxied:
            return logged
        if self.section.namespace or self.section.meta:
            # ai-proxy refused before it had chosen a provider, or 3.8 logs none with an error.
            return self.exchange.kong_model[0] or provider_by_signs(self.exchange)
        return provider_of(self.exchange, self.dialect)

    @property
    def usage(self) -> tuple[dict[str, int], str | None]:
        """Token counts and who counted: the provider, or Kong, which estimates those of a stream."""
        if self.cache_hit:
            return dict(ZERO_USAGE), None
        kongs_word = "kong_estimate" if self.streamed else "kong"
        found = usage_buckets(self.answered.usage)
        if any(found.values()):
            return found, "provider" if self.answer_captured or not self.streamed else kongs_word
        if self.failed:
            return dict(ZERO_USAGE), None
        found = usage_buckets(self.section.usage)
        if any(found.values()):
            return found, kongs_word
        found = usage_in_headers(self.exchange.response_headers) if self.is_proxied else {}
        return found, "provider" if found else None

    @property
    def cost(self) -> dict[str, float]:
        """Kong's cost where prices are configured, unless it comes from an estimate; else the provider's."""
        if self.failed or self.cache_hit:
            return {}
        estimated = self.streamed and self.answer_captured and self.section.usage
        cost = None if estimated else number(self.section.usage.get("cost"))
        cost = cost or reported_cost(self.answered.usage)
        if not cost and self.is_proxied:
            cost = number(first_text(self.exchange.response_headers.get(_COST_HEADER)))
        return {"total": cost} if cost is not None and cost > 0 else {}


def fit_model(name: str | None) -> str | None:
    """The name of a model as Langfuse can take it."""
    return name.replace("\x00", "")[:_MAX_MODEL] or None if name else None


def begin(exchange: Exchange, section: Section, captured: Captured) -> Begun:
    """Look at a call that Kong tells of. A captured body is nearer to the truth than Kong's account."""
    is_proxied = section.place is PROXIED
    if not is_proxied:
        captured = _NOTHING_CAPTURED
    request = Sketch(section.request if captured.request.content is None else captured.request)
    response = Sketch(section.response if captured.response.content is None else captured.response)
    hint = dialect_said(exchange, request) if is_proxied else None
    return Begun(exchange, section, captured, request, response, is_proxied, hint)


def begin_plain(exchange: Exchange, section: Section, captured: Captured) -> Begun | None:
    """Look at a request to a plain service, if it is a call to a model."""
    request, response = Sketch(captured.request), Sketch(captured.response)
    if not is_call(exchange, request, response):
        return None
    hint = dialect_said(exchange, request)
    return Begun(exchange, section, captured, request, response, is_proxied=True, hint=hint)


def read_all(calls: Sequence[Begun]) -> list[Reading]:
    """Read the bodies of some calls: all requests, then all answers."""
    requests = [read_request(call.request, call.hint) for call in calls]
    answers = [_answer(call, dialect, asked) for call, (dialect, asked) in zip(calls, requests, strict=True)]
    return [
        _reading(call, dialect, asked, answered)
        for call, (dialect, asked), answered in zip(calls, requests, answers, strict=True)
    ]


def _answer(call: Begun, dialect: Dialect, asked: Asked) -> Answered:
    bare_text = asked.streamed and call.section.logs_bare_text and call.response.body is call.section.response
    return read_answer(call.response, dialect, bare_text=bare_text)


def _reading(call: Begun, dialect: Dialect, asked: Asked, answered: Answered) -> Reading:
    exchange, section, response, is_proxied = call.exchange, call.section, call.response, call.is_proxied
    refused = is_proxied and failed(exchange.entry.status)
    if refused and answered.failure is None:
        answered.failure = _refusal_in_text(response)
    streamed = is_proxied and (
        (response.stream is not None and not response.stream.listed)
        or asked.streamed
        or exchange.streamed
        or text(section.meta.get("request_mode")) == "stream"
    )
    cache_status = _cache_status(exchange, section)
    return Reading(
        exchange,
        section,
        call.captured,
        call.request,
        response,
        is_proxied,
        dialect,
        asked,
        answered,
        streamed,
        refused=refused,
        failed=refused or answered.failure is not None,
        cache_status=cache_status,
        cache_hit=cache_status is not None and cache_status.lower() == "hit",
    )


def _refusal_in_text(response: Sketch) -> Failure | None:
    """What a proxy on the way says in plain words; a page in HTML or JSON that is cut says nothing."""
    if response.fields is not None or response.stream is not None:
        return None
    words = (response.body.text or "").strip()
    if not words or words[0] in "<{[" or "\ufffd" in words:
        return None
    return Failure(words)


def _cache_status(exchange: Exchange, section: Section) -> str | None:
    """What a cache of Kong did; on plain services it is proxy-cache, which says it in a header."""
    logged = text(section.cache.get("cache_status")) if section.cache else None
    if logged or section.place is not PROXIED or _CACHE_HEADER not in exchange.response_headers:
        return logged
    said = first_text(exchange.response_headers[_CACHE_HEADER])
    return said if said and answered_by_kong(exchange.entry) else None
