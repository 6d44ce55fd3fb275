"""What to do next, from what was found: the way to the first trace, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.commands import command, service_command


def next_step(here: Surroundings, findings: Sequence[Finding]) -> str:
    """One sentence with one command, or nothing when there is nothing left to do."""
    found = {finding.id for finding in findings}
    if "config.other_user" in found:
        return "next: sudo kong-ai-tracing check"
    if any(finding.severity == "error" for finding in findings):
        return "next: mend the errors from top to bottom, then check again"
    if not found & {"shape.ai_calls"}:
        return "next: send an AI call through Kong, then check again"
    if "daemon.running" in found:
        where = "in Langfuse" if here.config.langfuse_enabled else f"with {command('view')}"
        return f"next: look at your traces {where}; {command('status')} shows how far it is"
    log = next(iter(here.config.log_paths))
    service = any(finding.command.startswith("systemctl enable") for finding in findings)
    start = service_command("enable --now") if service else command("run")
    return f"next: {start}; {command(f'preview {quote(log)}')} shows what will be sent"
