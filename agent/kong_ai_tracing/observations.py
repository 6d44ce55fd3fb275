"""What one call says of itself, in Langfuse's words."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from kong_ai_tracing.lines import Origin

Level = Literal["DEFAULT", "WARNING", "ERROR"]


class Observation(Struct, kw_only=True):
    """What one call (or a group of calls) says of itself, in Langfuse's words.

    Times are epoch milliseconds. `input` and `output` are JSON texts in UTF-8 that any JSON reader
    accepts (no lone surrogates, no NUL), so that they can be spliced into other JSON unparsed.
    """

    type: str
    """Langfuse's word: `generation`, `embedding`, `span`, `tool`, `agent`, `retriever`, `guardrail` …"""
    name: str
    started_at_ms: int
    ended_at_ms: int
    completion_started_at_ms: int | None = None
    level: Level = "DEFAULT"
    status_message: str | None = None
    quoted: str | None = None
    """The end of the status message, where it is the word of a provider, a tool or a guardrail."""
    provider: str | None = None
    model: str | None = None
    model_parameters: dict[str, Any] = field(default_factory=dict)
    prompt_name: str | None = None
    prompt_version: int | None = None
    """The prompt in Langfuse from which a generation was made: both or neither."""
    input: bytes | None = None
    output: bytes | None = None
    usage_details: dict[str, int] = field(default_factory=dict)
    cost_details: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = None


class Child(Struct):
    """What happened within a call, with its observation id: a failed try, the verdict of a guardrail."""

    id: str
    observation: Observation
