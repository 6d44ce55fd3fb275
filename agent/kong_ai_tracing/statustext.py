"""A status report as text for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.checks.findings import readable_size
from kong_ai_tracing.status import FileLag, Report, Target

_WIDTH_WITHOUT_TERMINAL = 160
_HEADLINES = {
    "healthy": ("healthy", "green"),
    "problems": ("problems", "red"),
    "never_run": ("never run", "yellow"),
    "destination_down": ("destination down", "red"),
}


def print_report(report: Report, console: Console | None = None) -> None:
    """Headline, problems, files, outbox, destinations."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
    word, colour = _HEADLINES[report.state]
    running = {True: "running", False: "not running", None: "running or not: cannot be seen"}[report.running]
    console.print(Text.assemble((word, f"bold {colour}"), f"  daemon {running}, state in {report.state_dir}"))
    for problem in report.problems:
        console.print(Text(f"  - {problem}"))
    if report.files:
        console.print(_files(report.files))
    for name, target in report.destinations.items():
        console.print(Text(f"{name}: {_target(target)}"))
    if report.updated_at:
        console.print(Text(_summary(report)))


def _files(files: list[FileLag]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for name in ("size", "read", "unread", "behind"):
        table.add_column(name, justify="right", no_wrap=True)
    for file in files:
        compressed = file.path.endswith(COMPRESSED_SUFFIXES)
        absent = "compressed" if compressed else "gone or renamed"
        size = absent if file.size is None else readable_size(file.size)
        unread = "?" if file.lag_bytes is None else readable_size(file.lag_bytes)
        behind = "" if file.lag_seconds is None else f"{file.lag_seconds:,.0f} s"
        table.add_row(Text(file.path), size, readable_size(file.offset), unread, behind)
    return table


def _target(target: Target) -> str:
    parts = [target.state]
    if target.reason:
        parts.append(target.reason)
    if target.last_accepted_seconds_ago is not None:
        parts.append(f"last accepted {target.last_accepted_seconds_ago:.0f} s ago")
    return ", ".join(parts)


def _summary(report: Report) -> str:
    outbox = report.outbox
    return (
        f"outbox: {outbox.batches} batches, {outbox.spans} spans,"
        f" {readable_size(outbox.bytes)} of {readable_size(outbox.max_bytes)}\n"
        f"waiting for company: {report.waiting_calls} calls; refused for good: {report.refused_spans} spans;"
        f" set aside: {report.set_aside_lines} lines\n"
        f"last change: {report.updated_seconds_ago:.0f} s ago"
    )
