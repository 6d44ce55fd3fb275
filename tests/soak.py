"""A soak: the real daemon for an hour or more, under logrotate, bursts, large lines and outages.

    make soak SOAK_MINUTES=60

Prints what the daemon took at the beginning, at each quarter and at the end, and what became of the lines.
It fails when memory, descriptors or threads grow, when something is left unread, or when a line is lost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from kong_host import Host, wait_until
from kong_writer import (
    LostAndFound,
    kong_line,
    observation_id,
    shared_trace,
    shared_trace_id,
)
from langfuse_server import FakeLangfuse, Request
from storm import root_id

LOGROTATE = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
SAMPLE_SECONDS = 10.0
CYCLE_SECONDS = 300.0
"""In each: a rotation, a burst, large lines, and an outage of its own kind."""
OUTAGES = ("503*", "hang*", "429:2*", "cut*", "401*", "accept-cut*")
OUTAGE_SECONDS = 60.0
BURST_LINES = 4_000
BURST_WRITER = 3
RATE = 50
SETTINGS = ('[privacy]\nmedia = "upload"',)


class LeanLangfuse(FakeLangfuse):
    """Keeps of each span only its id and its start, so that it can listen for hours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.received: dict[str, int] = {}
        self.repeated: dict[str, int] = {}
        self.doubled: set[str] = set()

    def accept(self, request: Request, spans: list[dict[str, Any]], violations: list[str]) -> None:
        with self._changed:
            self.violations += violations
            for span in spans:
                name, start = span["spanId"], span["startTimeUnixNano"]
                if name not in self.received:
                    self.received[name] = start
                elif self.received[name] != start:
                    self.doubled.add(name)
                else:
                    self.repeated[name] = self.repeated.get(name, 1) + 1

    def span_ids(self) -> set[str]:
        return set(self.received)


@dataclass(frozen=True)
class Sample:
    """What the daemon took at one moment."""

    seconds: float
    rss_mb: float
    descriptors: int
    threads: int
    lag_kb: float
    outbox_kb: float


def sample(host: Host, began: float) -> Sample:
    assert host.daemon is not None
    assert host.daemon.poll() is None, host.messages.read_text()[-2000:]
    process = Path("/proc") / str(host.daemon.pid)
    facts = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    status = host.status()
    return Sample(
        seconds=time.monotonic() - began,
        rss_mb=int(facts["VmRSS"].split()[0]) / 1024,
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(facts["Threads"]),
        lag_kb=status["lag_bytes"] / 1024,
        outbox_kb=status["outbox"]["bytes"] / 1024,
    )


class SoakedHost(Host):
    """The host of the soak: what is done to it in each cycle."""

    def __init__(self, directory: Path, langfuse: FakeLangfuse, dice: random.Random) -> None:
        super().__init__(directory, langfuse)
        self.dice = dice
        self.burst_seq = 0
        self.bursts: set[str] = set()
        self.rotations = 0
        self.logrotate = directory / "logrotate.conf"

    def burst(self) -> None:
        """Lines as fast as the disk takes them, among them some of several megabytes and a picture."""
        lines = [self._line(self.dice.choice((0, 200, 2_000))) for _ in range(BURST_LINES)]
        lines += [self._line(self.dice.randrange(1 << 20, 12 << 20)) for _ in range(2)]
        lines += [_with_picture(self._line(0), self.dice.randbytes(600_000)) for _ in range(2)]
        self.dice.shuffle(lines)
        self.write(*lines)

    def _line(self, padding_bytes: int) -> bytes:
        seq, self.burst_seq = self.burst_seq, self.burst_seq + 1
        self.bursts.add(observation_id(BURST_WRITER, seq))
        return kong_line(BURST_WRITER, seq, padding_bytes)

    def rotate(self) -> None:
        """As /etc/logrotate.d would; the one writer that can be told is told."""
        assert LOGROTATE is not None, "needs logrotate"
        self.logrotate.write_text(
            f"{self.log} {{\nmissingok\nrotate 5\ncreate\ncompress\ndelaycompress\npostrotate\n"
            f"kill -HUP {self.writers[0].pid} 2>/dev/null || true\nendscript\n}}\n"
        )
        self.logrotate.chmod(0o644)
        state = self.directory / "logrotate.state"
        subprocess.run([LOGROTATE, "-f", "-s", str(state), str(self.logrotate)], check=True)
        self.rotations += 1


def _with_picture(line: bytes, picture: bytes) -> bytes:
    entry = json.loads(line)
    payload = entry["ai"]["proxy"]["payload"]
    request = json.loads(payload["request"])
    url = "data:image/png;base64," + b64encode(b"\x89PNG\r\n\x1a\n" + picture).decode()
    request["messages"][0]["content"] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    payload["request"] = json.dumps(request)
    return json.dumps(entry).encode() + b"\n"


