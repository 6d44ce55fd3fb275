"""The observation's metadata: what a line says of a call beside its content.

The names are those of the plugin we succeed, so that saved filters keep working; units are in the names.
What every call has is written straight into the metadata, and what is not known is never written.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.entries import LogEntry, first_text, integer, text
from kong_ai_tracing.payloads import Answered, Asked
from kong_ai_tracing.providers import Exchange
from kong_ai_tracing.sections import PROXIED, Section
from kong_ai_tracing.timing import Timing, duration
from kong_ai_tracing.usage import prompt_and_completion

Facts = dict[str, Any]

_LATENCIES = (
    ("kong_latency_ms", "kong"),
    ("proxy_latency_ms", "proxy"),
    ("receive_latency_ms", "receive"),
)


def add_call(facts: Facts, asked: Asked, answered: Answered, request: Body, response: Body) -> None:
    """What the bodies say, and where they do not, why."""
    if answered.finish_reason is not None:
        facts["finish_reason"] = answered.finish_reason
    if answered.response_id is not None:
        facts["response_id"] = answered.response_id
    if asked.message_count is not None:
        facts["message_count"] = asked.message_count
    if asked.prompt_length is not None:
        facts["prompt_length"] = asked.prompt_length
    if answered.response_length is not None:
        facts["response_length"] = answered.response_length
    if request.note is not None:
        facts["request_body"] = request.note
    if response.note is not None:
        facts["response_body"] = response.note
    if answered.partial:
        facts["partial"] = True
    if failure := answered.failure:
        facts.update(known({"error_type": failure.type, "error_code": failure.code}))


def add_speed(facts: Facts, timing: Timing, usage: dict[str, int]) -> None:
    """Duration, and what it means per token."""
    facts["total_duration_ms"] = milliseconds = timing.duration_ms
    prompt, completion = prompt_and_completion(usage)
    if completion:
        facts["time_per_token_ms"] = ratio(milliseconds, completion)
        if milliseconds:
            facts["throughput_tokens_per_second"] = ratio(completion * 1000, milliseconds)
        if prompt:
            facts["completion_tokens_per_prompt_token"] = ratio(completion, prompt)
    if timing.first_token_ms is not None:
        facts["time_to_first_token_ms"] = timing.first_token_ms


def ratio(part: int, whole: int) -> float:
    """To three decimals, as `round` has it, which takes three times as long for a fraction."""
    nearest = 2000 * part + whole
    if nearest % (2 * whole) == 0:  # just between two
        return round(part / whole, 3)
    return nearest // (2 * whole) / 1000


def add_gateway(facts: Facts, exchange: Exchange) -> None:
    """What Kong says of the request as a whole."""
    entry = exchange.entry
    record, latencies = entry.record, entry.latencies
    if entry.status is not None:
        facts["status_code"] = entry.status
    if entry.method:
        facts["http_method"] = entry.method
    if entry.path:
        facts["path"] = entry.path
    if entry.request_id is not None:
        facts["kong_request_id"] = entry.request_id
    facts |= _names_in(entry)
    for name, part in _LATENCIES:
        if (latency := duration(latencies.get(part))) is not None:
            facts[name] = latency
    if (status := text(record.get("upstream_status"))) is not None and status != "-":
        facts["upstream_status"] = status
    if (request_id := first_text(exchange.response_headers.get("x-request-id"))) is not None:
        facts["provider_request_id"] = request_id
    tries = entry.tries
    if len(tries) > 1 or (tries and "state" in tries[0]):
        # There is more to say than that one worked.
        facts["tries"] = [known(facts_of_try(attempt)) for attempt in tries]
    if entry.damaged:
        facts["kong_ai_tracing.repaired"] = True


def add_section(facts: Facts, section: Section) -> None:
    """What Kong says of one LLM call."""
    meta, cache = section.meta, section.cache
    if section.place is not PROXIED:
        facts["kong_ai_plugin"] = section.namespace
    if (latency := duration(meta.get("llm_latency"))) is not None:
        facts["llm_latency_ms"] = latency
    if (deployment := text(meta.get("azure_deployment_id"))) is not None:
        facts["azure_deployment_id"] = deployment
    if cache:
        facts.update(_known_of_cache(cache))


def _known_of_cache(cache: dict[str, Any]) -> Facts:
    return known(
        {
            "cache_fetch_latency_ms": duration(cache.get("fetch_latency")),
            "cache_embeddings_provider": text(cache.get("embeddings_provider")),
            "cache_embeddings_model": text(cache.get("embeddings_model")),
            "cache_embeddings_latency_ms": duration(cache.get("embeddings_latency")),
        }
    )


def known(*facts: Facts) -> Facts:
    """All that is known, in one."""
    return {name: value for part in facts for name, value in part.items() if value is not None}


def _names_in(entry: LogEntry) -> Facts:
    """What the parts of the gateway are called that a request went through."""
    record, service, route, consumer = entry.record, entry.service, entry.route, entry.consumer
    said = (
        service.get("name"),
        service.get("id"),
        route.get("name"),
        route.get("id"),
        consumer.get("username"),
        consumer.get("custom_id"),
        consumer.get("id"),
        record.get("workspace_name"),
        record.get("workspace"),
    )
    try:
        return _remembered_names(*said)
    except TypeError:  # a list or an object stands where a name should
        return _names(*said)


def _names(*said: Any) -> Facts:
    service, service_id, route, route_id, username, custom_id, consumer_id, workspace, workspace_id = map(
        text, said
    )
    return known(
        {
            "kong_service": service or service_id,
            "kong_route": route or route_id,
            "kong_consumer": username or custom_id or consumer_id,
            "kong_workspace": workspace or workspace_id,
        }
    )


_remembered_names = lru_cache(4096, typed=True)(_names)
"""A gateway has few routes, and most callers come again."""


def facts_of_try(attempt: Facts) -> Facts:
    """One of the balancer's attempts."""
    return {
        "ip": text(attempt.get("ip")),
        "port": integer(attempt.get("port")),
        "state": text(attempt.get("state")),
        "code": integer(attempt.get("code")),
        "started_at_ms": integer(attempt.get("balancer_start")),
    }
