"""The observation's metadata: what a line says of a call beside its content.

The names are those of the plugin we succeed, so that saved filters keep working; units are in the names.
"""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.entries import LogEntry, first_text, integer, text
from kong_ai_tracing.payloads import Answered, Asked
from kong_ai_tracing.providers import Exchange
from kong_ai_tracing.sections import Place, Section
from kong_ai_tracing.timing import Timing, duration
from kong_ai_tracing.usage import prompt_and_completion

Facts = dict[str, Any]


def facts_of_call(asked: Asked, answered: Answered, request: Body, response: Body) -> Facts:
    """What the bodies say, and where they do not, why."""
    facts = {
        "finish_reason": answered.finish_reason,
        "response_id": answered.response_id,
        "message_count": asked.message_count,
        "prompt_length": asked.prompt_length,
        "response_length": answered.response_length,
        "request_body": request.note,
        "response_body": response.note,
        "partial": answered.partial or None,
    }
    if failure := answered.failure:
        facts["error_type"], facts["error_code"] = failure.type, failure.code
    return facts


def facts_of_speed(timing: Timing, usage: dict[str, int]) -> Facts:
    """Duration, and what it means per token."""
    milliseconds = timing.duration_ms
    prompt, completion = prompt_and_completion(usage)
    return {
        "total_duration_ms": milliseconds,
        "time_per_token_ms": round(milliseconds / completion, 3) if completion else None,
        "throughput_tokens_per_second": (
            round(completion * 1000 / milliseconds, 3) if completion and milliseconds else None
        ),
        "completion_tokens_per_prompt_token": (
            round(completion / prompt, 3) if completion and prompt else None
        ),
        "time_to_first_token_ms": timing.first_token_ms,
    }


def facts_of_gateway(exchange: Exchange) -> Facts:
    """What Kong says of the request as a whole."""
    entry = exchange.entry
    record, latencies = entry.record, entry.latencies
    upstream_status = text(record.get("upstream_status"))
    return {
        "status_code": entry.status,
        "http_method": entry.method or None,
        "path": entry.path or None,
        "kong_request_id": entry.request_id,
        "kong_service": _name_of(entry.service),
        "kong_route": _name_of(entry.route),
        "kong_consumer": _consumer(entry.consumer) if entry.consumer else None,
        "kong_workspace": text(record.get("workspace_name")) or text(record.get("workspace")),
        "kong_latency_ms": duration(latencies.get("kong")),
        "proxy_latency_ms": duration(latencies.get("proxy")),
        "receive_latency_ms": duration(latencies.get("receive")),
        "upstream_status": upstream_status if upstream_status != "-" else None,
        "provider_request_id": first_text(exchange.response_headers.get("x-request-id")),
        "tries": _tries(entry),
        "kong_ai_tracing.repaired": entry.damaged or None,
    }


def facts_of_section(section: Section) -> Facts:
    """What Kong says of one LLM call."""
    meta, cache = section.meta, section.cache
    facts = {
        "kong_ai_plugin": section.namespace if section.place is not Place.PROXIED else None,
        "llm_latency_ms": duration(meta.get("llm_latency")),
        "azure_deployment_id": text(meta.get("azure_deployment_id")),
    }
    if cache:
        facts["cache_fetch_latency_ms"] = duration(cache.get("fetch_latency"))
        facts["cache_embeddings_provider"] = text(cache.get("embeddings_provider"))
        facts["cache_embeddings_model"] = text(cache.get("embeddings_model"))
        facts["cache_embeddings_latency_ms"] = duration(cache.get("embeddings_latency"))
    return facts


def known(*facts: Facts) -> Facts:
    """All that is known, in one."""
    return {name: value for part in facts for name, value in part.items() if value is not None}


def _name_of(entity: dict[str, Any]) -> str | None:
    return text(entity.get("name")) or text(entity.get("id"))


def _consumer(consumer: dict[str, Any]) -> str | None:
    return text(consumer.get("username")) or text(consumer.get("custom_id")) or text(consumer.get("id"))


def _tries(entry: LogEntry) -> list[Facts] | None:
    """The balancer's attempts, when there is more to say than that one worked."""
    tries = entry.tries
    if not tries or (len(tries) == 1 and "state" not in tries[0]):
        return None
    return [known(facts_of_try(attempt)) for attempt in tries]


def facts_of_try(attempt: Facts) -> Facts:
    """One of the balancer's attempts."""
    return {
        "ip": text(attempt.get("ip")),
        "port": integer(attempt.get("port")),
        "state": text(attempt.get("state")),
        "code": integer(attempt.get("code")),
        "started_at_ms": integer(attempt.get("balancer_start")),
    }
