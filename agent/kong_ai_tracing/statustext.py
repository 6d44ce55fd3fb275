"""A status report as text for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.commands import command
from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.quantities import counted, readable_size, readable_span
from kong_ai_tracing.rotationrisk import about
from kong_ai_tracing.statusreport import FileLag, Report, Target

_WIDTH_WITHOUT_TERMINAL = 160
_WIDE = 80
_LONGEST = 2000
HEADLINES = {
    "healthy": ("healthy", "green"),
    "problems": ("problems", "red"),
    "never_run": ("never run", "yellow"),
    "destination_down": ("destination down", "red"),
}
STATE_STYLES = {"ok": "green", "retrying": "yellow", "holding": "bold red"}


def print_report(report: Report, console: Console | None = None) -> None:
    """Headline, problems, files, outbox, destinations."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
    word, colour = HEADLINES[report.state]
    running = {True: "running", False: "not running", None: "running or not: cannot be seen"}[report.running]
    state_dir = visible(report.state_dir, _LONGEST)
    console.print(Text.assemble((word, f"bold {colour}"), f"  daemon {running}, state in {state_dir}"))
    for problem in report.problems:
        console.print(Text(f"  - {visible(problem, _LONGEST)}"), soft_wrap=not console.is_terminal)
    if not report.files and report.state != "never_run":
        console.print(
            f"  no log has been read yet; {command('check')} says why", markup=False, soft_wrap=True
        )
    if report.files:
        console.print()
        console.print(_files(report.files, several=len(report.destinations) > 1))
    if report.destinations:
        console.print()
        console.print(_destinations(report.destinations, with_limit=console.width >= _WIDE))
        console.print(_reasons(report.destinations), end="", soft_wrap=not console.is_terminal)
    if report.updated_at:
        console.print()
        console.print(Text(_summary(report)))


def _files(files: list[FileLag], *, several: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    if several:
        table.add_column("for", no_wrap=True)
    threatened = any(file.deleted_in_seconds is not None for file in files)
    for name in ("size", "read", "unread", "behind", *(["deleted in"] if threatened else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for file in files:
        compressed = file.path.endswith(COMPRESSED_SUFFIXES)
        absent = "compressed" if compressed else "gone or renamed"
        size = absent if file.size is None else readable_size(file.size)
        unread = "?" if file.lag_bytes is None else readable_size(file.lag_bytes)
        behind = "" if file.lag_seconds is None else readable_span(file.lag_seconds)
        whose = [Text(visible(file.destination))] if several else []
        path = Text(visible(file.path, _LONGEST))
        seconds = file.deleted_in_seconds
        deleted = [about(seconds) if seconds is not None else ""] if threatened else []
        table.add_row(path, *whose, size, readable_size(file.offset), unread, behind, *deleted)
    return table


def _destinations(targets: Mapping[str, Target], *, with_limit: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("destination", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("accepted", "outbox", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, target in targets.items():
        ago, outbox = target.last_accepted_seconds_ago, readable_size(target.outbox.bytes)
        table.add_row(
            Text(visible(name)),
            Text(visible(target.state), STATE_STYLES.get(target.state, "")),
            "never" if ago is None else f"{readable_span(ago)} ago",
            f"{outbox} of {readable_size(target.outbox.max_bytes)}" if with_limit else outbox,
            counted(target.refused_spans, "span"),
        )
    return table


def _reasons(targets: Mapping[str, Target]) -> Text:
    """A line for each destination that takes nothing: in a narrow column nobody could read it."""
    told = {name: target.reason for name, target in targets.items() if target.reason}
    return Text("".join(f"  {visible(name)}: {visible(reason, _LONGEST)}\n" for name, reason in told.items()))


def _summary(report: Report) -> str:
    outbox, dropped = report.outbox, report.counters.get("spans_dropped", 0)
    told = [
        f"outbox: {counted(outbox.batches, 'batch', 'batches')}, {counted(outbox.spans, 'span')}",
        f"waiting for company: {counted(report.waiting_calls, 'call')}",
        f"set aside: {counted(report.set_aside_lines, 'line')}",
        *([f"dropped: {counted(dropped, 'span')}"] if dropped else []),
    ]
    return f"{'; '.join(told)}\nlast change: {readable_span(report.updated_seconds_ago or 0.0)} ago"
