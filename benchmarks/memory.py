"""How much memory the daemon takes over a long log: is it flat?

    python benchmarks/memory.py [--size 10G] [--server quick|slow|down]

The log is written as Kong does and rotated by rename; the oldest generation is deleted, so that the disk
holds no more than a few hundred megabytes of it. The writer waits for the daemon, or there would be nothing
to see but a backlog. `slow` answers each request after a second. With `down` nobody listens, and the outbox
drops its oldest batches when it is full.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from daemons import Daemon, daemon
from generate_log import LogGenerator, parse_size
from run import sink

_GENERATION_BYTES = 64_000_000
_AHEAD_BYTES = 96_000_000
_ROWS = 10
_SETTLE_SECONDS = 3.0


def main() -> int:
    """Write, watch and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=parse_size("10G"))
    parser.add_argument("--server", choices=("quick", "slow", "down"), default="quick")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-memory-") as name, ExitStack() as stack:
        folder = Path(name)
        logs = folder / "logs"
        logs.mkdir()
        log = logs / "ai.log"
        log.touch()
        url = "http://127.0.0.1:9"  # nobody listens there
        if options.server != "down":
            url = stack.enter_context(sink("--delay", "1" if options.server == "slow" else "0"))
        settings = ("[delivery]", 'on_full = "drop_oldest"', "outbox_max_bytes = 268435456")
        running = stack.enter_context(daemon(folder, [logs / "ai.log*"], url, *settings))
        time.sleep(_SETTLE_SECONDS)
        print(f"{'log':>10} {'RSS':>9} {'peak':>9}")
        write(log, options.size, running)
    return 0


def write(log: Path, size: int, running: Daemon) -> None:
    """The log, with a row for each tenth of it."""
    lines = LogGenerator(seed=1)
    read_before = running.bytes_read
    written, next_row = 0, size / _ROWS
    file = open(log, "ab", buffering=1 << 20)  # noqa: SIM115 - another one after each rotation
    while written < size:
        in_generation = 0
        while in_generation < _GENERATION_BYTES and written < size:
            in_generation += (length := file.write(next(lines)))
            written += length
            if written - (running.bytes_read - read_before) > _AHEAD_BYTES:
                file.flush()
                time.sleep(0.1)
            if written >= next_row:
                next_row += size / _ROWS
                print(
                    f"{written / 1e6:7.0f} MB {running.rss_bytes / 1e6:6.1f} MB"
                    f" {running.peak_rss_bytes / 1e6:6.1f} MB",
                    flush=True,
                )
        file.close()
        rotate(log)
        file = open(log, "ab", buffering=1 << 20)  # noqa: SIM115
    file.close()


def rotate(log: Path) -> None:
    """By rename; two generations are kept."""
    for number in (2, 1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.with_name(f"{log.name}.3").unlink(missing_ok=True)
    log.rename(log.with_name(f"{log.name}.1"))


if __name__ == "__main__":
    sys.exit(main())
