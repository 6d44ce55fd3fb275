"""How fast the daemon starts, and what it uses while nothing happens."""

from __future__ import annotations

import time
from pathlib import Path

from daemons import daemon

_SETTLE_SECONDS = 3.0
_STARTS = 5


def measure_idle(folder: Path, seconds: float) -> str:
    """One sentence of figures: the quickest of some starts, then memory and CPU at rest."""
    log = folder / "idle.log"
    log.touch()
    starts = []
    for number in range(_STARTS):
        with daemon(folder, [log]) as running:
            starts.append(running.started_after_seconds)
            if number == _STARTS - 1:
                time.sleep(_SETTLE_SECONDS)
                used, began = running.cpu_seconds, time.monotonic()
                time.sleep(seconds)
                share = (running.cpu_seconds - used) / (time.monotonic() - began)
                rss = running.rss_bytes
    return (
        f"the daemon starts in {min(starts):.2f} s (slowest of {_STARTS}: {max(starts):.2f} s) "
        f"and idles at {rss / 1e6:.1f} MB and {share * 100:.2f} % of a core over {seconds:.0f} s"
    )
