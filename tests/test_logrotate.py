"""The real logrotate in its modes, under writers like Kong's workers, against the real daemon.

One daemon follows a dozen logs, each rotated in another mode: first while it runs, then while it is stopped.
What is compared is what the writers wrote and what arrived.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from kong_ai_tracing.ids import observation_id_from_seed
from kong_host import Host, wait_until
from kong_writer import (
    LostAndFound,
    lost_and_found,
    observation_id,
    received_spans,
    writer_command,
    written_ids,
)
from langfuse_server import FakeLangfuse

LOGROTATE = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
ZSTD = shutil.which("zstd")
pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="needs logrotate")

LINES, RATE, ROTATIONS = 140, 40, 3
MODES = {
    "create": "create",
    "nocreate": "nocreate",
    "compress": "create\ncompress",
    "delaycompress": "create\ncompress\ndelaycompress",
    "zstd": "create\ncompress\ncompresscmd /usr/bin/zstd\ncompressext .zst\ncompressoptions -q",
    "dateext": "create\ndateext\ndateformat -%Y%m%d-%s\ncompress",
    "extension": "create\nextension .log\ncompress",
    "maxsize": "create\ndaily\nmaxsize 1",
    "olddir": "create\nolddir old\ncreateolddir 700",
    "shred": "create\ncompress\nshred",
    "copy": "copy",
    "copytruncate": "copytruncate",
    "copytruncate-compress": "copytruncate\ncompress",
}
LOSING = {"copytruncate", "copytruncate-compress"}
KEPT = {"create", "nocreate", "compress", "delaycompress", "maxsize", "olddir", "copy"}
"""With a third writer that is never told: it keeps its first descriptor, as Kong's workers do."""
DELETING_TOO_EARLY = {"olddir"}
"""What was rotated out of the watched directory while the daemon was stopped is not looked for there."""


class Log:
    """One log, how it is rotated, and who writes to it."""

    def __init__(self, directory: Path, mode: str, number: int) -> None:
        self.mode = mode
        self.number = number
        self.path = directory / mode / "ai.log"
        self.path.parent.mkdir(parents=True)
        self.reloaded: list[subprocess.Popen[bytes]] = []
        self.writers: list[subprocess.Popen[bytes]] = []
        self.phase = 0

    @property
    def notes(self) -> list[Path]:
        return sorted(self.path.parent.parent.glob(f"written-{self.number}-*"))

    def write(self, *kinds: str) -> None:
        """Start writers; `reopen` opens for each line, `reloaded` after each rotation, `kept` never."""
        self.phase += 1
        for place, kind in enumerate(kinds):
            writer = self.number * 10 + place
            notes = self.path.parent.parent / f"written-{self.number}-{self.phase}-{place}"
            options = {"writer": writer, "first": self.phase * 1000, "lines": LINES, "rate": RATE}
            process = subprocess.Popen(
                writer_command(self.path, notes, reopen=kind == "reopen", **options),
            )
            self.writers.append(process)
            if kind == "reloaded":
                self.reloaded.append(process)

    def configure(self) -> Path:
        """A configuration of logrotate's, with what Kong's operators put into postrotate."""
        pids = " ".join(str(writer.pid) for writer in self.reloaded if writer.poll() is None)
        reload = f"postrotate\nkill -HUP {pids} 2>/dev/null || true\nsleep 0.06\nendscript" if pids else ""
        config = self.path.parent / "logrotate.conf"
        config.write_text(f"{self.path} {{\nmissingok\nrotate 40\n{MODES[self.mode]}\n{reload}\n}}\n")
        config.chmod(0o644)
        return config

    def rotate(self) -> subprocess.Popen[bytes]:
        assert LOGROTATE is not None
        force = [] if self.mode == "maxsize" else ["-f"]
        state = self.path.parent / "logrotate.state"
        return subprocess.Popen([LOGROTATE, *force, "-s", str(state), str(self.configure())])


class Outcome(NamedTuple):
    """What became of the lines of one log."""

    found: LostAndFound
    written: int
    names: list[str]
    on_disk: set[str]
    """The observation ids of the lines that some file still holds."""


