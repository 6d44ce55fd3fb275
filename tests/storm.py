"""A storm: the real program killed at random moments while its log is rotated and its server fails in turns.

    python tests/storm.py --seed 7 --kills 50 --lines 20000

    python tests/storm.py --with second,reload,cap

Three writers write at once: one keeps its first descriptor through every rotation, one opens the log anew
for each line, one is told to after each rotation. At the end what was written is compared with what arrived.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from kong_host import Host, hold_still, wait_until
from kong_writer import (
    FORMS,
    LostAndFound,
    compress,
    lost_and_found,
    received_spans,
    rotate,
    shared_trace,
    shared_trace_id,
)
from langfuse_server import FakeLangfuse
from storm_extras import NAMES, Extras

WRITERS: tuple[dict[str, object], ...] = ({}, {"reopen": True}, {})
RELOADED_WRITER = 2
WEATHER = ("500*", "200*", "429:0.2*3,200*", "cut*5,200*", "accept-cut*3,200*", "hang*2,200*", "200*", "401*")
COPYTRUNCATE_EVERY = 3
COMPRESSION = 0.5
"""So often a rotation compresses what older ones left."""
GENERATIONS = 1_000
"""So many are kept: what a writer holds must keep a name, or a kill makes it unreachable."""


@dataclass
class StormReport:
    """What a storm was, and what came of it."""

    kills: int
    rotations: int
    compressed: int
    requests: int
    written: set[str]
    received: Counter[str]
    found: LostAndFound
    traces: TraceFaults
    second: LostAndFound | None = None
    """Of a second project, where there is one."""
    dropped: int | None = None
    """So many calls were dropped for want of room, and counted."""
    done: Counter[str] = field(default_factory=Counter)
    """What else was done to it."""

    @property
    def nothing_lost(self) -> bool:
        return (
            self._is_in_order and not self.traces.faults and (self.second is None or self.second.nothing_lost)
        )

    @property
    def _is_in_order(self) -> bool:
        """A call may have been accepted in the moment of a kill, and dropped when it was to be sent again."""
        if self.dropped is None:
            return self.found.nothing_lost
        return len(self.found.missing) <= self.dropped and not (self.found.spurious or self.found.doubled)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.rotations} rotations, {self.compressed} files compressed, "
            f"{self.requests} requests\n"
            f"written {len(self.written)}, received {len(self.received)} "
            f"({self.received.total()} with repeats): {self.found}\n{self.traces}"
            + (f"\nsecond project: {self.second}" if self.second is not None else "")
            + (f"\ndropped and counted: {self.dropped}" if self.dropped is not None else "")
            + (f"\n{', '.join(f'{count} {name}' for name, count in self.done.items())}" if self.done else "")
        )


@dataclass
class TraceFaults:
    """What is wrong with the trees of shared traces, by trace id."""

    traces: int = 0
    orphans: set[str] = field(default_factory=set)
    """A parent was named that never came."""
    not_one_root: set[str] = field(default_factory=set)
    """In the end, as the newest version of each span counts."""
    stale: set[str] = field(default_factory=set)
    """The newest version of the root does not know all calls."""

    @property
    def faults(self) -> set[str]:
        return self.orphans | self.not_one_root | self.stale

    def __str__(self) -> str:
        return (
            f"{self.traces} shared traces: {len(self.orphans)} with orphans, "
            f"{len(self.not_one_root)} without exactly one root, {len(self.stale)} with a stale root"
        )


def root_id(trace_id: str) -> str:
    """The id of the root of our making."""
    return sha256(trace_id.encode()).hexdigest()[:16]


def root_ids(lines: int) -> set[str]:
    """Those that lines of writers whose calls share traces may have."""
    return {root_id(shared_trace_id(shared_trace(seq))) for seq in range(lines)}


def faults_of(received: Iterable[dict[str, Any]]) -> TraceFaults:
    """Look at each shared trace as a reader sees it who knows the newest version of each span."""
    traces: dict[str, dict[str, dict[str, Any]]] = {}
    for span in received:
        traces.setdefault(span["traceId"], {})[span["spanId"]] = span
    result = TraceFaults(len(traces))
    for trace_id, spans in traces.items():
        parents = [span["parentSpanId"] for span in spans.values()]
        if any(parent is not None and parent not in spans for parent in parents):
            result.orphans.add(trace_id)
        if parents.count(None) != 1:
            result.not_one_root.add(trace_id)
        made = spans.get(root_id(trace_id))
        if made is not None and f'"calls":{len(spans) - 1},' not in _metadata(made):
            result.stale.add(trace_id)
    return result


def _metadata(span: dict[str, Any]) -> str:
    return str(span["attributes"].get("langfuse.observation.metadata", "")).replace(" ", "")


def storm(
    directory: Path,
    *,
    seed: int,
    kills: int,
    lines: int,
    rate: float,
    shared: bool = False,
    copytruncate: bool = True,
    extra: Iterable[str] = (),
) -> StormReport:
    """Let it rage in an empty directory, then let everything come to rest."""
    dice = random.Random(seed)
    rotations = compressed = 0
    extras = Extras(extra, directory, dice)
    with FakeLangfuse(record=directory / "received.jsonl") as langfuse, extras.at_work():
        host = Host(directory, langfuse)
        host.configure(langfuse, *extras.settings())
        try:
            for number, options in enumerate(WRITERS, 1):
                options = options | extras.writer_options(number)
                host.start_writer(writer=number, lines=lines, rate=rate, shared=shared, **options)
            # What was rotated away before the very first start counts as history, and is not read.
            host.start()
            wait_until(lambda: bool(langfuse.spans), "the first line")
            host.kill()
            for number, weather in zip(range(kills), itertools.cycle(WEATHER), strict=False):
                langfuse.script(weather)
                extras.before_a_start(host, langfuse, dice.choice(WEATHER))
                host.start()
                time.sleep(dice.uniform(0.2, 1.5))
                extras.in_a_life(host, langfuse)
                if dice.random() < 0.5:
                    cut = copytruncate and rotations % COPYTRUNCATE_EVERY == COPYTRUNCATE_EVERY - 1
                    compressed += _rotate(host, "copytruncate" if cut else "numbered", dice, extras)
                    rotations += 1
                    time.sleep(dice.uniform(0.0, 0.8))
                host.kill()
                time.sleep(dice.uniform(0.0, 0.3) if number % 3 else 0.0)
            langfuse.script("")
            extras.end()
            host.start()
            host.wait_for_writers()
            expected = host.written
            try:
                wait_until(lambda: extras.has_all(langfuse, expected), "every line written", 180)
            except AssertionError as error:
                print(error, file=sys.stderr)
            host.stop()
            last = host.run("run", "--once")
            assert last.returncode == 0, last.stderr
            dropped = extras.dropped(host)
        finally:
            host.clean_up()
        received = list(received_spans(directory / "received.jsonl"))
        violations = langfuse.violations
        requests = len(langfuse.requests)
    roots = root_ids(lines) if shared else set()
    found = lost_and_found(expected, received)
    found.spurious -= roots
    assert found.doubled or violations == [], violations[:5]
    return StormReport(
        kills=kills + 1,
        rotations=rotations,
        compressed=compressed,
        requests=requests,
        written=expected,
        received=Counter(span["spanId"] for span in received if span["spanId"] not in roots),
        found=found,
        traces=faults_of(received) if shared else TraceFaults(),
        second=extras.second_found(),
        dropped=dropped,
        done=extras.done,
    )


def _rotate(host: Host, how: str, dice: random.Random, extras: Extras) -> int:
    """Lines between copy and cut would be destroyed by the rotation itself: the writers pause for it.

    Gives the number of files that were compressed.
    """
    compressed = 0
    for writer in host.writers:
        hold_still(writer)
    try:
        if host.log.exists():
            rotate(host.log, how, GENERATIONS)
            compressed = _compress(host, extras) if dice.random() < COMPRESSION else 0
    finally:
        for writer in host.writers:
            writer.send_signal(signal.SIGCONT)
    reloaded = host.writers[RELOADED_WRITER]
    reloaded.send_signal(signal.SIGHUP)
    return compressed


def _compress(host: Host, extras: Extras) -> int:
    """All generations but the newest that nobody writes to, whether they were read or not."""
    held = {
        (status.st_dev, status.st_ino)
        for writer in host.writers
        for fd in descriptors(writer.pid)
        if (status := status_of(fd)) is not None
    }
    count = 0
    for path in host.log.parent.glob(f"{host.log.name}.*"):
        status = path.stat()
        if path.suffix not in FORMS and path.suffix != ".1" and (status.st_dev, status.st_ino) not in held:
            compress(path, extras.form)
            count += 1
    return count


def descriptors(pid: int) -> list[Path]:
    """Those of a process."""
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []  # it has written all its lines


def status_of(path: Path) -> os.stat_result | None:
    """None when it is gone."""
    try:
        return path.stat()
    except OSError:
        return None


def main() -> int:
    """Rage, print the account, and keep the directory when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=105)
    parser.add_argument("--lines", type=int, default=35_000, help="of each of the three writers")
    parser.add_argument("--rate", type=float, default=230, help="lines per second and writer")
    parser.add_argument("--shared", action="store_true", help="let calls share traces")
    parser.add_argument("--no-copytruncate", action="store_true")
    parser.add_argument("--with", dest="extra", default="", help=f"some of {','.join(NAMES)}")
    options = parser.parse_args()
    if options.shared and "past" in options.extra.split(","):
        parser.error(
            "a daemon and a backfill that share traces do not promise whole trees (docs/delivery.md)"
        )
    directory = Path(tempfile.mkdtemp(prefix="kong-storm-"))
    report = storm(
        directory,
        seed=options.seed,
        kills=options.kills,
        lines=options.lines,
        rate=options.rate,
        shared=options.shared,
        copytruncate=not options.no_copytruncate,
        extra=filter(None, options.extra.split(",")),
    )
    print(report)
    for name, ids in (
        ("missing", report.found.missing),
        ("spurious", report.found.spurious),
        ("repeated", report.found.repeated),
        ("doubled", report.found.doubled),
        ("faulty traces", report.traces.faults),
    ):
        print(f"{name}: {len(ids)}", *sorted(ids)[:10])
    if not report.nothing_lost:
        print(f"kept: {directory}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
