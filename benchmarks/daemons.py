"""The real daemon as a process: start it, see what it uses, stop it."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STARTED = b"daemon.started"
_PATIENCE_SECONDS = 60.0


class Daemon:
    """A daemon that said that it started."""

    def __init__(self, process: subprocess.Popen[bytes], started_after_seconds: float) -> None:
        self.pid = process.pid
        self.started_after_seconds = started_after_seconds

    @property
    def cpu_seconds(self) -> float:
        """Of all threads, from the scheduler's own clock: /proc/PID/stat counts in hundredths only."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    @property
    def rss_bytes(self) -> int:
        return self._status("VmRSS")

    @property
    def peak_rss_bytes(self) -> int:
        return self._status("VmHWM")

    @property
    def bytes_read(self) -> int:
        """From files, all in all."""
        facts = dict(line.split(": ") for line in Path(f"/proc/{self.pid}/io").read_text().splitlines())
        return int(facts["rchar"])

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


@contextmanager
def daemon(folder: Path, patterns: list[Path], url: str | None = None, *more: str) -> Iterator[Daemon]:
    """A daemon that follows these logs, with a state of its own in `folder`."""
    paths = ", ".join(f'"{path}"' for path in patterns)
    lines = [f"log_paths = [{paths}]", f'state_dir = "{folder / "state"}"']
    if url is not None:
        lines += ["langfuse_enabled = true", f'langfuse_endpoint = "{url}"']
    config = folder / "daemon.toml"
    config.write_text("\n".join([*lines, *more]) + "\n")
    command = [sys.executable, "-m", "kong_ai_tracing", "run", "--config", str(config)]
    began = time.monotonic()
    with (
        open(folder / "messages", "wb") as messages,
        subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=clean_environment()
        ) as process,
    ):
        try:
            messages.write(_wait_until_started(process))
            yield Daemon(process, time.monotonic() - began)
        finally:
            process.terminate()
            messages.write(process.communicate()[1])


def clean_environment() -> dict[str, str]:
    """Nothing of this shell's own settings reaches a process; the keys are not real.

    With PYTHONDONTWRITEBYTECODE, which is set in many containers, each start of a checkout would compile
    everything anew, which no installed package does: nearly half of a start.
    """
    ours = ("KONG_AI_TRACING_", "LANGFUSE_", "NOTIFY_SOCKET", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"LANGFUSE_PUBLIC_KEY": "pk-lf-test", "LANGFUSE_SECRET_KEY": "sk-lf-test"}


def _wait_until_started(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    said = b""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while _STARTED not in said:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            part = os.read(process.stderr.fileno(), 65536) if ready else b""
            if not part:
                process.kill()
                raise SystemExit(f"the daemon did not start:\n{said.decode(errors='replace')[-2000:]}")
            said += part
    return said
