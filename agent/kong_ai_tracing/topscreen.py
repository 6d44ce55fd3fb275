"""A history of samples in, one screen of `top` out, for a terminal of any width and height.

Names of files, words of servers and labels of callers are written so that a terminal obeys none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kong_ai_tracing.commands import command
from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.localstore import TraceSummary
from kong_ai_tracing.quantities import readable_size, readable_span
from kong_ai_tracing.statusreport import FileLag, Report, Target
from kong_ai_tracing.statustext import HEADLINES, STATE_STYLES
from kong_ai_tracing.topsamples import History, Sample

_RATES = (("lines", "lines"), ("calls", "calls"), ("spans_delivered", "spans sent"))
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "._-=+*#@"
_NARROW = 70
_WIDE = 110
_MOST_PROBLEMS = 4
_LONGEST_NAME = 120


def screen_of(
    history: History, *, width: int, height: int, ascii_only: bool = False, live: bool = True
) -> RenderableType:
    """What fits. `live` is a screen that keys can end."""
    sample = history.newest
    if sample is None:
        return Text(f"reading the state … {visible(history.error or '')}".rstrip())
    report = sample.report
    parts: list[RenderableType] = [_headline(report, width, live=live), _rates(history, width, ascii_only)]
    parts += [_amounts(report), *_problems(history, report, width), Text("")]
    destinations = list(report.destinations.items())
    if destinations:
        parts += [_destinations(destinations, width), Text("")]
    room = height - _rows_of(parts, destinations)
    files = sorted(report.files, key=lambda file: -(file.lag_bytes or 0))
    shown = files[: max(2, min(len(files), room // 2 if sample.traces else room))]
    if shown:
        parts += [_files(shown, width, more=len(files) - len(shown)), Text("")]
        room -= len(shown) + 2
    if sample.traces and room > 2:
        parts.append(_traces(sample, sample.traces[: room - 1], width))
    return Group(*parts)


def _rows_of(parts: Sequence[RenderableType], destinations: Sequence[object]) -> int:
    """How many rows are taken: one each, and a heading with a row for each destination."""
    return len(parts) + len(destinations)


def _headline(report: Report, width: int, *, live: bool) -> Text:
    word, colour = HEADLINES[report.state]
    running = {True: "daemon running", False: "daemon not running", None: ""}[report.running]
    line = _line(("kong-ai-tracing  " if width >= _NARROW else "", "bold"), (word, f"bold {colour}"))
    line.append(f"  {running}" if running else "")
    line.append(f"  {datetime.now(UTC):%H:%M:%S} UTC", "dim")
    return line.append("  q quits", "dim") if live else line


def _rates(history: History, width: int, ascii_only: bool) -> Text:
    line = _line()
    for counter, name in _RATES:
        rate = history.rate(counter)
        line.append("-" if rate is None else _number(rate), "bold").append(f" {name}/s   ")
    return line.append(sparkline(history.rates("lines"), width - len(line) - 1, ascii_only), "cyan")


def sparkline(values: Sequence[float], width: int, ascii_only: bool = False) -> str:
    """The last values as bars, as many as there is room for."""
    bars = _PLAIN_BARS if ascii_only else _BARS
    shown = list(values[-max(0, width) :]) if width > 0 else []
    top = max(shown, default=0.0)
    return "".join(bars[round((len(bars) - 1) * value / top) if top else 0] for value in shown)


def _amounts(report: Report) -> Text:
    behind = readable_size(report.lag_bytes)
    if report.lag_seconds is not None:
        behind += f", {readable_span(report.lag_seconds)}"
    line = _line(("behind ", ""), (behind, "bold yellow" if report.lag_bytes else "bold green"))
    line.append(f"   outbox {report.outbox.spans:,} spans, {readable_size(report.outbox.bytes)}")
    line.append(f"   refused {report.refused_spans:,}")
    if dropped := report.counters.get("spans_dropped", 0):
        line.append(f"   dropped {dropped:,}", "red")
    if report.set_aside_lines:
        line.append(f"   set aside {report.set_aside_lines:,}")
    return line


def _problems(history: History, report: Report, width: int) -> Iterable[Text]:
    problems = [*report.problems]
    if history.error is not None:
        problems.insert(0, f"the state cannot be read now: {history.error}")
    for problem in problems[:_MOST_PROBLEMS]:
        yield _line(("! ", "bold red"), (visible(problem, max(20, 3 * width)), "red"))
    if len(problems) > _MOST_PROBLEMS:
        yield _line((f"  and {len(problems) - _MOST_PROBLEMS} more: {command('status')}", "dim"))


def _destinations(targets: Sequence[tuple[str, Target]], width: int) -> Table:
    table = _table()
    table.add_column("destination", no_wrap=True, overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    table.add_column("accepted", justify="right", no_wrap=True)
    table.add_column("outbox", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("refused", justify="right", no_wrap=True)
        table.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1)
    for name, target in targets:
        ago = target.last_accepted_seconds_ago
        cells = [
            Text(visible(name)),
            Text(visible(target.state), STATE_STYLES.get(target.state, "")),
            Text("never" if ago is None else f"{readable_span(ago)} ago"),
            Text(readable_size(target.outbox.bytes)),
        ]
        if width >= _NARROW:
            cells += [Text(f"{target.refused_spans:,}"), Text(visible(target.reason or "", width))]
        table.add_row(*cells)
    return table


def _files(files: Sequence[FileLag], width: int, *, more: int) -> Table:
    table = _table()
    title = f"file (and {more} more)" if more else "file"
    table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("unread", justify="right", no_wrap=True)
    table.add_column("behind", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("read", justify="right", no_wrap=True)
    for file in files:
        unread = "?" if file.lag_bytes is None else readable_size(file.lag_bytes) if file.lag_bytes else "-"
        behind = "" if file.lag_seconds is None else readable_span(file.lag_seconds)
        cells = [_path(file.path, width), Text(unread), Text(behind)]
        table.add_row(*cells, *([Text(readable_size(file.offset))] if width >= _WIDE else []))
    return table


def _path(path: str, width: int) -> Text:
    """The end of a long path says more than its beginning."""
    text, room = visible(path, 4 * _LONGEST_NAME), max(12, width - 30)
    return Text(text if len(text) <= room else "…" + text[-room + 1 :])


def _traces(sample: Sample, traces: Sequence[TraceSummary], width: int) -> Table:
    table = _table()
    table.add_column("newest traces", no_wrap=True, overflow="ellipsis", ratio=1)
    if width >= _NARROW:
        table.add_column("user", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("began", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("tokens", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("cost", justify="right", no_wrap=True)
    for one in traces:
        began = datetime.fromtimestamp(one.started_ms / 1000, UTC)
        cells = [Text(visible(one.name or "(no name)", _LONGEST_NAME), "red" if one.errors else "")]
        if width >= _NARROW:
            cells.append(Text(visible(one.user_id or "", _LONGEST_NAME)))
        cells += [Text(f"{began:%H:%M:%S}"), Text(_duration(one.ended_ms - one.started_ms))]
        if width >= _NARROW:
            cells.append(Text(f"{one.tokens:,}"))
        if width >= _WIDE:
            cells.append(Text(f"${one.cost:.4f}" if one.cost else ""))
        table.add_row(*cells)
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, expand=True, header_style="bold dim")


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _number(rate: float) -> str:
    return f"{rate:,.1f}" if 0 < rate < 10 else f"{rate:,.0f}"


def _duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