def soak(directory: Path, minutes: float, seed: int) -> tuple[list[Sample], LostAndFound, SoakedHost]:
    """Let it run for so many minutes, then let it come to rest."""
    seconds = minutes * 60
    count = int(RATE * seconds)
    with LeanLangfuse() as langfuse:
        host = SoakedHost(directory, langfuse, random.Random(seed))
        host.configure(langfuse, *SETTINGS)
        try:
            host.start()
            host.start_writer(writer=1, lines=count, rate=RATE)
            host.start_writer(writer=2, lines=count, rate=RATE, reopen=True, shared=True)
            samples = _live(host, langfuse, seconds)
            langfuse.script("")
            host.wait_for_writers()
            expected = host.written | host.bursts
            wait_until(lambda: expected <= langfuse.span_ids(), "every line written", 300)
            time.sleep(SAMPLE_SECONDS)
            samples.append(sample(host, time.monotonic() - samples[-1].seconds - SAMPLE_SECONDS))
            host.stop()
        finally:
            host.clean_up()
        roots = {root_id(shared_trace_id(shared_trace(seq))) for seq in range(count)}
        received = langfuse.span_ids()
        found = LostAndFound(
            missing=expected - received,
            spurious=received - expected - roots,
            repeated={name: times for name, times in langfuse.repeated.items() if name not in roots},
            doubled=langfuse.doubled,
        )
    return samples, found, host


def _live(host: SoakedHost, langfuse: FakeLangfuse, seconds: float) -> list[Sample]:
    """Cycle after cycle; a sample every ten seconds."""
    cycle = min(CYCLE_SECONDS, seconds / 4)
    outages = itertools.cycle(OUTAGES)
    acts: list[tuple[float, Callable[[], None]]] = []
    for start in range(0, int(seconds - cycle / 2), int(cycle)):
        outage = next(outages)
        acts += [
            (start + 0.10 * cycle, host.burst),
            (start + 0.30 * cycle, host.rotate),
            (start + 0.50 * cycle, lambda weather=outage: langfuse.script(weather)),
            (start + 0.55 * cycle, host.burst),
            (start + 0.60 * cycle, host.rotate),
            (start + 0.50 * cycle + min(OUTAGE_SECONDS, 0.2 * cycle), lambda: langfuse.script("")),
        ]
    acts.sort(key=lambda act: act[0])
    began = time.monotonic()
    samples: list[Sample] = []
    while (passed := time.monotonic() - began) < seconds:
        while acts and acts[0][0] <= passed:
            acts.pop(0)[1]()
        samples.append(sample(host, began))
        print(*(f"{value:.0f}" for value in _values(samples[-1])), sep="\t", file=sys.stderr, flush=True)
        time.sleep(max(0.0, began + len(samples) * SAMPLE_SECONDS - time.monotonic()))
    return samples


def _values(one: Sample) -> list[float]:
    return [getattr(one, field.name) for field in fields(Sample)]


def table(samples: Sequence[Sample]) -> str:
    """One row for each thing that is measured."""
    last = len(samples) - 1
    points = [samples[round(last * part / 4)] for part in range(5)]
    rows = ["| | start | ¼ | ½ | ¾ | end | highest |", "|---|---|---|---|---|---|---|"]
    names = {
        "rss_mb": "memory (RSS), MB",
        "descriptors": "descriptors",
        "threads": "threads",
        "lag_kb": "unread, KB",
        "outbox_kb": "outbox, KB",
    }
    for name, words in names.items():
        cells = [f"{getattr(one, name):,.0f}" for one in points]
        rows.append(f"| {words} | {' | '.join(cells)} | {max(getattr(one, name) for one in samples):,.0f} |")
    return "\n".join(rows)


def faults(samples: Sequence[Sample], found: LostAndFound) -> list[str]:
    """What must not be: the first quarter is for warming up, the second is compared with the last."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    wrong = []
    for name, slack in (("rss_mb", 25.0), ("descriptors", 4), ("threads", 4)):
        before, after = (median(getattr(one, name) for one in part) for part in (early, late))
        if after > before * 1.1 + slack:
            wrong.append(f"{name} grew from {before:.0f} to {after:.0f}")
    if samples[-1].lag_kb or samples[-1].outbox_kb:
        wrong.append(f"something is left: {samples[-1]}")
    if not found.nothing_lost:
        wrong.append(str(found))
    return wrong


def main() -> int:
    """Soak, print the table, and keep the directory when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="kong-soak-"))
    samples, found, host = soak(directory, options.minutes, options.seed)
    lines = len(host.written) + len(host.bursts)
    print(f"{options.minutes:g} minutes, {lines:,} lines, {host.rotations} rotations: {found}")
    print(table(samples))
    wrong = faults(samples, found)
    for each in wrong:
        print(each)
    if wrong:
        print(f"kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
