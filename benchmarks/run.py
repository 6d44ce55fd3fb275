"""Measure the whole way on this machine, beside a plain script and a bare reading loop.

    python benchmarks/run.py [--size 200M] [--repeats 3] [--only NAME]

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from generate_log import generate, parse_size
from idle import measure_idle

HERE = Path(__file__).parent
OTLP = "/api/public/otel/v1/traces"
_CHECK_BYTES = 4_000_000


@dataclass(frozen=True)
class Contestant:
    """One program under test. `command` is given the log, the sink's address and an empty folder."""

    name: str
    command: Callable[[Path, str, Path], list[str]]
    delivers: bool = True


@dataclass(frozen=True)
class Run:
    """What one process used, by the kernel's own account (`wait4`)."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int


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
    options = parser.parse_args()
    contestants = [
        each for each in CONTESTANTS if not options.only or any(word in each.name for word in options.only)
    ]
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-bench-") as folder:
        log = Path(folder, "ai.log")
        check_that_all_deliver(contestants, Path(folder), options.seed)
        lines = generate(log, options.size, options.seed)
        size = log.stat().st_size
        print(
            f"\n{size / 1e6:.0f} MB, {lines} lines of {size / lines / 1000:.1f} KB; {options.repeats} turns\n"
        )
        runs = take_turns(contestants, log, Path(folder), options.repeats)
        print_table(runs, size)
        if options.idle_seconds:
            print(f"\n{measure_idle(Path(folder), options.idle_seconds, clean_environment())}")
    return 0


def check_that_all_deliver(contestants: list[Contestant], folder: Path, seed: int) -> None:
    """On a small log, count what arrives: a program that delivers less is not faster."""
    log = folder / "check.log"
    lines = generate(log, _CHECK_BYTES, seed)
    calls = sum(b'"ai":{' in line or b'"capture":{' in line for line in log.read_bytes().splitlines())
    print(f"check: {calls} calls in {lines} lines")
    with sink("--count") as url:
        for each in contestants:
            if not each.delivers:
                continue
            measure(each, log, url, folder)
            with urllib.request.urlopen(url) as answer:
                arrived = json.load(answer)
            print(f"  {each.name:<32} {arrived['spans']} arrived in {arrived['requests']} requests")
            if arrived["spans"] != calls:
                raise SystemExit(f"{each.name} delivered {arrived['spans']} of {calls} calls")


def take_turns(contestants: list[Contestant], log: Path, folder: Path, repeats: int) -> dict[str, list[Run]]:
    """Each contestant once per turn, in the same order."""
    runs: dict[str, list[Run]] = {each.name: [] for each in contestants}
    with sink() as url:
        for _ in range(repeats):
            for each in contestants:
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
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def print_table(runs: dict[str, list[Run]], size: int) -> None:
    """Medians, and CPU against the plain script and against the reading loop."""
    cpu = {name: median(run.cpu_seconds for run in each) for name, each in runs.items()}
    print(f"{'':<32} {'MB/s':>7} {'CPU-s/GB':>9} {'peak RSS':>9} {'of script':>10} {'of loop':>8}")
    for name, each in runs.items():
        speed = size / 1e6 / median(run.wall_seconds for run in each)
        rss = median(run.peak_rss_bytes for run in each) / 1e6
        shares = [f"{cpu[name] / cpu[other]:.2f}" if other in cpu else "" for other in (SCRIPT, LOOP)]
        cost = cpu[name] / size * 1e9
        print(f"{name:<32} {speed:7.0f} {cost:9.2f} {rss:6.0f} MB {shares[0]:>10} {shares[1]:>8}")


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


def clean_environment() -> dict[str, str]:
    """Nothing of this shell's own settings reaches a contestant; the keys are not real.

    With PYTHONDONTWRITEBYTECODE, which is set in many containers, each start of a checkout would compile
    everything anew, which no installed package does: nearly half of a start.
    """
    ours = ("KONG_AI_TRACING_", "LANGFUSE_", "NOTIFY_SOCKET", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"LANGFUSE_PUBLIC_KEY": "pk-lf-test", "LANGFUSE_SECRET_KEY": "sk-lf-test"}


def our_command(
    compression: str = "none", redaction: str = "secrets"
) -> Callable[[Path, str, Path], list[str]]:
    """`run --once` with a fresh state directory."""

    def command(log: Path, url: str, folder: Path) -> list[str]:
        config = folder / "config.toml"
        config.write_text(
            f'log_paths = ["{log}"]\nstate_dir = "{folder / "state"}"\n'
            f'langfuse_enabled = true\nlangfuse_endpoint = "{url}"\n'
            f'[delivery]\ncompression = "{compression}"\n'
            f'[redaction]\nkinds = ["{redaction}"]\n'
        )
        return [sys.executable, "-m", "kong_ai_tracing", "run", "--once", "--config", str(config)]

    return command


LOOP = "reading loop (orjson)"
SCRIPT = "plain script (json + requests)"
CONTESTANTS = [
    Contestant(
        LOOP,
        lambda log, _url, _folder: [sys.executable, str(HERE / "reading_loop.py"), str(log)],
        delivers=False,
    ),
    Contestant(
        SCRIPT,
        lambda log, url, _folder: [sys.executable, str(HERE / "plain_script.py"), str(log), url + OTLP],
    ),
    Contestant("run --once", our_command()),
    Contestant("run --once, gzip", our_command("gzip")),
    Contestant("run --once, no redaction", our_command(redaction="none")),
    Contestant("run --once, all redacted", our_command(redaction="all")),
]

if __name__ == "__main__":
    sys.exit(main())
