"""What else can be in a storm, each by its name:

second  another project that gets the calls of one service, at a server that fails in turns of its own
reload  SIGHUP, often with another configuration, while it reads and sends
config  another configuration at each start
cap     an outbox that is full soon: reading waits
drop    the same with `on_full = "drop_oldest"`: what is missing must be counted to the call
disk    a disk for the state that others fill for a while
forms   rotated files are compressed as .zst, .xz or .bz2, too
past    `backfill` of the rotated files beside the daemon, killed now and then
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kong_host import PROGRAM, Host
from kong_writer import FORMS, LostAndFound, lost_and_found, received_spans, written_ids
from langfuse_server import FakeLangfuse

NAMES = ("second", "reload", "config", "cap", "drop", "disk", "forms", "past")
SECOND_SERVICE = "hr-gw"
SECOND_WRITER = 2
SMALL_OUTBOX_BYTES = 128 << 10
DISK_BYTES = 24 << 20
FLOOR_BYTES = 1 << 20


class Extras:
    """Those that were asked for."""

    def __init__(self, names: Iterable[str], directory: Path, dice: random.Random) -> None:
        self.names = frozenset(names)
        assert self.names <= set(NAMES), self.names
        self._directory = directory
        self._dice = dice
        self._second: FakeLangfuse | None = None
        self._backfill: subprocess.Popen[bytes] | None = None
        self._ballast = directory / "state" / "ballast"
        self.done: Counter[str] = Counter()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The second server and the small disk are there."""
        with contextlib.ExitStack() as stack:
            if "second" in self.names:
                self._second = stack.enter_context(FakeLangfuse(record=self._directory / "second.jsonl"))
            if "disk" in self.names:
                state = self._directory / "state"
                state.mkdir(mode=0o700)
                options = f"size={DISK_BYTES},mode=700"
                subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", state], check=True)
                stack.callback(subprocess.run, ["umount", "-l", str(state)], check=True)
            stack.callback(self.end)
            yield

    def writer_options(self, number: int) -> dict[str, object]:
        return {"service": SECOND_SERVICE} if "second" in self.names and number == SECOND_WRITER else {}

    @property
    def form(self) -> str:
        """How the next file is compressed."""
        return self._dice.choice(sorted(FORMS)) if "forms" in self.names else ".gz"

    def settings(self, *, changed: bool = False) -> list[str]:
        """Of the configuration; with `changed` as an operator might have it instead. Ids stay the same."""
        dice, changed = self._dice, changed and bool(self.names & {"reload", "config"})
        interval = dice.choice((0.1, 0.3, 2.0)) if changed else 0.3
        lines = ["langfuse_timeout = 5000", "[tailing]", f"scan_interval_seconds = {interval}", "[delivery]"]
        batch_bytes = [16_384, 100_000]
        if self.names & {"cap", "drop"}:
            sizes = (SMALL_OUTBOX_BYTES, SMALL_OUTBOX_BYTES, 1 << 20)
            size = dice.choice(sizes) if changed and "drop" not in self.names else SMALL_OUTBOX_BYTES
            lines += [f"outbox_max_bytes = {size}", "free_space_floor_bytes = 0"]
        else:
            batch_bytes += [1_000_000]
        if changed:
            lines += [f"spill_after_seconds = {dice.choice((0.0, 0.5, 2.0, 30.0))}"]
        lines += [f"batch_max_bytes = {dice.choice(batch_bytes) if changed else batch_bytes[0]}"]
        if "drop" in self.names:
            lines += ['on_full = "drop_oldest"']
        if "disk" in self.names:
            lines += [f"free_space_floor_bytes = {FLOOR_BYTES}"]
        if changed:
            lines += ["[grouping]", f"trace_idle_seconds = {dice.choice((0.1, 1.0, 3.0))}"]
        return lines + self._destinations()

    def _destinations(self) -> list[str]:
        if self._second is None:
            return []
        return [
            "[[destination]]",
            'name = "second"',
            f'langfuse_endpoint = "{self._second.url}"',
            'langfuse_public_key = "pk-lf-test"',
            'langfuse_secret_key = "sk-lf-test"',
            f'service = ["{SECOND_SERVICE}"]',
        ]

    @staticmethod
    def has_small_outbox(host: Host) -> bool:
        """Is it full soon?"""
        return f"outbox_max_bytes = {SMALL_OUTBOX_BYTES}\n" in host.config.read_text()

    def calm_settings(self) -> list[str]:
        """With room for everything, in the end."""
        return ["[grouping]", "trace_idle_seconds = 2.5", *self._destinations()]

    def before_a_start(self, host: Host, langfuse: FakeLangfuse, weather: str) -> None:
        if self._second is not None:
            self._second.script(weather)
        if "config" in self.names:
            host.configure(langfuse, *self.settings(changed=True))
            self.done["configurations"] += 1
        if self._dice.random() < 0.5:
            self._empty_disk()

    def in_a_life(self, host: Host, langfuse: FakeLangfuse) -> None:
        """While the daemon is at work."""
        if "reload" in self.names and self._dice.random() < 0.7:
            self.reload(host, langfuse)  # before it listens to that, it is killed by it
            time.sleep(self._dice.uniform(0.1, 1.0))
        self.fill_disk_at_times()
        if "past" in self.names:
            self._look_after_backfill(host)

    def reload(self, host: Host, langfuse: FakeLangfuse) -> None:
        """SIGHUP, with another configuration."""
        host.configure(langfuse, *self.settings(changed=True))
        assert host.daemon is not None
        host.daemon.send_signal(signal.SIGHUP)
        self.done["reloads"] += 1

    def fill_disk_at_times(self) -> None:
        if "disk" in self.names and self._dice.random() < 0.4:
            self._fill_disk()

    def _fill_disk(self) -> None:
        self.done["full disks"] += 1
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass

    def _empty_disk(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def _look_after_backfill(self, host: Host) -> None:
        """Begin one, or kill the one that is at work."""
        if self._backfill is None or self._backfill.poll() is not None:
            rotated = sorted(host.log.parent.glob(f"{host.log.name}.*"))
            if rotated:
                command = [*PROGRAM, "backfill", *map(str, rotated), "--config", str(host.config)]
                with (self._directory / "backfill").open("ab") as said:
                    self._backfill = subprocess.Popen(command, env=host.environ, stdout=said, stderr=said)
                self.done["backfills"] += 1
        elif self._dice.random() < 0.5:
            self._backfill.kill()
            self._backfill.wait(90)

    def end(self) -> None:
        """What is left is let go, before all comes to rest."""
        self._empty_disk()
        if self._second is not None:
            self._second.script("")
        if self._backfill is not None and self._backfill.poll() is None:
            self._backfill.kill()
            self._backfill.wait(90)

    # -- afterwards

    def has_all(self, langfuse: FakeLangfuse, expected: set[str]) -> bool:
        """Has everything arrived that can?"""
        if self._second is not None and not self._second_expected <= self._second.span_ids():
            return False
        return "drop" in self.names or expected <= langfuse.span_ids()

    @property
    def _second_expected(self) -> set[str]:
        return written_ids(self._directory / f"written-{SECOND_WRITER - 1}")

    def second_found(self) -> LostAndFound | None:
        if self._second is None:
            return None
        return lost_and_found(self._second_expected, received_spans(self._directory / "second.jsonl"))

    def dropped(self, host: Host) -> int | None:
        """How many calls were dropped and counted; None where none may be. The account must add up."""
        if "drop" not in self.names:
            return None
        counters = Counter(host.status()["counters"])
        ended = sum(counters[name] for name in ("calls_delivered", "calls_refused", "calls_dropped"))
        assert counters["calls"] == ended, counters
        return counters["calls_dropped"]
