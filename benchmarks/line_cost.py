"""What each step of the way costs for a line, as a multiple of parsing the line with orjson.

    python benchmarks/line_cost.py [--size 10M]

The steps take turns with the parsing, so that a busy neighbour hits all alike, and the quickest turn counts.
Beside it stands how many functions are called, which is exact: two runs of the same code with the same Python
print the same number.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from generate_log import LogGenerator, parse_size
from kong_ai_tracing import otlp
from kong_ai_tracing.assembly import call_settings_of, grouping_of, protection_of
from kong_ai_tracing.calls import calls_of_each
from kong_ai_tracing.config import load_config
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line

_TURNS = 5
_LATER_MS = 1 << 60
_TOGETHER = 32
"""So many lines the daemon reads together."""

Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Cost:
    """Of one step, for one line."""

    of_parsing: float
    """Its CPU time divided by that of parsing the line."""
    functions: float
    """How many functions are called, those of C included."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=parse_size("10M"), help="of the log (default 10M)")
    costs = measure(lines_of(parser.parse_args().size))
    print(f"{'':<10} {'of parsing':>10} {'functions':>10}")
    for name, cost in costs.items():
        print(f"{name:<10} {cost.of_parsing:10.2f} {cost.functions:10.1f}")
    return 0


def lines_of(size: int) -> list[bytes]:
    """So many bytes of the log that the other figures are about."""
    lines: list[bytes] = []
    for line in LogGenerator(seed=1):
        lines.append(line)
        size -= len(line)
        if size <= 0:
            break
    return lines


def measure(lines: list[bytes]) -> dict[str, Cost]:
    """The steps in their order, and all of them together."""
    steps = _steps()
    seconds: dict[str, list[float]] = {"parse": [], **{name: [] for name in steps}}
    given = [Line("ai.log", 1, 0, line.rstrip(b"\n")) for line in lines]
    gc.collect()
    gc.disable()  # the results of a step are kept here, which they are not on the way
    try:
        for _ in range(_TURNS):
            _timed(seconds["parse"], lambda raw: [orjson.loads(line) for line in raw], lines)
            value: Any = given
            for name, step in steps.items():
                value = _timed(seconds[name], step, value)
        functions = _functions(steps, given)
    finally:
        gc.enable()
    parse = min(seconds["parse"])
    costs = {name: Cost(min(seconds[name]) / parse, functions[name] / len(lines)) for name in steps}
    whole = Cost(sum(c.of_parsing for c in costs.values()), sum(c.functions for c in costs.values()))
    return {**costs, "all": whole}


def _timed(into: list[float], step: Step, value: Any) -> Any:
    began = time.process_time()
    result = step(value)
    into.append(time.process_time() - began)
    return result


def _functions(steps: dict[str, Step], value: Any) -> dict[str, int]:
    counts = {}
    for name, step in steps.items():
        profile = cProfile.Profile()
        profile.enable()
        value = step(value)
        profile.disable()
        counts[name] = sum(entry.callcount for entry in profile.getstats())
    return counts


def _steps() -> dict[str, Step]:
    """As the daemon does them with its defaults, for all lines at once."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(None, {
            "KONG_AI_TRACING_LOG_PATHS": str(Path(folder, "ai.log")),
            "KONG_AI_TRACING_STATE_DIR": folder,
        })  # fmt: skip
    settings, protection = call_settings_of(config), protection_of(config)

    def group(calls: Iterable[Any]) -> list[Any]:
        grouping = grouping_of(config)
        emissions = list(
            chain.from_iterable(grouping.add([call], call.observation.ended_at_ms) for call in calls)
        )
        while more := grouping.take(_LATER_MS, at_once=True):
            emissions += more
        return [emission.span for emission in emissions]

    return {
        "read": lambda lines: [
            entry for line in lines for entry in read_entries(line) if isinstance(entry, LogEntry)
        ],
        "calls": lambda entries: [
            call
            for start in range(0, len(entries), _TOGETHER)
            for calls in calls_of_each(entries[start : start + _TOGETHER], settings)
            for call in calls
        ],
        "protect": lambda calls: [call for each in calls for call in protection.apply([each]).calls],
        "group": group,
        "encode": lambda spans: [otlp.encode(span) for span in spans],
    }


if __name__ == "__main__":
    sys.exit(main())
