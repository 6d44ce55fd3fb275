"""A host with a log, writers like Kong's, and the real program as a process that is started and killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kong_writer import writer_command, written_ids
from langfuse_server import FakeLangfuse

PROGRAM = [sys.executable, "-m", "kong_ai_tracing"]
PATIENCE_SECONDS = 90
"""So long a process that has an end is waited for: nobody waits longer when all goes well."""
QUICK_SECONDS = 30
"""What is quick, on a busy machine as well: what it must not wait for takes a minute or more."""


class Host:
    """A host with a log, a configuration, and a daemon that can be started, killed and started again."""

    def __init__(self, directory: Path, langfuse: FakeLangfuse | None) -> None:
        self.directory = directory
        self.log = directory / "kong" / "ai.log"
        self.log.parent.mkdir()
        self.state = directory / "state"
        self.config = directory / "config.toml"
        self.notes = directory / "written"
        self.messages = directory / "messages"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.said_before = 0
        self.writers: list[subprocess.Popen[bytes]] = []
        self.configure(langfuse)

    def configure(self, langfuse: FakeLangfuse | None, *more: str, secret_key: str = "sk-lf-test") -> None:
        self.langfuse = langfuse
        lines = [f'log_paths = ["{self.log}"]', f'state_dir = "{self.state}"']
        if not any(line.startswith("langfuse_timeout") for line in more):
            # What is not answered in time is sent again; a busy machine is not to be taken for that.
            lines.append("langfuse_timeout = 60_000")
        if langfuse is not None:
            lines += ["langfuse_enabled = true", f'langfuse_endpoint = "{langfuse.url}"']
        self.config.write_text("\n".join([*lines, *more]) + "\n")
        self.environ = {
            **os.environ,
            "LANGFUSE_PUBLIC_KEY": "pk-lf-test",
            "LANGFUSE_SECRET_KEY": secret_key,
        }

    def run(self, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments, "--config", str(self.config)],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self) -> None:
        with self.messages.open("ab") as messages:
            self.said_before = messages.tell()
            self.daemon = subprocess.Popen(
                [*PROGRAM, "run", "--config", str(self.config)], env=self.environ, stderr=messages
            )

    def kill(self) -> None:
        """SIGKILL; what it had sent until then is dealt with."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait(PATIENCE_SECONDS)
        if self.langfuse is not None:
            self.langfuse.hear_out()

    def stop(self) -> float:
        """SIGTERM; gives the seconds until the end."""
        assert self.daemon is not None
        # Of this run alone: an earlier one may have been killed before it was ready.
        wait_until(lambda: b"service.ready" in self.messages.read_bytes()[self.said_before :], "readiness")
        began = time.monotonic()
        self.daemon.terminate()
        assert self.daemon.wait(PATIENCE_SECONDS) == 0, self.messages.read_text()
        return time.monotonic() - began

    def write(self, *lines: bytes) -> None:
        with self.log.open("ab") as log:
            log.writelines(lines)

    def start_writer(self, **options: object) -> subprocess.Popen[bytes]:
        notes = self.directory / f"written-{len(self.writers)}"
        writer = subprocess.Popen(writer_command(self.log, notes, **options))
        self.writers.append(writer)
        return writer

    def wait_for_writers(self) -> None:
        for writer in self.writers:
            assert writer.wait(PATIENCE_SECONDS) == 0

    def stop_writers(self) -> None:
        """For those that write until they are told: SIGTERM, after the line under way."""
        for writer in self.writers:
            writer.terminate()
        self.wait_for_writers()

    @property
    def written(self) -> set[str]:
        return written_ids(*self.directory.glob("written-*"))

    def status(self) -> dict:
        return json.loads(self.run("status", "--json").stdout)

    def open_logs(self) -> list[str]:
        """The log files that the daemon has open, not their directory; deleted ones are marked so."""
        return list(self._open_logs().values())

    def read_bytes(self) -> int:
        """How far the daemon has read its log files, as far as it has them open."""
        assert self.daemon is not None
        total = 0
        for descriptor in self._open_logs():
            with contextlib.suppress(FileNotFoundError):
                about = Path(f"/proc/{self.daemon.pid}/fdinfo/{descriptor}").read_text()
                total += int(about.split("pos:", 1)[1].split()[0])
        return total

    def _open_logs(self) -> dict[str, str]:
        assert self.daemon is not None
        found = {}
        for descriptor in Path(f"/proc/{self.daemon.pid}/fd").iterdir():
            # It is another process: what it had open a moment ago may be closed by now.
            with contextlib.suppress(FileNotFoundError):
                found[descriptor.name] = os.readlink(descriptor)
        return {name: path for name, path in found.items() if path.startswith(f"{self.log.parent}/")}

    def clean_up(self) -> None:
        for process in (self.daemon, *self.writers):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(PATIENCE_SECONDS)


def hold_still(process: subprocess.Popen[Any]) -> None:
    """SIGSTOP, and it has stopped, or ended: what it was in the middle of is done."""
    process.send_signal(signal.SIGSTOP)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def free_port() -> int:
    """A port for a process that is yet to be started; none that the kernel may give to others meanwhile."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    """Real processes take real time; nothing but what is waited for ends the wait."""
    ends = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_seconds} s for {what}"
        time.sleep(0.02)
