"""Does a line cost more when there is more around it? Files, generations, open groups, store.

    python benchmarks/growth.py [--only files]

CPU for each line, in microseconds; the last column divides it by that of the first row. Files and generations
are measured on the real daemon, from the moment at which lines are appended until they were delivered, less
what it uses while nothing happens. Groups and the store are measured in this process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from daemons import Daemon, daemon
from generate_log import LogGenerator
from kong_ai_tracing.assembly import call_settings_of, grouping_of
from kong_ai_tracing.batches import Body
from kong_ai_tracing.calls import AICall, calls_of
from kong_ai_tracing.config import load_config
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line
from kong_ai_tracing.outgoing import Outgoing
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.statedir import prepare_state_dir
from kong_ai_tracing.store import Commit, Store
from run import sink

_LINES = 1_500
_REST_SECONDS = 6.0
_QUIET_SECONDS = 4.0
_PATIENCE_SECONDS = 180.0
_TURNS = 2
_NOW_MS = 1_795_420_248_000

Curve = dict[int, float]
"""Microseconds of CPU for each line, by how much there is."""


def main() -> int:
    """Measure the curves and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(CURVES), help="may be repeated")
    options = parser.parse_args()
    for name in options.only or CURVES:
        title, measure = CURVES[name]
        curve = measure()
        print(f"{title:<44} {'µs a line':>10} {'of the first':>13}")
        first = next(iter(curve.values()))
        for amount, cost in curve.items():
            print(f"{amount:>44,} {cost:10.1f} {cost / first:13.2f}", flush=True)
        print()
    return 0


# -- on the daemon


def of_files() -> Curve:
    """Lines are appended to one file; the others are watched."""
    return {files: _on_a_daemon(files=files) for files in (1, 100, 5_000)}


def of_generations() -> Curve:
    """Rotated files that were there before, beside the live one."""
    return {generations: _on_a_daemon(generations=generations) for generations in (1, 100, 1_000)}


def _on_a_daemon(*, files: int = 1, generations: int = 0) -> float:
    lines = [line for line, _ in zip(_ai_lines(), range(_LINES), strict=False)]
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-growth-") as name, sink("--count") as url:
        folder = Path(name)
        logs = folder / "logs"
        logs.mkdir()
        for number in range(files):
            (logs / f"ai-{number}.log").touch()
        for number in range(1, generations + 1):
            (logs / f"ai-0.log.{number}").write_bytes(b'{"request":{"id":"%032x"}}\n' % number)
        with daemon(folder, [logs / "*.log"], url, "[delivery]", 'compression = "none"') as running:
            _rest(running)
            idle = running.cpu_seconds
            time.sleep(_QUIET_SECONDS)
            idle_share = (running.cpu_seconds - idle) / _QUIET_SECONDS
            used, began = running.cpu_seconds, time.monotonic()
            with open(logs / "ai-0.log", "ab") as file:
                file.writelines(lines)
            _wait_for_spans(url, _LINES)
            seconds = running.cpu_seconds - used - idle_share * (time.monotonic() - began)
        print(f"  {files} files, {generations} generations: idle {idle_share:.2%} of a core", file=sys.stderr)
    return seconds / _LINES * 1e6


def _rest(running: Daemon) -> None:
    """Wait until the daemon has looked at everything."""
    used = running.cpu_seconds
    while True:
        time.sleep(_REST_SECONDS)
        now = running.cpu_seconds
        if now - used < 0.2 * _REST_SECONDS:
            return
        used = now


def _wait_for_spans(url: str, calls: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while calls > 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"{calls} calls did not arrive")
        time.sleep(0.5)
        with urllib.request.urlopen(url) as answer:
            calls -= json.load(answer)["spans"]


# -- on parts of it


def of_groups() -> Curve:
    """Calls that name a trace of their own each, while so many others wait."""
    call = _named_call()
    amounts = (10, 1_000, 100_000)
    return {groups: _least(lambda groups=groups: _add_to_groups(call, groups)) for groups in amounts}


def _add_to_groups(call: Callable[[int], AICall], groups: int) -> float:
    grouping = grouping_of(load_config(None, {"KONG_AI_TRACING_LOG_PATHS": "/var/log/kong-ai/ai.log"}))
    for number in range(groups):
        grouping.add([call(number)], _NOW_MS)
    calls = [call(groups + number) for number in range(2_000)]
    began = time.process_time()
    for each in calls:
        grouping.add([each], _NOW_MS)
    return (time.process_time() - began) / len(calls)


def _named_call() -> Callable[[int], AICall]:
    """Makes a short call that names the trace of this number."""
    config = load_config(None, {"KONG_AI_TRACING_LOG_PATHS": "/var/log/kong-ai/ai.log"})
    line = Line("ai.log", 1, 0, next(line for line in _ai_lines() if b'"traceparent"' in line).rstrip())
    [entry] = [each for each in read_entries(line) if isinstance(each, LogEntry)]
    [made] = calls_of(entry, call_settings_of(config))

    def call(number: int) -> AICall:
        context = replace(made.context, trace_id=f"{number + 1:032x}")
        return replace(made, id=f"{number + 1:016x}", context=context)

    return call


def of_outbox() -> Curve:
    """A batch goes to the outbox and another leaves it, while so many rest there. A batch for a line."""
    return {bodies: _least(lambda bodies=bodies: _turn_over(bodies)) for bodies in (10, 1_000, 20_000)}


def _turn_over(bodies: int) -> float:
    body = Body(1, b"x" * 5_000).pack()
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-growth-") as name:
        prepare_state_dir(Path(name))
        store = Store(Path(name))
        numbers = count(1)
        for start in range(0, bodies, 1_000):
            store.commit(Commit(spilled={next(numbers): body for _ in range(min(1_000, bodies - start))}))
        outgoing = Outgoing(store.restore().outbox, {})
        turns = 200
        began = time.process_time()
        for _ in range(turns):
            number = outgoing.next(lambda _: True)
            assert number is not None
            outgoing.take(number)
            store.body(number)
            outgoing.end(number)
            new = next(numbers)
            store.commit(Commit(progress=Progress(), spilled={new: body}, delivered=[number]))
            outgoing.rejoin([new])
            store.outbox_size()
        seconds = (time.process_time() - began) / turns
        store.close()
    return seconds


def _least(measure: Callable[[], float], turns: int = _TURNS) -> float:
    """In microseconds."""
    return min(measure() for _ in range(turns)) * 1e6


def _ai_lines() -> Iterator[bytes]:
    return (line for line in LogGenerator(seed=1) if b'"ai":{' in line or b'"capture":{' in line)


CURVES: dict[str, tuple[str, Callable[[], Curve]]] = {
    "files": ("watched files", of_files),
    "generations": ("rotated generations", of_generations),
    "groups": ("open groups", of_groups),
    "outbox": ("batches in the outbox (for a batch)", of_outbox),
}

if __name__ == "__main__":
    sys.exit(main())
