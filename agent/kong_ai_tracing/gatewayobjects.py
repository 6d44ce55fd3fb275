"""What Kong's other AI plugins did for a call in, what the trace shows of it out.

Work of its own (a failed try, a guardrail's check, a search in a vector store, a judge's verdict) becomes an
observation below the call; what only changed the call (sanitizer, compressor) becomes metadata of it. A call
without any of that stays one observation.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from kong_ai_tracing.entries import LogEntry, integer, number, table, text
from kong_ai_tracing.facts import Facts, known
from kong_ai_tracing.guardrails import guardrail_checks
from kong_ai_tracing.ids import observation_id_from_seed
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.labels import limited
from kong_ai_tracing.observations import Child, Observation
from kong_ai_tracing.retries import failed_tries
from kong_ai_tracing.rpc import Rpc, rpc_observation
from kong_ai_tracing.timing import duration

_MAX_CHILDREN = 100
_RAG = ("rag", "ai-rag")
_JUDGES = ("ai-llm-as-judge", "llm-as-judge")


def children_of(
    call_id: str,
    call: Observation,
    entry: LogEntry,
    objects: dict[str, dict[str, Any]],
    rpcs: list[Rpc],
) -> list[Child]:
    """What happened within a call, in the order in which ids are counted: by kind, as logged."""
    if not objects and not rpcs and len(entry.tries) < 2:
        return []
    found = failed_tries(entry, call)
    if objects:
        found += guardrail_checks(objects, call)
        found += [_retrieval(name, objects[name], call) for name in sorted(objects) if name.startswith(_RAG)]
        found += [_judgement(name, objects[name], call) for name in _JUDGES if name in objects]
    found += [_within(rpc, entry, call) for rpc in rpcs]
    if not found:
        return []
    counts: Counter[str] = Counter()
    children = []
    for observation in found[:_MAX_CHILDREN]:
        word = "try" if observation.type == "span" else observation.type
        children.append(Child(observation_id_from_seed(f"{call_id}/{word}/{counts[word]}"), observation))
        counts[word] += 1
    return children


def add_objects(facts: Facts, objects: dict[str, dict[str, Any]]) -> None:
    """What sanitizer and compressor say. What the sanitizer found stays where it is."""
    sanitizer = _first(objects, "sanitizer", "ai-sanitizer")
    compressor = _first(objects, "compressor", "ai-prompt-compressor")
    said = {
        "pii_identified": integer(sanitizer.get("pii_identified")),
        "pii_sanitized": integer(sanitizer.get("pii_sanitized")),
        "sanitizer_duration_ms": duration(sanitizer.get("duration")),
        "compressor_original_tokens": integer(compressor.get("original_token_count")),
        "compressor_compressed_tokens": integer(compressor.get("compress_token_count")),
        "compressor_saved_tokens": integer(compressor.get("save_token_count")),
        "compressor_type": _name(compressor.get("compress_type")),
        "compressor_value": number(compressor.get("compress_value")),
        "compressor_model": _name(compressor.get("compressor_model")),
    }
    facts.update(known(said))


def _first(objects: dict[str, dict[str, Any]], *names: str) -> dict[str, Any]:
    return next((objects[name] for name in names if name in objects), {})


def _name(value: Any) -> str | None:
    found = text(value)
    return limited(found) if found else None


def _retrieval(name: str, value: dict[str, Any], call: Observation) -> Observation:
    """The search for context. The embedding of the question is the only part of it that costs tokens."""
    embedding, fetched = duration(value.get("embeddings_latency")), duration(value.get("fetch_latency"))
    tokens = integer(value.get("embeddings_tokens"))
    counted = tokens is not None and 0 < tokens < 2**53
    model, provider = _name(value.get("embeddings_model")), _name(value.get("embeddings_provider"))
    result = {member: value[member] for member in ("injected", "chunk_ids") if member in value}
    return _child(
        name,
        call,
        type="retriever",
        duration_ms=max(embedding or 0, fetched or 0),
        # Without a count Langfuse would count and price the chunk ids as if a model had read them.
        model=model if counted else None,
        provider=provider,
        usage={"input": tokens, "total": tokens} if counted and tokens is not None else {},
        output=dump(result) if result else None,
        facts={
            "vector_db": _name(value.get("vector_db")),
            "fetch_latency_ms": fetched,
            "embeddings_latency_ms": embedding,
            "embeddings_model": model,
            "embeddings_provider": provider,
        },
    )


def _judgement(name: str, value: dict[str, Any], call: Observation) -> Observation:
    """The verdict of a model on the answer. Kong logs no tokens of it, so none are made up by naming it."""
    meta = table(value.get("meta"))
    accuracy = number(table(value.get("usage")).get("llm_accuracy"))
    took = duration(meta.get("llm_latency"))
    return _child(
        name,
        call,
        type="evaluator",
        duration_ms=took or 0,
        at_the_end=True,
        output=None if accuracy is None else dump({"llm_accuracy": accuracy}),
        facts={
            "llm_accuracy": accuracy,
            "judge_model": _name(meta.get("response_model")),
            "judge_provider": _name(meta.get("provider_name")),
            "judged_model": _name(meta.get("request_model")),
            "llm_latency_ms": took,
        },
    )


def _within(rpc: Rpc, entry: LogEntry, call: Observation) -> Observation:
    """MCP or A2A beside a call to a model."""
    found = rpc_observation(rpc, entry, call.started_at_ms, call.ended_at_ms, alone=False)
    found.metadata = {"kong_object": rpc.protocol, **found.metadata}
    return found


def _child(
    name: str,
    call: Observation,
    *,
    type: str,  # noqa: A002 - Langfuse's word
    duration_ms: int,
    facts: dict[str, Any],
    at_the_end: bool = False,
    model: str | None = None,
    provider: str | None = None,
    usage: dict[str, int] | None = None,
    output: bytes | None = None,
) -> Observation:
    start = max(call.started_at_ms, call.ended_at_ms - duration_ms) if at_the_end else call.started_at_ms
    return Observation(
        type=type,
        name=limited(name),
        started_at_ms=start,
        ended_at_ms=start + duration_ms,
        provider=provider,
        model=model,
        usage_details=usage or {},
        output=output,
        metadata=known({"kong_object": limited(name)}, facts),
        origin=call.origin,
    )
