"""The JSON form of a trace in, a tree for the terminal out.

Import this module where a tree is printed, not at the top of a program: rich takes its time to load,
and the daemon never needs it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime
from typing import IO, Any

import orjson
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text
from rich.tree import Tree

from kong_ai_tracing.excerpts import excerpt, input_excerpt, isolated

PIPE_WIDTH = 120
"""Columns when the output is no terminal and nothing else says how wide it is."""

_GAP, _INDENTATION = "  ", "  "

_MARKS = {
    "generation": ("◆", "*", "cyan"),
    "embedding": ("▣", "#", "blue"),
    "tool": ("⚙", "+", "green"),
    "agent": ("◎", "@", "green"),
    "retriever": ("▤", "=", "blue"),
    "guardrail": ("◇", "-", "yellow"),
    "evaluator": ("◈", "%", "magenta"),
}
_LEVEL_MARKS = {"ERROR": ("✖", "x", "bold red"), "WARNING": ("▲", "!", "bold yellow")}
_LEVEL_STYLES = {"ERROR": "red", "WARNING": "yellow"}


def print_trace(trace: dict[str, Any], console: Console) -> None:
    """Print one trace as a tree. The console decides on colours, width and characters."""
    console.print(trace_tree(trace, ascii_only=is_ascii_only(console)), crop=False, highlight=False)


def console_for(stream: IO[str]) -> Console:
    """A console that never fails on a character its stream cannot write; it honours NO_COLOR and COLUMNS."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def is_ascii_only(console: Console) -> bool:
    """Whether the console can write nothing else."""
    return not console.encoding.lower().startswith("utf")


def trace_tree(trace: dict[str, Any], *, ascii_only: bool = False) -> RenderableType:
    """The trace as something rich can print."""
    observations = [_parsed(each) for each in trace["observations"]]
    children = defaultdict(list)
    known = {each["id"] for each in observations}
    for each in observations:
        parent = each.get("parentObservationId")
        children[parent if parent in known else None].append(each)
    tree = Tree(_trace_label(trace, observations, ascii_only), guide_style="dim")
    _grow(tree, None, children, ascii_only)
    return tree


def _grow(
    branch: Tree, parent: str | None, children: dict[str | None, list[dict[str, Any]]], ascii_only: bool
) -> None:
    for each in children.pop(parent, ()):  # popped, so that ids in a circle cannot hang us
        _grow(branch.add(_observation_label(each, ascii_only)), each["id"], children, ascii_only)


def _trace_label(
    trace: dict[str, Any], observations: list[dict[str, Any]], ascii_only: bool
) -> RenderableType:
    title = [Text(isolated(trace.get("name", "(no name)")), "bold")]
    who = {"user": trace.get("userId"), "session": trace.get("sessionId")}
    for label, value in who.items():
        if value:
            title.append(Text.assemble((f"{label} ", "dim"), (isolated(value), "green")))
    labels = [trace.get("environment"), trace.get("release"), trace.get("version"), *trace.get("tags", [])]
    title += [Text(isolated(value), "dim") for value in labels if value]
    started, ended = _trace_times(observations)
    facts = _facts(
        [
            f"{started:%Y-%m-%d %H:%M:%S} UTC",
            _duration(started, ended),
            f"{len(observations)} observations" if len(observations) > 1 else "",
            _tokens(_summed(observations, "usageDetails"), ascii_only),
            _cost(_summed(observations, "costDetails")),
        ]
    )
    return Group(_Row(title), _Row([*facts, Text(trace["id"], "dim")]))


def _observation_label(observation: dict[str, Any], ascii_only: bool) -> RenderableType:
    lines = [_headline(observation, ascii_only)]
    level = observation.get("level", "DEFAULT")
    message = observation.get("statusMessage")
    if message:
        lines.append(
            _detail(
                level.lower() if level in _LEVEL_STYLES else "note", message, _LEVEL_STYLES.get(level, "")
            )
        )
    retries = _retries(observation.get("metadata", {}))
    if retries:
        lines.append(_detail("tries", retries, "yellow"))
    if "input" in observation:
        lines.append(_detail("in", input_excerpt(observation["input"])))
    if "output" in observation:
        lines.append(_detail("out", excerpt(observation["output"])))
    return Group(*lines)


