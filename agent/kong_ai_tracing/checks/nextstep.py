"""What to do next, from what was found: the way to the first trace, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings


def next_step(here: Surroundings, findings: Sequence[Finding]) -> str:
    """One sentence with one command, or nothing when there is nothing left to do."""
    found = {finding.id for finding in findings}
    if "config.other_user" in found:
        return "next: sudo kong-ai-tracing check"
    if any(finding.severity == "error" for finding in findings):
        return "next: mend the errors from top to bottom, then check again"
    option = f" --config {quote(str(here.config_path))}" if _named(here) else ""
    if not found & {"shape.ai_calls"}:
        return "next: send an AI call through Kong, then check again"
    if "daemon.running" in found:
        where = "in Langfuse" if here.config.langfuse_enabled else f"with kong-ai-tracing view{option}"
        return f"next: look at your traces {where}; kong-ai-tracing status{option} shows how far it is"
    log = next(iter(here.config.log_paths))
    service = any(finding.command.startswith("systemctl enable") for finding in findings)
    start = "systemctl enable --now kong-ai-tracing" if service else f"kong-ai-tracing run{option}"
    return f"next: {start}; kong-ai-tracing preview{option} {quote(log)} shows what will be sent"


def _named(here: Surroundings) -> bool:
    from kong_ai_tracing.config.loading import SYSTEM_CONFIG

    return here.config_path not in (None, SYSTEM_CONFIG) and not here.environ.get("KONG_AI_TRACING_CONFIG")
