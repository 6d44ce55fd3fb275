"""What `check` sees of other processes: who still writes to which file, and which daemons run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkups import findings, needs_root, problems, surroundings
from kong_ai_tracing.checks import operation, processes, units, writers
from kong_ai_tracing.checks.findings import Surroundings
from kong_ai_tracing.checks.viewers import Viewer

_WRITER = """
import os, sys
log, reopen = sys.argv[1], sys.argv[2] == "reopen"
def opened():
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
fd = None if reopen else opened()
for _ in sys.stdin:
    if reopen:
        fd = opened()
    os.write(fd, b"{}\\n")
    if reopen:
        os.close(fd)
    print("written", flush=True)
"""


class Gateway:
    """A log, its rotation, and workers that write to it as Kong's do."""

    def __init__(self, directory: Path) -> None:
        self.etc = directory / "etc"
        self.etc.mkdir()
        self.log = directory / "ai.log"
        self.rotated = directory / "ai.log.1"
        self.workers: list[subprocess.Popen[str]] = []

    def start(self, *, reopen: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _WRITER, str(self.log), "reopen" if reopen else "keep"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.workers.append(worker)
        self.write(worker)
        return worker

    def write(self, worker: subprocess.Popen[str]) -> None:
        """A line; before and after that the worker is at rest, and what it has open does not change."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        print(file=worker.stdin, flush=True)
        assert worker.stdout.readline() == "written\n"

    def rotate_by(self, directives: str) -> None:
        (self.etc / "logrotate.conf").write_text(f"{self.log} {{\n{directives}\n}}\n")

    @property
    def here(self) -> Surroundings:
        return surroundings(self.log, etc=self.etc)

    def problems(self) -> set[str]:
        return problems(writers.check_writers, self.here)


@pytest.fixture
def gateway(tmp_path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    for worker in gateway.workers:
        worker.kill()
        worker.communicate()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)


def test_a_worker_that_still_writes_to_a_rotated_file_is_named_by_its_process(gateway):
    """Kong's default: the lines go where nobody looks any more."""
    worker = gateway.start(reopen=False)
    gateway.log.rename(gateway.rotated)
    gateway.log.touch()
    finding = findings(writers.check_writers, gateway.here)["rotation.writer_on_rotated"]
    assert f"process {worker.pid} " in finding.what
    assert "ai.log.1" in finding.what
    assert finding.command == "kong reload"


def test_a_worker_that_writes_to_a_deleted_log_is_an_error(gateway):
    """These lines are lost when it ends."""
    gateway.start(reopen=False)
    gateway.start(reopen=False)
    gateway.log.unlink()
    gateway.log.touch()
    finding = findings(writers.check_writers, gateway.here)["rotation.writer_on_deleted"]
    assert finding.severity == "error"
    assert "and 1 other write to" in finding.what


def test_a_log_that_is_kept_open_and_rotated_by_rename_is_a_warning_before_it_happens(gateway):
    """`reopen=false` costs nothing until the night of the first rotation."""
    gateway.rotate_by("daily\ncreate\ndelaycompress")
    gateway.start(reopen=False)
    finding = findings(writers.check_writers, gateway.here)["rotation.reopen_off"]
    assert "reopen=true" in finding.command
    assert subprocess.run(["bash", "-n", "-c", finding.command], check=False).returncode == 0
    gateway.rotate_by("daily\ncopytruncate")
    assert gateway.problems() == set()
    gateway.rotate_by("daily\ncreate\npostrotate\n  kong reload\nendscript")
    assert gateway.problems() == set()


def test_workers_that_reopen_their_log_are_fine(gateway):
    """Nothing is said against the recommended setting, rotated or not."""
    gateway.rotate_by("daily\ncreate\ndelaycompress")
    worker = gateway.start(reopen=True)
    assert gateway.problems() == set()
    gateway.log.rename(gateway.rotated)
    gateway.write(worker)
    assert gateway.log.exists()
    assert gateway.problems() == set()


def test_a_reader_is_no_writer(gateway):
    """We and `tail -f` keep rotated files open, too."""
    gateway.log.touch()
    gateway.rotated.touch()
    with gateway.rotated.open("rb"):
        assert gateway.problems() == set()


def test_one_daemon_is_fine_and_two_on_one_log_are_an_error(tmp_path):
    """Every call would be sent twice."""
    log = tmp_path / "ai.log"
    log.write_text("{}\n")
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> Path:
        config = tmp_path / f"{name}.toml"
        config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{tmp_path / name}"\n')
        command = [sys.executable, "-m", "kong_ai_tracing", "run", "--config", str(config)]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        eventually(lambda: (tmp_path / name / "lock").exists())
        eventually(lambda: processes.daemon_of(tmp_path / name, Path("/proc")) == running[-1].pid)
        return tmp_path / name

    def reads(daemon: subprocess.Popen[bytes]) -> bool:
        found = processes.open_files(Path("/proc"), {str(tmp_path)})
        return (daemon.pid, processes.identity_of(log)) in {(one.pid, one.identity) for one in found}

    try:
        here = surroundings(log, keys={"state_dir": start("one")})
        eventually(lambda: reads(running[0]))
        found = findings(operation.check_daemon, here)
        assert "daemon.running" in found
        assert "daemon.several" not in found
        start("two")
        eventually(lambda: reads(running[1]))
        finding = findings(operation.check_daemon, here)["daemon.several"]
        assert finding.severity == "error"
        assert f"process {running[0].pid} " in finding.what
        assert f"process {running[1].pid} " in finding.what
    finally:
        for daemon in running:
            daemon.kill()
            daemon.wait()
    assert "daemon.stopped" in findings(operation.check_daemon, here)


def test_a_stopped_service_is_a_warning_and_a_program_that_was_never_installed_as_one_is_not(
    tmp_path, monkeypatch
):
    """Who only tries it out has no unit."""
    here = surroundings(tmp_path / "ai.log", keys={"state_dir": tmp_path})
    monkeypatch.setattr(units, "_PLACES", (tmp_path,))
    assert problems(operation.check_daemon, here) == set()
    unit = tmp_path / "systemd/system/kong-ai-tracing.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    found = findings(operation.check_daemon, here)["daemon.stopped"]
    assert found.severity == "warning"
    assert found.command == "systemctl enable --now kong-ai-tracing"


def test_more_files_than_descriptors_are_a_warning(tmp_path, monkeypatch):
    """Half of the limit is for logs."""
    for number in range(30):
        (tmp_path / f"ai-{number}.log").touch()
    here = surroundings(tmp_path / "*.log", keys={"state_dir": tmp_path})
    assert problems(operation.check_descriptors, here) == set()
    soft, hard = operation.resource.getrlimit(operation.resource.RLIMIT_NOFILE)
    operation.resource.setrlimit(operation.resource.RLIMIT_NOFILE, (50, hard))
    try:
        assert problems(operation.check_descriptors, here) == {"host.descriptors"}
    finally:
        operation.resource.setrlimit(operation.resource.RLIMIT_NOFILE, (soft, hard))


@needs_root
def test_no_room_for_another_watch_is_a_warning(open_folder):
    """Other programs of the same user may have taken all of them."""
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if most > 4096:
        pytest.skip("too many to take them all")
    viewer = Viewer("somebody", 61_234, 61_234)
    here = surroundings(open_folder / "ai.log", viewer=viewer)
    assert problems(operation.check_file_events, here) == set()
    hoard = (
        "import ctypes, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "while libc.inotify_init() >= 0:\n"
        "    pass\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups", "/usr/bin/python3", "-c", hoard]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hoarder:
        assert hoarder.stdout is not None
        assert hoarder.stdout.readline() == "ready\n"
        found = findings(operation.check_file_events, here)
        hoarder.communicate("")
    assert "sysctl -w" in found["host.file_events"].command
    assert os.geteuid() == 0


def test_a_command_line_is_a_daemon_only_when_it_runs():
    """Not this check, not a preview."""
    assert processes._is_daemon(["/usr/bin/python3", "-ISu", "/usr/bin/kong-ai-tracing", "run"])
    assert processes._is_daemon(["python", "-m", "kong_ai_tracing", "run", "--once"])
    assert not processes._is_daemon(["kong-ai-tracing", "check"])
    assert not processes._is_daemon(["kong-ai-tracing", "run", "--dry-run"])
    assert not processes._is_daemon([])
