"""A situation in, Prometheus' text out.

Names follow Prometheus' conventions: base units, `_total` for what only grows, a time stamp where somebody
wants an age. Sums come from the state on disk, so that they go on over a restart. The number of series is
bounded: what would be too many of a kind goes together as `other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kong_ai_tracing import __version__
from kong_ai_tracing.patterns import family_of
from kong_ai_tracing.statuspage.concerns import not_alive, not_ready
from kong_ai_tracing.statuspage.situation import Situation
from kong_ai_tracing.statusreport import Report
from kong_ai_tracing.vitals import Vitals

PREFIX = "kong_ai_tracing_"
OTHER = "other"
MOST_LOGS = 20
"""So many logs of a destination have series of their own."""
MOST_KINDS = 40
"""So many kinds of redactions, the operator's own patterns among them."""
_LONGEST_LABEL = 64
_Family: TypeAlias = GaugeMetricFamily | CounterMetricFamily
_REDACTED = "redacted_"

# Sums of the state on disk: name there, name here, what it counts.
_SUMS = (
    ("calls", "calls", "AI calls that were read."),
    ("calls_sampled_out", "calls_sampled_out", "Calls that are not in the sample, and were not sent."),
    ("calls_lost", "calls_lost", "Calls whose line was gone before it could be delivered."),
    ("bytes_lost", "lost_bytes", "Bytes of logs that were seen and were gone before they could be read."),
    ("spans_delivered", "spans_delivered", "Spans that the destination has accepted."),
    ("spans_refused", "spans_refused", "Spans that the destination will never take."),
    ("spans_dropped", "spans_dropped", "Spans of a full outbox that were dropped by the operator's choice."),
    ("spans_rotten", "spans_rotten", "Spans of the outbox that rotted on the disk."),
    ("spans_refused_dropped", "spans_refused_dropped", "Refused spans that were dropped for want of room."),
    ("spans_shortened", "spans_shortened", "Spans that were cut shorter to be accepted."),
    ("batches_spilled", "batches_spilled", "Batches that were written to the outbox on disk."),
    ("requests_accepted", "batches_accepted", "Batches that the destination has accepted."),
)
_LINES = (("lines_calls", "call"), ("lines_other", "other"), ("lines_malformed", "malformed"))
_MEDIA = (
    ("media_replaced", "replaced"),
    ("media_uploaded", "uploaded"),
    ("media_refused", "refused"),
    ("media_without_room", "without_room"),
)


def exposition(situation: Situation, accept: str) -> tuple[bytes, str]:
    """The metrics and their content type, in the form that the scraper prefers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(situation))
    _Process(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Families(Collector):
    def __init__(self, situation: Situation) -> None:
        self._situation = situation

    def collect(self) -> Iterable[Metric]:
        situation = self._situation
        yield from _of_the_daemon(situation)
        yield from _of_memory(situation.vitals)
        yield from _of_logs(situation.vitals, situation.reports)
        yield from _of_the_state(situation.reports)
        yield from _of_health(situation)


class _Process(ProcessCollector):
    """RSS, descriptors, CPU. The start of the system comes from a clock: our unit closes /proc/stat."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _of_the_daemon(situation: Situation) -> Iterator[Metric]:
    build = _gauge("build_info", "Which version this is.", "version")
    build.add_metric([__version__], 1)
    yield build
    alive = not not_alive(situation)
    yield _one("alive", "1 while everything makes progress that could; as /healthz says.", alive)
    ready = not not_ready(situation)
    yield _one(
        "ready", "1 while every project is followed and the state is writable; as /readyz says.", ready
    )
    refused = situation.now.reload_refused
    yield _one("config_last_reload_successful", "0 after a reload that was refused.", not refused)
    stale = situation.state_error is not None
    yield _one("state_readable", "0 while the sums are old, because the state cannot be read.", not stale)


def _of_memory(vitals: list[Vitals]) -> Iterator[Metric]:
    state_writable = _gauge("state_writable", "0 while the state directory cannot be written.")
    following = _gauge("following", "1 while nothing that is written to the log can be missed.")
    files = _gauge("files", "Files that are followed.")
    unreadable = _gauge("files_unreadable", "Files and folders that cannot be read.")
    paused = _gauge("reading_paused", "1 while reading waits for room.")
    pause = _counter("reading_pause_seconds", "How long reading has waited for room.")
    failed = _counter("requests_failed", "Requests that had to be repeated.")
    under_way = _gauge("requests_under_way", "Requests that have no answer yet.")
    families: tuple[_Family, ...] = (
        state_writable,
        following,
        files,
        unreadable,
        paused,
        pause,
        failed,
        under_way,
    )
    for one in vitals:
        values = (
            not one.disk_fails,
            one.following,
            len(one.files),
            len(one.unreadable),
            one.paused is not None,
            round(one.pause_seconds, 3),
            one.requests_failed,
            one.requests_under_way,
        )
        for family, value in zip(families, values, strict=True):
            family.add_metric([one.name], value)
    yield from families


