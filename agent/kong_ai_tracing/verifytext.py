"""What `verify` tells people: a row for each hour, and below it what the rows do not say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from shlex import quote

from rich.console import Console
from rich.table import Table

from kong_ai_tracing.commands import command
from kong_ai_tracing.verifyreport import Finding, Hour

_LONGEST_WORDS = 200
_HOUR = timedelta(hours=1)
_COLUMNS = ("calls", "accepted", "waiting", "refused", "filtered", "unknown", "missing")
_ONLY_WHEN_THERE_ARE = ("filtered", "unknown")


def print_findings(findings: Sequence[Finding], words: Sequence[str]) -> None:
    """`words` named the files."""
    console = Console(file=sys.stdout, highlight=False)
    for finding in findings:
        if len(findings) > 1:
            console.print(finding.destination, markup=False)
        if finding.hours:
            console.print(_table(finding))
        for note in _notes(finding, words):
            console.print(note, markup=False, soft_wrap=True)


def _table(finding: Finding) -> Table:
    hours = finding.hours
    shown = [
        name
        for name in _COLUMNS
        if name not in _ONLY_WHEN_THERE_ARE or any(getattr(hour, name) for hour in hours)
    ]
    table = Table(box=None, pad_edge=False)
    table.add_column("hour (UTC)")
    for name in shown:
        table.add_column(name, justify="right")
    before: datetime | None = None
    for hour in hours:
        began = datetime.fromisoformat(hour.hour)
        if before is not None and began - before > _HOUR:
            table.add_row(f"no call in {(began - before) // _HOUR - 1:,} hours", style="dim")
        before = began
        numbers = [f"{getattr(hour, name):,}" for name in shown]
        table.add_row(hour.hour, *numbers, style="bold red" if hour.missing else None)
    sums = [f"{sum(getattr(hour, name) for hour in hours):,}" for name in shown]
    table.add_row("together", *sums, style="bold")
    return table


def _notes(finding: Finding, words: Sequence[str]) -> Iterator[str]:
    hours = finding.hours
    if hours:
        yield (
            f"These files hold calls that began from {hours[0].hour} to {_end(hours[-1])};"
            " of other hours nothing is said."
        )
        yield (
            "Accepted means that the destination acknowledged it, as this host's state directory has it; what"
            " another host delivered, or an earlier state directory, is missing here."
        )
    else:
        yield "These files hold no calls."
    if finding.missing:
        yield f"{finding.missing:,} calls are missing: {_backfill(words)} delivers them."
    if any(hour.filtered for hour in hours):
        yield (
            "Filtered: a backfill with a selection read them and left them out;"
            f" {_backfill(words)} delivers them."
        )
    if any(hour.unknown for hour in hours):
        yield (
            "Unknown: read by an older version, or by backfills whose --since has moved on between them;"
            f" {_backfill(words, '--again ')} delivers them for certain, under the same ids."
        )
    if finding.malformed_lines:
        yield f"{finding.malformed_lines:,} lines cannot be read, and are of no hour."
    if finding.left_out:
        yield f"{finding.left_out:,} calls are not wanted: filtered, or outside of the sample."
    if finding.unattributed_batches:
        yield (
            f"{finding.unattributed_batches:,} batches wait or were refused that do not say what they hold;"
            " their calls are among the accepted."
        )
    if finding.dropped_spans:
        yield (
            f"{finding.dropped_spans:,} spans were dropped by a full outbox, of hours that were not noted;"
            " they are among the accepted."
        )


def _backfill(words: Sequence[str], option: str = "") -> str:
    named = " ".join(map(quote, words))
    return command(f"backfill {option}{named if len(named) <= _LONGEST_WORDS else 'of these files'}")


def _end(hour: Hour) -> str:
    return (datetime.fromisoformat(hour.hour) + _HOUR).isoformat(timespec="minutes").replace("+00:00", "Z")
