"""What guardrails wrote about a call in, one observation for each of their checks out.

All of them write the same members, once for the request and once for the answer: `input_processing_latency`,
`input_block_reason`, `output_request_uuid` … A reason means that the content was not let through. The content
itself (`input_faulty_prompt`) is only there when the operator asked Kong for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kong_ai_tracing.entries import table, text
from kong_ai_tracing.facts import known
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.labels import label, limited
from kong_ai_tracing.observations import Observation
from kong_ai_tracing.timing import duration

_NAME = re.compile(r"guard|armor|content[-_]safety", re.IGNORECASE)
_MEMBERS = re.compile(r"(?:in|out)put_(?:processing_latency|block_reason|faulty_)")
_CONTENT = {"input": "input_faulty_prompt", "output": "output_faulty_response"}
_FACTS = (
    "mode",
    "guardrails_id",
    "guardrails_version",
    "aws_region",
    "lakera_service_url",
    "lakera_project_id",
    "project_id",
    "location_id",
    "template_id",
)
"""Names, not whatever is there: a member we do not know might hold what was said."""
_SHARED = "guardrail_triggered"
"""What every guardrail writes when it blocks, beside its own object."""


def checked(objects: dict[str, dict[str, Any]]) -> bool:
    """Whether a guardrail wrote anything: then it is a request to a model, though nothing else may say so."""
    return any(
        any(table(found) for found in value.values()) if name == "audit" else _is_guardrail(name, value)
        for name, value in objects.items()
    )


def guardrail_checks(objects: dict[str, dict[str, Any]], call: Observation) -> list[Observation]:
    """The checks in the objects that other plugins wrote about a call."""
    found: list[Observation] = []
    for name in sorted(objects):
        if name == "audit":
            found += _audits(objects[name], call)
        elif name != _SHARED and _is_guardrail(name, objects[name]):
            found += _checks(name, objects[name], call)
    if _SHARED in objects and not any(check.level == "WARNING" for check in found):
        found.append(_shared_check(objects[_SHARED], call))
    return found


def _is_guardrail(name: str, value: dict[str, Any]) -> bool:
    return _NAME.search(name) is not None or any(_MEMBERS.match(member) for member in value)


def _checks(name: str, value: dict[str, Any], call: Observation) -> Iterator[Observation]:
    phases = [phase for phase in ("input", "output") if _ran(phase, value)]
    for phase in phases:
        yield _check(name, phase, value, call)
    if not phases:
        yield _observation(name, name, call, metadata=_facts(value))


def _ran(phase: str, value: dict[str, Any]) -> bool:
    """Members of a check that was not made are there as well, but empty or zero."""
    return bool(_latency(phase, value) or _reason(phase, value) or value.get(_CONTENT[phase])) or (
        text(value.get(f"{phase}_request_uuid")) is not None
    )


def _latency(phase: str, value: dict[str, Any]) -> int | None:
    found = value.get(f"{phase}_processing_latency")
    # Kong's own sample of the log has the first name misprinted.
    return duration(value.get("inputput_processing_latency") if found is None and phase == "input" else found)


def _reason(phase: str, value: dict[str, Any]) -> str | None:
    detail = value.get(f"{phase}_block_detail")
    return text(value.get(f"{phase}_block_reason")) or ("no reason given" if detail else None)


def _check(name: str, phase: str, value: dict[str, Any], call: Observation) -> Observation:
    reason, latency = _reason(phase, value), _latency(phase, value) or 0
    content, detail = value.get(_CONTENT[phase]), value.get(f"{phase}_block_detail")
    verdict: dict[str, Any] = {"blocked": reason is not None or bool(content)}
    if reason is not None:
        verdict["reason"] = reason
    if detail:
        verdict["detail"] = detail
    return _observation(
        f"{name} {phase}",
        name,
        call,
        # The request is checked before it goes out, the answer before it goes back.
        started_at_ms=None if phase == "input" else call.ended_at_ms - latency,
        latency=latency,
        blocked=(phase, reason) if verdict["blocked"] else None,
        content=content,
        verdict=verdict,
        metadata=_facts(value)
        | {
            "processing_latency_ms": _latency(phase, value),
            "request_uuid": _name(value.get(f"{phase}_request_uuid")),
            "block_source": _name(value.get(f"{phase}_block_source")),
        },
    )


def _shared_check(value: dict[str, Any], call: Observation) -> Observation:
    phase = "output" if "OUTPUT" in (text(value.get("block_direction")) or "") else "input"
    name = text(value.get("block_source")) or _SHARED
    return _observation(
        f"{name} {phase}",
        _SHARED,
        call,
        started_at_ms=None if phase == "input" else call.ended_at_ms,
        blocked=(phase, None),
        content=value.get("blocked_content"),
        verdict={"blocked": True},
        metadata={},
    )


def _audits(value: dict[str, Any], call: Observation) -> Iterator[Observation]:
    """`ai.audit.azure_content_safety`: the categories that were breached, with their severity."""
    for name in sorted(value):
        if categories := table(value[name]):
            named = ", ".join(f"{category} {label(level)}" for category, level in sorted(categories.items()))
            yield _observation(
                name,
                f"audit.{name}",
                call,
                blocked=("", named),
                verdict={"categories": categories},
                metadata={},
            )


def _observation(
    name: str,
    kong_object: str,
    call: Observation,
    *,
    metadata: dict[str, Any],
    started_at_ms: int | None = None,
    latency: int = 0,
    blocked: tuple[str, str | None] | None = None,
    content: Any = None,
    verdict: dict[str, Any] | None = None,
) -> Observation:
    start = call.started_at_ms if started_at_ms is None else max(started_at_ms, call.started_at_ms)
    return Observation(
        type="guardrail",
        name=limited(name),
        started_at_ms=start,
        ended_at_ms=start + latency,
        level="WARNING" if blocked else "DEFAULT",
        status_message=_message(*blocked) if blocked else None,
        # Reasons are a guardrail's words; the categories of an audit have fixed names.
        quoted=blocked[1] if blocked and blocked[0] else None,
        input=dump(content) if content else None,
        output=dump(verdict) if verdict else None,
        metadata=known({"kong_object": limited(kong_object)}, metadata),
        origin=call.origin,
    )


def _message(phase: str, reason: str | None) -> str:
    return str(label(": ".join(filter(None, (f"{phase} blocked" if phase else "breached", reason)))))


def _facts(value: dict[str, Any]) -> dict[str, Any]:
    return {name: _name(value.get(name)) for name in _FACTS}


def _name(value: Any) -> str | None:
    found = text(value)
    return limited(found) if found else None