def _of_logs(vitals: list[Vitals], reports: dict[str, Report]) -> Iterator[Metric]:
    lag_bytes = _gauge("lag_bytes", "Bytes of a log that were not read yet.", "destination", "log")
    lag_seconds = _gauge(
        "lag_seconds", "How long ago the oldest request began that was not read yet.", "destination", "log"
    )
    risk = _gauge(
        "rotation_risk_seconds",
        "In how long rotation will delete bytes that will not have been read; none while nothing says so.",
        "destination",
        "log",
    )
    for one in vitals:
        sizes = [(_log_of(file.path), float(file.unread_bytes)) for file in one.files]
        logs = sorted({log for log, _ in sizes})[:MOST_LOGS]
        for log, unread in _joined(sizes, logs, sum).items():
            lag_bytes.add_metric([one.name, log], unread)
        report = reports.get(one.name)
        ages = [(_log_of(file.path), file.lag_seconds or 0.0) for file in report.files] if report else []
        for log, age in _joined(ages, logs, max).items():
            lag_seconds.add_metric([one.name, log], age)
        ends = [(_log_of(each.log), each.deleted_in_seconds) for each in one.risks if each.is_late]
        for log, end in _joined(ends, logs, min).items():
            risk.add_metric([one.name, log], end)
    yield from (lag_bytes, lag_seconds, risk)


def _of_the_state(reports: dict[str, Report]) -> Iterator[Metric]:
    for name, metric, text in _SUMS:
        family = _counter(metric, text)
        for destination, report in reports.items():
            family.add_metric([destination], report.counters.get(name, 0))
        yield family
    lines = _counter("lines", "Lines that were read: with AI calls, of other traffic, malformed.", "result")
    media = _counter("media", "Pictures, sounds and documents, by what became of them.", "result")
    redactions = _counter("redactions", "What was taken out before anything was stored or sent.", "kind")
    for destination, report in reports.items():
        for family, table in ((lines, _LINES), (media, _MEDIA)):
            for name, result in table:
                family.add_metric([destination, result], report.counters.get(name, 0))
        for kind, count in _redactions(report).items():
            redactions.add_metric([destination, kind], count)
    yield from (lines, media, redactions)
    yield from _of_what_rests(reports)


def _of_what_rests(reports: dict[str, Report]) -> Iterator[Metric]:
    families = (
        _gauge("outbox_bytes", "What waits on disk for the destination."),
        _gauge("outbox_max_bytes", "What may wait there; then reading waits."),
        _gauge("outbox_batches", "How many batches wait there."),
        _gauge("outbox_spans", "How many spans wait there."),
        _gauge("waiting_calls", "Calls that wait for others of their trace."),
        _gauge("refused_spans", "Refused spans that are kept."),
        _gauge("set_aside_lines", "Lines that could not be read and are kept by their place."),
        _gauge("damaged_states", "Folders with a damaged state that nobody has removed."),
        _gauge("state_updated_timestamp_seconds", "When the state was written last."),
    )
    for destination, report in reports.items():
        outbox, written_ago = report.outbox, report.updated_seconds_ago
        values = (
            outbox.bytes,
            outbox.max_bytes,
            outbox.batches,
            outbox.spans,
            report.waiting_calls,
            report.refused_spans,
            report.set_aside_lines,
            len(report.damaged_states),
            None if written_ago is None else round(time.time() - written_ago, 1),
        )
        for family, value in zip(families, values, strict=True):
            if value is not None:
                family.add_metric([destination], value)
    yield from families


def _of_health(situation: Situation) -> Iterator[Metric]:
    healthy = _gauge("destination_healthy", "1 while the destination takes what is sent.")
    holding = _gauge("destination_holding", "1 while it takes nothing until an operator acts.")
    accepted = _gauge("last_accepted_timestamp_seconds", "When the destination accepted something last.")
    for one in situation.vitals:
        healthy.add_metric([one.name], one.reason is None)
        holding.add_metric([one.name], one.holding)
        if (seconds := _accepted_at(one, situation.reports.get(one.name))) is not None:
            accepted.add_metric([one.name], seconds)
    yield from (healthy, holding, accepted)


def _accepted_at(one: Vitals, report: Report | None) -> float | None:
    """By this process, or by the one before it."""
    if one.last_accepted_ms is not None:
        return one.last_accepted_ms / 1000
    target = report.destinations.get(one.name) if report else None
    ago = target.last_accepted_seconds_ago if target else None
    return None if ago is None else round(time.time() - ago, 1)


def _redactions(report: Report) -> dict[str, int]:
    counts = {
        _label(name.removeprefix(_REDACTED)): count
        for name, count in sorted(report.counters.items())
        if name.startswith(_REDACTED)
    }
    kinds = dict(list(counts.items())[:MOST_KINDS])
    if rest := sum(list(counts.values())[MOST_KINDS:]):
        kinds[OTHER] = rest
    return kinds


def _joined(
    values: list[tuple[str, float]], logs: list[str], join: Callable[[list[float]], float]
) -> dict[str, float]:
    """One value for each log; those without a series of their own go together."""
    grouped: dict[str, list[float]] = {}
    for log, value in values:
        grouped.setdefault(log if log in logs else OTHER, []).append(value)
    return {log: join(each) for log, each in grouped.items()}


def _log_of(path: str) -> str:
    """What the generations of a log are called together, without the folder."""
    return _label(Path(family_of(path)).name)


def _label(text: str) -> str:
    """A name of somebody else's: bounded, and without bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()[:_LONGEST_LABEL]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels or ("destination",))


def _counter(name: str, text: str, label: str | None = None) -> CounterMetricFamily:
    labels = ("destination", label) if label else ("destination",)
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)