def _headline(observation: dict[str, Any], ascii_only: bool) -> RenderableType:
    kind = observation["type"]
    level = observation.get("level", "DEFAULT")
    mark, plain_mark, style = _LEVEL_MARKS.get(level) or _MARKS.get(kind, ("○", "o", "dim"))
    name = observation.get("name", "")
    named = Text().append(f"{plain_mark if ascii_only else mark} {kind} ", style)
    parts = [named.append(isolated(name), "bold")]
    model = observation.get("model")
    made_by = [
        each for each in (observation.get("provider"), model) if each and not name.endswith(f" {each}")
    ]
    if made_by:
        parts.append(Text(isolated(" ".join(made_by)), "magenta"))
    started = _time(observation["startTime"])
    facts = [
        _duration(started, _time(observation["endTime"])) if "endTime" in observation else "",
        _first_token(started, observation.get("completionStartTime")),
        _tokens(observation.get("usageDetails", {}), ascii_only),
        _cost(observation.get("costDetails", {})),
    ]
    return _Row([*parts, *_facts(facts)])


def _detail(label: str, text: str, style: str = "") -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    return line.append(f"  {label:<7} ", "dim").append(isolated(text), style)


def _facts(facts: list[str]) -> list[Text]:
    return [Text(fact, "bright_black") for fact in facts if fact]


class _Row:
    """Parts beside each other. What does not fit begins a line as a whole: a number stays with its unit."""

    def __init__(self, parts: list[Text]) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for part in self._parts:
            if line and line.cell_len + len(_GAP) + part.cell_len > options.max_width:
                yield line
                line = Text(_INDENTATION)
            elif line:
                line.append(_GAP)
            line.append_text(part)
        yield line


def _parsed(observation: dict[str, Any]) -> dict[str, Any]:
    """Inputs and outputs may still be fragments, which only a JSON writer can read."""
    if any(isinstance(observation.get(name), orjson.Fragment) for name in ("input", "output")):
        parsed: dict[str, Any] = orjson.loads(orjson.dumps(observation))
        return parsed
    return observation


def _trace_times(observations: list[dict[str, Any]]) -> tuple[datetime, datetime]:
    started = min(each["startTime"] for each in observations)
    return _time(started), _time(max(each.get("endTime", each["startTime"]) for each in observations))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _duration(started: datetime, ended: datetime) -> str:
    seconds = (ended - started).total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def _first_token(started: datetime, text: str | None) -> str:
    return f"first token {_duration(started, _time(text))}" if text else ""


def _summed(observations: list[dict[str, Any]], field: str) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(int)
    for each in observations:
        for name, value in each.get(field, {}).items():
            sums[name] += value
    return sums


def _tokens(usage: dict[str, float], ascii_only: bool) -> str:
    """`25 → 12 tokens`: the buckets of either side are disjoint, so they add up."""
    asked = sum(value for name, value in usage.items() if name.startswith("input"))
    answered = sum(value for name, value in usage.items() if name.startswith("output"))
    if answered:
        return f"{asked:,} {'->' if ascii_only else '→'} {answered:,} tokens"
    total = usage.get("total") or asked
    return f"{total:,} tokens" if total else ""


def _cost(costs: dict[str, float]) -> str:
    total = costs.get("total") or sum(costs.values())
    if not total:
        return ""
    return f"${total:,.2f}" if total >= 1 else f"${total:.6f}".rstrip("0").rstrip(".")


def _retries(metadata: dict[str, Any]) -> str:
    tries = metadata.get("tries")
    if not isinstance(tries, list) or not tries:
        return ""
    told = []
    for each in tries:
        ended = each.get("code") or each.get("state") or ""
        told.append(f"{each.get('ip', '?')}:{each.get('port', '?')} {ended}".rstrip())
    return f"{len(tries)}: " + ", ".join(told)
