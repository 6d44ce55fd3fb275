"""Measure the whole way on this machine, beside what else one could use and a bare reading loop.

    python benchmarks/run.py [--size 200M] [--repeats 3] [--only NAME] [--update-readme]

Contestants take turns, so that a busy neighbour hits all alike; medians and ratios are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contestants import Contestant, contestants
from daemons import clean_environment
from generate_log import generate, parse_size
from idle import measure_idle
from results import README, Results, Run, as_text, readme_with

HERE = Path(__file__).parent
_CHECK_BYTES = 4_000_000


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", type=parse_size, default=parse_size("200M"), help="of the log (default 200M)"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="only contestants whose name has this in it")
    parser.add_argument(
        "--idle-seconds", type=float, default=10, help="how long to watch the idle daemon; 0: not"
    )
    parser.add_argument(
        "--update-readme", action="store_true", help="keep the figures, and write them into the README"
    )
    options = parser.parse_args()
    taking_part = list(contestants(options.only))
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-bench-") as folder:
        log = Path(folder, "ai.log")
        check_that_all_deliver(taking_part, Path(folder), options.seed)
        lines = generate(log, options.size, options.seed)
        results = Results(log.stat().st_size, lines)
        print(f"\n{results.bytes / 1e6:.0f} MB, {lines} lines of {results.bytes / lines / 1000:.1f} KB\n")
        results.runs = take_turns(taking_part, log, Path(folder), options.repeats)
        if options.idle_seconds:
            results.idle = measure_idle(Path(folder), options.idle_seconds)
    print("\n".join(as_text(results)))
    if results.idle:
        print(f"\n{results.idle}")
    if options.update_readme:
        results.save()
        README.write_text(readme_with(Results.load(), README.read_text()))
    return 0


def check_that_all_deliver(taking_part: Sequence[Contestant], folder: Path, seed: int) -> None:
    """On a small log, count what arrives: a program that delivers less is not faster."""
    log = folder / "check.log"
    lines = generate(log, _CHECK_BYTES, seed)
    calls = sum(b'"ai":{' in line or b'"capture":{' in line for line in log.read_bytes().splitlines())
    print(f"check: {calls} calls in {lines} lines")
    with sink("--count") as url:
        for each in taking_part:
            if not each.delivers:
                continue
            measure(each, log, url, folder)
            with urllib.request.urlopen(url) as answer:
                arrived = json.load(answer)
            print(f"  {each.name:<48} {arrived['spans']} arrived in {arrived['requests']} requests")
            if arrived["spans"] != calls:
                raise SystemExit(f"{each.name} delivered {arrived['spans']} of {calls} calls")


def take_turns(
    taking_part: Sequence[Contestant], log: Path, folder: Path, repeats: int
) -> dict[str, list[Run]]:
    """Each contestant once per turn, in the same order."""
    runs: dict[str, list[Run]] = {each.name: [] for each in taking_part}
    with sink() as url:
        for _ in range(repeats):
            for each in taking_part:
                runs[each.name].append(measure(each, log, url, folder))
    return runs


def measure(contestant: Contestant, log: Path, url: str, folder: Path) -> Run:
    """Run one contestant to its end."""
    with tempfile.TemporaryDirectory(dir=folder) as private:
        command = contestant.command(log, url, Path(private))
        began = time.monotonic()
        with open(Path(private, "output"), "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=clean_environment())
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = Path(private, "output").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{contestant.name} failed with {process.returncode}:\n{said}")
    return Run(round(wall, 3), round(usage.ru_utime + usage.ru_stime, 3), usage.ru_maxrss * 1024)


@contextmanager
def sink(*arguments: str) -> Iterator[str]:
    """The accepting server as a process of its own, whose CPU is nobody's."""
    command = [sys.executable, str(HERE / "sink.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
