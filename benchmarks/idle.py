"""How fast the daemon starts, and what it uses while nothing happens."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

_STARTED = b"daemon.started"
_PATIENCE_SECONDS = 10.0
_SETTLE_SECONDS = 3.0
_STARTS = 5


def measure_idle(folder: Path, seconds: float, environment: dict[str, str]) -> str:
    """One sentence of figures: the quickest of some starts, then memory and CPU at rest."""
    log = folder / "idle.log"
    log.touch()
    config = folder / "idle.toml"
    config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{folder / "idle-state"}"\n')
    command = [sys.executable, "-m", "kong_ai_tracing", "run", "--config", str(config)]
    starts = []
    for number in range(_STARTS):
        began = time.monotonic()
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment
        ) as process:
            _wait_until_started(process)
            starts.append(time.monotonic() - began)
            if number == _STARTS - 1:
                time.sleep(_SETTLE_SECONDS)
                rss, share = _watch(process.pid, seconds)
            process.terminate()
            process.communicate()
    return (
        f"daemon: started after {min(starts):.2f} s (slowest of {_STARTS}: {max(starts):.2f} s), "
        f"idle {rss / 1e6:.1f} MB RSS, {share * 100:.2f} % of a core over {seconds:.0f} s"
    )


def _wait_until_started(process: subprocess.Popen[bytes]) -> None:
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


def _watch(pid: int, seconds: float) -> tuple[int, float]:
    before = _cpu_seconds(pid)
    began = time.monotonic()
    time.sleep(seconds)
    share = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE"), share


def _cpu_seconds(pid: int) -> float:
    """Of all threads, from the scheduler's own clock: /proc/PID/stat counts in hundredths only."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