class Account(NamedTuple):
    """What became of all of them."""

    logs: dict[str, Outcome]
    messages: str
    counters: dict[str, int]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Account:
    """Everything at once; each test looks at one part of the outcome."""
    directory = tmp_path_factory.mktemp("logrotate")
    modes = [mode for mode in MODES if mode != "zstd" or ZSTD]
    with FakeLangfuse(record=directory / "received.jsonl") as langfuse:
        host = Host(directory, langfuse)
        logs = [Log(directory / "kong", mode, number) for number, mode in enumerate(modes, 1)]
        host.log = directory / "kong" / "*" / "ai.log"
        # What is not answered in time is sent again; a busy machine is not to be taken for a second reading.
        host.configure(langfuse, "langfuse_timeout = 60000", "[tailing]", "scan_interval_seconds = 0.2")
        try:
            for log in logs:
                log.write("reopen", "reloaded", *(["kept"] if log.mode in KEPT else []))
            wait_until(lambda: _begun(logs) and all(log.path.exists() for log in logs), "the first lines")
            host.start()
            wait_until(lambda: len(langfuse.spans) >= len(logs), "the daemon")
            _rotate_all(logs, ROTATIONS)
            _wait_for_writers(logs)
            expected = written_ids(*(note for log in logs if log.mode not in LOSING for note in log.notes))
            wait_until(lambda: expected <= langfuse.span_ids(), "what was written while it ran")
            host.stop()
            for log in logs:
                if log.mode not in DELETING_TOO_EARLY:
                    log.write("reopen", "reloaded")
            stopped = [log for log in logs if log.mode not in DELETING_TOO_EARLY]
            wait_until(lambda: _begun(stopped), "the writers")
            _rotate_all(stopped, 2)
            host.start()
            _rotate_all(stopped, 1)
            _wait_for_writers(logs)
            expected = written_ids(*(note for log in logs if log.mode not in LOSING for note in log.notes))
            try:
                wait_until(lambda: expected <= langfuse.span_ids(), "what was written while it was stopped")
            except AssertionError as error:
                print(error)
            host.stop()
            assert host.run("run", "--once").returncode == 0
            counters = host.status()["counters"]
        finally:
            for log in logs:
                host.writers += log.writers
            host.clean_up()
    spans = list(received_spans(directory / "received.jsonl"))
    outcomes = {}
    for log in logs:
        written = written_ids(*log.notes)
        theirs = {
            observation_id(log.number * 10 + place, phase * 1000 + seq)
            for place in range(3)
            for phase in (1, 2)
            for seq in range(LINES)
        }
        found = lost_and_found(written, (span for span in spans if span["spanId"] in theirs))
        names = sorted(path.name for path in log.path.parent.rglob("*"))
        on_disk = set() if log.mode not in LOSING else _ids_in(log.path.parent)
        outcomes[log.mode] = Outcome(found, len(written), names, on_disk)
    return Account(outcomes, host.messages.read_text(), counters)


def _rotate_all(logs: list[Log], times: int) -> None:
    for _ in range(times):
        time.sleep(1.05)  # Names with the second in them must differ.
        ends = [process.wait(90) for process in [log.rotate() for log in logs]]
        assert not any(ends), dict(zip((log.mode for log in logs), ends, strict=True))


def _ids_in(directory: Path) -> set[str]:
    """Of all lines in the log and in what it was rotated to."""
    texts = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in directory.glob("ai.log*")
    ]
    lines = (line for text in texts for line in text.splitlines())
    return {observation_id_from_seed(json.loads(line)["request"]["id"]) for line in lines}


def _begun(logs: list[Log]) -> bool:
    """Before a writer has begun, a signal would end it."""
    return all(len(log.notes) == len(log.writers) for log in logs)


def _wait_for_writers(logs: list[Log]) -> None:
    for log in logs:
        for writer in log.writers:
            # A signal that comes while Python winds up ends it; its lines are written by then.
            assert writer.wait(90) in (0, -signal.SIGHUP)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in LOSING])
def test_nothing_is_lost_or_doubled(account: Account, mode: str) -> None:
    """Whatever logrotate makes of the file: renamed, copied, compressed, dated, moved, shredded."""
    # covers ROT-01, ROT-03, ROT-04, ROT-08, ROT-09, ROT-12, CMP-01, CMP-02, CMP-04, CMP-08
    if mode not in account.logs:
        pytest.skip("needs zstd")
    outcome = account.logs[mode]
    assert outcome.found.nothing_lost, (str(outcome.found), outcome.names)
    assert outcome.found.repeated == {}
    assert outcome.written > LINES
    if mode != "copy":
        assert len(outcome.names) > ROTATIONS, outcome.names


@pytest.mark.parametrize("mode", sorted(LOSING))
def test_copytruncate_loses_only_what_is_written_between_copy_and_cut(account: Account, mode: str) -> None:
    """And nothing is read twice."""
    # covers TRU-01, TRU-03, TRU-04
    outcome = account.logs[mode]
    assert not outcome.found.spurious
    assert not outcome.found.doubled
    assert outcome.found.repeated == {}
    assert outcome.found.missing & outcome.on_disk == set(), str(outcome.found)
    assert len(outcome.on_disk) > LINES, "most of it was copied"


def test_the_operator_hears_only_of_what_needs_somebody(account: Account) -> None:
    """Of logs that are cut, and of one that was moved out of sight while nobody looked."""
    told = [line for line in account.messages.splitlines() if " file." in line]
    in_order = [line for line in told if not any(f"/kong/{mode}" in line for mode in (*LOSING, "olddir"))]
    assert in_order == []
    for mode in LOSING:
        assert any("file.copytruncate" in line and f"/{mode}/" in line for line in told)
