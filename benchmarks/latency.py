"""From a line's end in the log to its request at the server, at a steady rate.

    python benchmarks/latency.py [--rate 500] [--seconds 60]

A writer appends calls as Kong does, each marked by its number; the real daemon follows the log; a server
notes when each number arrives. Calls that name a trace of their own wait for company, so they are told apart.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from daemons import daemon
from generate_log import LogGenerator

_USER = re.compile(rb"user-\d{5}")
_DURATION = re.compile(rb'"latencies":\{"request":(\d+)')
_STARTED = re.compile(rb'"started_at":\d+')
_MARK = re.compile(rb"user-(\d{9})")
_SETTLE_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0
_NEVER = -1.0


class Arrivals:
    """When each call was seen first."""

    def __init__(self, calls: int) -> None:
        self.at = array("d", [_NEVER]) * calls
        self.left = calls
        self.requests = 0
        self._lock = threading.Lock()
        self.all_there = threading.Event()

    def note(self, body: bytes) -> None:
        now = time.monotonic()
        with self._lock:
            self.requests += 1
            for mark in _MARK.findall(body):
                number = int(mark)
                if self.at[number] == _NEVER:
                    self.at[number] = now
                    self.left -= 1
            if not self.left:
                self.all_there.set()


def serve(arrivals: Arrivals) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b'{"version":"4.16.0"}')

        def do_POST(self) -> None:
            arrivals.note(self.rfile.read(int(self.headers["content-length"])))
            self._answer(b"{}")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def write(log: Path, rate: float, calls: int) -> None:
    """Append calls at this rate; prints for each when its end was written, and whether it names a trace."""
    lines = (line for line in LogGenerator(seed=1) if _USER.search(line))
    written = []
    with open(log, "ab", buffering=0) as file:
        began = time.monotonic()
        for number in range(calls):
            line = _ended_now(_USER.sub(b"user-%09d" % number, next(lines)))
            waits = began + number / rate - time.monotonic()
            if waits > 0:
                time.sleep(waits)
            file.write(line)
            named = b'"traceparent"' in line or b'"x-message-id"' in line
            written.append((time.monotonic(), named))
    sys.stdout.writelines(f"{at!r} {int(named)}\n" for at, named in written)


def _ended_now(line: bytes) -> bytes:
    """The same line of a call that ends as it is written."""
    duration = _DURATION.search(line)
    assert duration is not None
    return _STARTED.sub(b'"started_at":%d' % (time.time() * 1000 - int(duration[1])), line)


class Measured(NamedTuple):
    """What one run showed."""

    alone: list[float]
    """Seconds, in rising order, for calls that name no trace."""
    named: list[float]
    rate: float
    requests: float
    """A second."""
    cpu: float
    """The daemon's, as part of a core."""


def measure(rate: float, seconds: float) -> Measured:
    """Let the daemon follow a log that grows at this rate."""
    calls = int(rate * seconds)
    arrivals = Arrivals(calls)
    with tempfile.TemporaryDirectory(prefix="kong-ai-tracing-latency-") as folder:
        log = Path(folder, "ai.log")
        log.touch()
        server = serve(arrivals)
        url = f"http://127.0.0.1:{server.server_port}"
        with daemon(Path(folder), [log], url, "[delivery]", 'compression = "none"') as running:
            time.sleep(_SETTLE_SECONDS)
            used, began = running.cpu_seconds, time.monotonic()
            command = [sys.executable, __file__, "--write", str(log), str(rate), str(calls)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            if not arrivals.all_there.wait(_PATIENCE_SECONDS):
                raise SystemExit(f"{arrivals.left} of {calls} calls did not arrive")
            lasted = time.monotonic() - began
            cpu = (running.cpu_seconds - used) / lasted
        server.shutdown()
    alone, named = [], []
    times = []
    for number, line in enumerate(said.splitlines()):
        at, names_trace = line.split()
        times.append(float(at))
        (named if names_trace == "1" else alone).append(arrivals.at[number] - float(at))
    rate = (calls - 1) / (times[-1] - times[0])
    return Measured(sorted(alone), sorted(named), rate, arrivals.requests / lasted, cpu)


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=500, help="calls a second")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    alone, named, rate, requests, cpu = measure(options.rate, options.seconds)
    print(f"{len(alone) + len(named)} calls, {rate:.0f} a second, in {requests:.1f} requests a second")
    print(f"the daemon took {cpu:.1%} of a core, load {Path('/proc/loadavg').read_text().split()[0]}")
    print(f"{'':<28} {'calls':>7} {'median':>8} {'p99':>8} {'longest':>8}")
    for name, waits in (("all", sorted(alone + named)), ("alone", alone), ("that name a trace", named)):
        if waits:
            cells = (waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1])
            print(f"{name:<28} {len(waits):7}" + "".join(f" {cell:6.2f} s" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
