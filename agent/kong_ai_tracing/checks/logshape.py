"""Do the newest lines of the log hold what a trace needs?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from kong_ai_tracing.assembly import call_settings_of
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.samples import Sample, last_lines, newest_of, sample_of
from kong_ai_tracing.commands import command
from kong_ai_tracing.quantities import counted

_BUFFER = "echo 'nginx_http_client_body_buffer_size = 1m' >> /etc/kong/kong.conf && kong reload"
_MOST_SERVICES = 5


def check_log_shape(here: Surroundings) -> Iterator[Finding]:
    """The end of the newest file of each pattern, read as the daemon reads it."""
    settings = call_settings_of(here.config)
    for pattern in here.config.log_paths:
        newest = newest_of(pattern)
        if newest is not None:
            yield from _judge(newest, sample_of(last_lines(newest), settings))


def _configuring(path: Path, services: set[str], bodies: str) -> str:
    """The command that prints what Kong is to be told."""
    named = " ".join(f"--service {quote(name)}" for name in sorted(services)[:_MOST_SERVICES])
    where = named or "--global"
    return f"kong-ai-tracing kong-config {where} --bodies {bodies} --path {quote(str(path))}"


def _judge(path: Path, sample: Sample) -> Iterator[Finding]:
    if not sample.lines:
        yield Finding("shape.empty", "ok", f"{path} holds no complete line yet")
        return
    if not sample.entries:
        yield Finding(
            "shape.not_kong",
            "error",
            f"{path}: no line of Kong's file-log plugin among the last {sample.lines}",
            "there is nothing to trace in it",
            "point log_paths at the file of the file-log plugin, not at nginx's access.log or error.log",
        )
        return
    if not sample.calls:
        yield Finding(
            "shape.no_ai_calls",
            "warning",
            f"{path}: no AI call in the last {counted(sample.lines, 'line')}",
            "only AI traffic becomes traces",
            "send a call through ai-proxy or to an AI service, then check again; for ai-proxy set"
            " logging.log_statistics=true; name a server that is not recognised in a [[provider]] table",
        )
    else:
        what = f"{path}: {counted(sample.calls, 'AI call')} in the last {counted(sample.lines, 'line')}"
        yield Finding("shape.ai_calls", "ok", what)
    yield from _proxied(path, sample)
    yield from _plain(path, sample)
    yield from _lines(path, sample)


def _proxied(path: Path, sample: Sample) -> Iterator[Finding]:
    """What ai-proxy was not told to log."""
    if sample.without_statistics:
        yield Finding(
            "shape.no_statistics",
            "warning",
            f"{path}: ai-proxy logged nothing about {counted(sample.without_statistics, 'call')}",
            "their traces show time and status, but no tokens, no prompt and no answer",
            "set logging.log_statistics=true and logging.log_payloads=true in ai-proxy",
            _configuring(path, sample.proxied_services, "ai-proxy"),
        )
    if sample.without_payload:
        yield Finding(
            "shape.no_payloads",
            "warning",
            f"{path}: {sample.without_payload} of {counted(sample.proxied, 'call')} through ai-proxy without"
            " a prompt",
            "their traces show time, status and tokens, but no prompt and no answer",
            "set logging.log_payloads=true in ai-proxy, beside logging.log_statistics=true",
            _configuring(path, sample.proxied_services, "ai-proxy"),
        )
    if sample.without_usage:
        yield Finding(
            "shape.no_usage",
            "warning",
            f"{path}: {sample.without_usage} of {counted(sample.proxied, 'call')} through ai-proxy without"
            " token counts",
            "their traces show no tokens and no cost",
            "set logging.log_statistics=true in ai-proxy; servers that report no usage need it switched on",
            _configuring(path, sample.proxied_services, "ai-proxy"),
        )
    if sample.refused_for_size:
        yield Finding(
            "shape.refused_for_size",
            "warning",
            f"{path}: {counted(sample.refused_for_size, 'request')} of more than 8 KiB refused by ai-proxy",
            "callers get an error: ai-proxy takes 8 KiB unless it is told otherwise",
            "raise max_request_body_size in ai-proxy, and Kong's buffer with it",
            _BUFFER,
        )
    if sample.estimated:
        yield Finding(
            "shape.estimated_tokens",
            "warning",
            f"{path}: the tokens of {sample.estimated} of {counted(sample.calls, 'AI call')} are Kong's"
            " estimates",
            "ai-proxy does not read the usage in a stream: tokens and cost can be wrong by half",
            "capture the provider's own stream beside ai-proxy, and let clients ask for the usage"
            " (stream_options.include_usage)",
            _configuring(path, sample.proxied_services, "both"),
        )


def _plain(path: Path, sample: Sample) -> Iterator[Finding]:
    """Services without ai-proxy, whose bodies something else has to put on the line."""
    large = sample.large_without_body
    if large and sample.with_body:
        yield Finding(
            "shape.large_bodies_missing",
            "warning",
            f"{path}: {counted(large, 'request')} of more than 8 KiB without a body; smaller ones have one",
            "Kong keeps larger requests out of memory, and then out of the log: long prompts are missing",
            "raise nginx_http_client_body_buffer_size",
            _BUFFER,
        )
    missing = sample.plain_without_body - (large if sample.with_body else 0)
    if missing:
        yield Finding(
            "shape.no_bodies",
            "warning",
            f"{path}: {counted(missing, 'call')} to services without ai-proxy without a request body",
            "their traces show time, status and who called, but no prompt, no answer and no tokens",
            "let Kong's bundled pre-function plugin put the bodies on the line",
            _configuring(path, sample.plain_services, "capture"),
        )
    if sample.without_answer:
        yield Finding(
            "shape.no_answers",
            "warning",
            f"{path}: {sample.without_answer} of {counted(sample.with_body, 'call')} with a prompt, but"
            " without an answer",
            "custom_fields_by_lua can log the request only",
            "capture both bodies with Kong's bundled pre-function plugin",
            _configuring(path, sample.plain_services, "capture"),
        )


def _lines(path: Path, sample: Sample) -> Iterator[Finding]:
    if sample.without_request_id:
        yield Finding(
            "shape.no_request_id",
            "warning",
            f"{path}: {counted(sample.without_request_id, 'AI line')} without a request id",
            "their ids come from a digest of the line, so an application cannot compute them",
            "Kong 3.5 and newer log request.id; upgrade if you need it",
        )
    if sample.unknown_namespaces:
        names = ", ".join(f"ai.{name[:40]}" for name in sorted(sample.unknown_namespaces)[:5])
        yield Finding(
            "shape.unknown_namespace",
            "warning",
            f"{path}: Kong's AI plugins write what this version does not know: {names}",
            "it may be shown under a general name, or not at all",
            "look for a newer kong-ai-tracing; preview shows what becomes of these lines",
            command(f"preview --limit 5 {quote(str(path))}"),
        )
    if sample.damaged:
        yield Finding(
            "shape.damaged",
            "warning",
            f"{path}: {sample.damaged} of the last {counted(sample.lines, 'line')} damaged",
            "what stood in them is set aside, not delivered",
            "look for a full disk or a network file system: Kong does not notice a write that stops half-way",
            f"df -h {path.parent}",
        )
