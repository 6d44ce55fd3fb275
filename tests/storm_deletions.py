"""A storm in which rotated files are deleted, and nothing is killed: so not one line may be missing.

    python tests/storm_deletions.py --seed 7 --rounds 60 --with reload,cap

    python tests/storm_deletions.py --stops

What a process has not read of a deleted file dies with it. So there are two storms. In the first, one
process lives through all of it: a file is deleted as soon as that process has it open, read or not, while its
server fails, its outbox is full and SIGHUP brings other configurations. In the second (`--stops`) there are
plain stops, too, and a file is deleted when all of it was read, though not delivered: that must outlive the
process.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kong_host import Host, wait_until
from kong_writer import LostAndFound, lost_and_found, received_spans
from langfuse_server import FakeLangfuse
from storm import TraceFaults, descriptors, faults_of, root_ids, status_of
from storm_extras import Extras

WRITERS: tuple[dict[str, object], ...] = ({}, {"reopen": True}, {})
RATE = 60.0
"""Lines per second and writer."""
PADDING_BYTES = 2_000
ENDLESS_LINES = 10**9
OUTAGES = ("503*", "429:1*3,500*")
WEATHER = (OUTAGES[0], "slow:0.3*", "hang*2,slow:0.2*", OUTAGES[1], "slow:0.3*", "cut*5,slow:0.3*", "200*")
"""A slow server keeps a full outbox full, and lets reading go on a little now and then."""
CALM_SECONDS = 180.0


@dataclass
class Report:
    """What such a storm was, and what came of it."""

    written: set[str]
    found: LostAndFound
    traces: TraceFaults
    second: LostAndFound | None = None
    done: Counter[str] = field(default_factory=Counter)

    @property
    def nothing_lost(self) -> bool:
        return (
            self.found.nothing_lost
            and not self.traces.faults
            and (self.second is None or self.second.nothing_lost)
        )

    def __str__(self) -> str:
        return (
            f"{', '.join(f'{count} {name}' for name, count in sorted(self.done.items()))}\n"
            f"written {len(self.written)}: {self.found}\n{self.traces}"
            + (f"\nsecond project: {self.second}" if self.second is not None else "")
        )


class Deletions:
    """Rotates, and deletes what was rotated when that may cost no line."""

    def __init__(self, host: Host, dice: random.Random, projects: int, *, only_read: bool) -> None:
        self._host = host
        self._dice = dice
        self._projects = projects
        self._only_read = only_read
        self._rotated: list[Path] = []
        self._inodes = contextlib.ExitStack()
        self.done: Counter[str] = Counter()

    def rotate(self) -> None:
        """As logrotate does with `rotate 0`, or a little later."""
        host = self._host
        target = host.log.with_name(f"{host.log.name}.{time.time_ns()}")
        host.log.rename(target)
        host.log.touch()
        for writer in host.writers:
            writer.send_signal(signal.SIGHUP)
        self._rotated.append(target)
        self.done["rotations"] += 1
        self.delete(at_most=len(self._rotated) if self._dice.random() < 0.7 else 0)

    def delete(self, at_most: int) -> None:
        """The oldest of what was rotated."""
        for path in self._rotated[:at_most]:
            # What somebody writes after a silence to a file that was deleted is promised to nobody.
            wait_until(lambda path=path: not self._is_written_to(path), "writers that opened the log anew")
            if path.stat().st_size and not self._may_go(path):
                return
            if self._only_read:
                # The state knows files by their inodes: no new file shall be taken for an earlier one.
                self._inodes.enter_context(path.open("rb"))
            path.unlink()
            self._rotated.remove(path)
            self.done["deletions"] += 1

    def delete_all(self) -> None:
        self.delete(len(self._rotated))

    def close(self) -> None:
        self._inodes.close()

    def _may_go(self, path: Path) -> bool:
        """Waits until it may; not for a daemon that has no room to read on."""
        sighting = _Sighting(self._host, path, self._projects, self._only_read)
        what = "the daemon to read a file" if self._only_read else "the daemon to open a file"
        wait_until(lambda: sighting.is_safe or (self._only_read and is_paused(self._host)), what)
        return sighting.is_safe

    def _is_written_to(self, path: Path) -> bool:
        inode = _inode(path.stat())
        held = (status_of(fd) for writer in self._host.writers for fd in descriptors(writer.pid))
        return any(status is not None and _inode(status) == inode for status in held)


class _Sighting:
    """Does the daemon have a file open, or has it read all of it? As the kernel knows it, not the daemon."""

    def __init__(self, host: Host, path: Path, projects: int, only_read: bool) -> None:
        self._host = host
        self._inode = _inode(path.stat())
        self._size = path.stat().st_size
        self._projects = projects
        self._only_read = only_read
        self._before: set[Path] = set()

    @property
    def is_safe(self) -> bool:
        assert self._host.daemon is not None
        assert self._host.daemon.poll() is None, self._host.messages.read_text()[-2000:]
        mine = set()
        for fd in descriptors(self._host.daemon.pid):
            status = status_of(fd)
            if status is not None and _inode(status) == self._inode:
                mine.add(fd)
        # One that was only opened to see what it is would be gone the second time.
        lasting, self._before = mine & self._before, mine
        if self._only_read and self._is_settled():
            return True
        if self._only_read:
            lasting = {fd for fd in lasting if _position(fd) >= self._size}
        return len(lasting) >= self._projects

    def _is_settled(self) -> bool:
        with contextlib.suppress(sqlite3.OperationalError):
            database = sqlite3.connect(f"file:{self._host.state}/state.sqlite3?mode=ro", uri=True)
            with contextlib.closing(database):
                rows = database.execute(
                    "SELECT offset FROM files WHERE device = ? AND inode = ?", self._inode
                )
                return any(offset >= self._size for (offset,) in rows)
        return False


def said_by(host: Host) -> bytes:
    """What the daemon has said since it was started."""
    return host.messages.read_bytes()[host.said_before :]


def is_paused(host: Host) -> bool:
    """Does reading wait? As the service says that began last."""
    said = said_by(host).rpartition(b"service.ready")[2]
    return b"reading.paused" in said.rpartition(b"reading.resumed")[2]


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _position(fd: Path) -> int:
    """Up to where a descriptor of another process was read."""
    try:
        return int(fd.parents[1].joinpath("fdinfo", fd.name).read_text().split()[1])
    except OSError:
        return -1


class Storm:
    """One of the two, in an empty directory."""

    def __init__(self, host: Host, langfuse: FakeLangfuse, extras: Extras, dice: random.Random, stops: bool):
        self._host = host
        self._langfuse = langfuse
        self._extras = extras
        self._dice = dice
        self._stops = stops
        self._weather = itertools.cycle(WEATHER)
        projects = 2 if "second" in extras.names else 1
        self._deletions = Deletions(host, dice, projects, only_read=stops)

    @property
    def done(self) -> Counter[str]:
        return self._deletions.done + self._extras.done

    def round(self) -> None:
        """Some of all that can happen, in one order or another."""
        dice = self._dice
        acts = [self._change_weather, *[self._deletions.rotate] * dice.randint(1, 4)]
        acts += [self._reload] if dice.random() < 0.6 else []
        acts += [self._stop_and_start] if self._stops and dice.random() < 0.6 else []
        acts += [self._deletions.delete_all] if dice.random() < 0.5 else []
        dice.shuffle(acts)
        for act in acts:
            act()
            time.sleep(dice.choice((0.0, 0.0, 0.1, 0.5)))

    def _change_weather(self) -> None:
        weather = next(self._weather)
        self._langfuse.script(weather)
        self._extras.before_a_start(self._host, self._langfuse, self._dice.choice(WEATHER))
        self._extras.fill_disk_at_times()
        if weather in OUTAGES and self._extras.has_small_outbox(self._host) and self._dice.random() < 0.8:
            wait_until(lambda: is_paused(self._host), "a full outbox")
            self._deletions.done["full outboxes"] += 1

    def _reload(self) -> None:
        """Once, or again and again before the first one is done with."""
        assert self._host.daemon is not None
        wait_until(
            lambda: b"service.ready" in said_by(self._host), "readiness"
        )  # before that it is killed by it
        for _ in range(self._dice.choice((1, 1, 1, 2, 10))):
            self._extras.reload(self._host, self._langfuse)

    def _stop_and_start(self) -> None:
        self._host.stop()
        self._deletions.done["stops"] += 1
        self._host.start()

    def close(self) -> None:
        self._deletions.close()

    def calm_down(self) -> None:
        """Let everything arrive. Only then the first process ends."""
        host, langfuse = self._host, self._langfuse
        host.stop_writers()
        langfuse.script("")
        self._extras.end()
        # Another configuration ends the patience that the old one had with its server.
        host.configure(langfuse, *self._extras.calm_settings())
        assert host.daemon is not None
        wait_until(lambda: b"service.ready" in said_by(self._host), "readiness")
        host.daemon.send_signal(signal.SIGHUP)
        try:
            written = host.written
            wait_until(
                lambda: self._extras.has_all(langfuse, written) or self._is_over(), "all", CALM_SECONDS
            )
        except AssertionError as error:
            print(error, file=sys.stderr)
        host.stop()
        last = host.run("run", "--once")
        assert last.returncode == 0, last.stderr

    def _is_over(self) -> bool:
        """What has not come by now never will: nothing waits, and no file is held that has no name."""
        time.sleep(1.0)
        status = self._host.status()
        waits = status["lag_bytes"] or status["outbox"]["batches"] or status["waiting_calls"]
        return not waits and not any(path.endswith("(deleted)") for path in self._host.open_logs())


def storm(
    directory: Path,
    *,
    seed: int,
    rounds: int,
    stops: bool = False,
    shared: bool = False,
    extra: tuple[str, ...] = ("reload", "cap"),
) -> Report:
    """Let it rage in an empty directory, then let everything come to rest."""
    dice = random.Random(seed)
    extras = Extras(extra, directory, dice)
    with FakeLangfuse(record=directory / "received.jsonl") as langfuse, extras.at_work():
        host = Host(directory, langfuse)
        host.configure(langfuse, *extras.settings())
        try:
            for number, options in enumerate(WRITERS, 1):
                options = options | extras.writer_options(number)
                host.start_writer(
                    writer=number,
                    lines=ENDLESS_LINES,
                    rate=RATE,
                    padding=PADDING_BYTES,
                    shared=shared,
                    **options,
                )
            host.start()
            wait_until(lambda: bool(langfuse.spans), "the first line")
            with contextlib.closing(Storm(host, langfuse, extras, dice, stops)) as one:
                for _ in range(rounds):
                    one.round()
                one.calm_down()
        finally:
            host.clean_up()
        violations = langfuse.violations
        written = host.written
    received = list(received_spans(directory / "received.jsonl"))
    found = lost_and_found(written, received)
    found.spurious -= root_ids(len(written)) if shared else set()
    assert found.doubled or violations == [], violations[:5]
    return Report(
        written=written,
        found=found,
        traces=faults_of(received) if shared else TraceFaults(),
        second=extras.second_found(),
        done=one.done,
    )


def main() -> int:
    """Rage, print the account, and keep the directory when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--stops", action="store_true", help="SIGTERM; deletes only what was read")
    parser.add_argument("--shared", action="store_true", help="let calls share traces")
    parser.add_argument("--with", dest="extra", default="reload,cap", help="some of reload,cap,second,disk")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="kong-storm-"))
    report = storm(
        directory,
        seed=options.seed,
        rounds=options.rounds,
        stops=options.stops,
        shared=options.shared,
        extra=tuple(filter(None, options.extra.split(","))),
    )
    print(report)
    if not report.nothing_lost:
        print("missing:", *sorted(report.found.missing)[:10])
        print(f"kept: {directory}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
