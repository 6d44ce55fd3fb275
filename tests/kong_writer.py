"""Kong's side of a log file, as processes of their own: a writer and a rotator.

    python tests/kong_writer.py write LOG --written IDS --writer 1 --lines 1000 --rate 200 [--reopen]
    python tests/kong_writer.py rotate LOG --how numbered --every 0.5 --times 4

The writer appends lines as Kong's `file-log` does: one write(2) per line on a descriptor opened with
O_APPEND, kept open as Kong's workers keep it (`reopen=false`) or opened anew for each line. Request ids are
computed from the writer's and the line's number, and each is noted in IDS once its write has returned, so
that `lost_and_found` can compare what was written with what arrived. SIGHUP makes the writer open the
path again, as `kong reload` does.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import itertools
import json
import lzma
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

START_MS = 1_795_420_248_000
SHARED_START_MS = 1_750_000_000_000
SHARED_STEP_MS = 20
"""Between the starts of two lines of a writer whose calls share traces."""
LATE_BLOCKS = {5: 10, 14: 50}
"""Place within a block of 15 calls → so many blocks (300 ms each) earlier its trace began: 3 s and 15 s."""
FORMS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".zst": zstd.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
ROTATIONS = ("create", "copytruncate", "nocreate", "numbered")


def request_id(writer: int, seq: int) -> str:
    """Kong's 32 hex digits, the same for the same line at all times."""
    return sha256(f"{writer}/{seq}".encode()).hexdigest()[:32]


def observation_id(writer: int, seq: int) -> str:
    """The id under which this line's call must arrive."""
    return sha256(request_id(writer, seq).encode()).hexdigest()[:16]


def shared_trace(seq: int) -> int:
    """The number of the trace of a call, when calls share traces: groups of 1 to 5, some of them late."""
    block, place = divmod(seq, 15)
    group = next(size for size in range(5) if place < (size + 1) * (size + 2) // 2)
    late = LATE_BLOCKS.get(place, 0)
    return (block - late if block >= late else block) * 5 + group


def shared_headers(trace: int) -> dict[str, str]:
    """How the caller names a trace: a traceparent, or the id of a chat message."""
    digest = sha256(f"trace/{trace}".encode()).hexdigest()
    if trace % 2:
        return {"x-message-id": digest[:32]}
    return {"traceparent": f"00-{digest[:32]}-{digest[32:48]}-01"}


def shared_trace_id(trace: int) -> str:
    """The id under which the calls of a trace must arrive."""
    digest = sha256(f"trace/{trace}".encode()).hexdigest()[:32]
    return sha256(digest.encode()).hexdigest()[:32] if trace % 2 else digest


def kong_line(
    writer: int, seq: int, padding_bytes: int = 0, *, shared: bool = False, service: str = "openai-gw"
) -> bytes:
    """One chat call through ai-proxy. Its length varies, and every seventh has text beyond ASCII."""
    prompt = f"writer {writer} line {seq} " + "word " * (seq % 50) + "x" * padding_bytes
    answer = "Grüße 😀" if seq % 7 == 0 else "Hello"
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]}
    response = {
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    started_at, duration_ms = START_MS + seq, 412
    if shared:
        # Longer calls began before shorter ones that stand above them in the log.
        duration_ms += 300 * ((seq + writer) % 5)
        started_at = SHARED_START_MS + seq * SHARED_STEP_MS - duration_ms
    line = {
        "request": {
            "id": request_id(writer, seq),
            "method": "POST",
            "uri": "/ai/chat",
            "url": "http://ai.example.com:8000/ai/chat",
            "headers": {
                "host": "ai.example.com",
                "x-user-id": f"user-{writer}",
                "content-type": "application/json",
                **(shared_headers(shared_trace(seq)) if shared else {}),
            },
            "querystring": {},
            "size": 300,
        },
        "response": {"status": 200, "size": 900, "headers": {"content-type": "application/json"}},
        "upstream_uri": "/v1/chat/completions",
        "upstream_status": 200,
        "source": "upstream",
        "latencies": {"request": duration_ms, "proxy": 405, "kong": 7, "receive": 0},
        "tries": [{"ip": "162.159.140.245", "port": 443, "balancer_start": START_MS, "balancer_latency": 0}],
        "service": {"name": service, "host": "localhost", "port": 32000},
        "route": {"name": "openai-chat", "paths": ["/ai/chat"]},
        "client_ip": "10.42.0.17",
        "started_at": started_at,
        "ai": {
            "proxy": {
                "meta": {
                    "provider_name": "openai",
                    "request_model": "gpt-4o-mini",
                    "response_model": "gpt-4o-mini-2024-07-18",
                    "llm_latency": 405,
                    "plugin_id": "9f8634f0-b28d-43df-8cef-01140e5c762e",
                },
                "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cost": 0},
                "payload": {
                    "request": json.dumps(request),
                    "response": json.dumps(response, ensure_ascii=False),
                },
            }
        },
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/").encode() + b"\n"


def write(options: argparse.Namespace) -> None:
    """Append lines until all are written or SIGTERM comes; the line under way is finished first."""
    stopping, reload = [], []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGHUP, lambda *_: reload.append(1))
    notes = os.open(options.written, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    log = _open_log(options.log)
    began = time.monotonic()
    for number, seq in enumerate(range(options.first, options.first + options.lines)):
        if stopping:
            break
        if options.reopen or reload:
            os.close(log)
            log = _open_log(options.log)
            reload.clear()
        line = kong_line(options.writer, seq, options.padding, shared=options.shared, service=options.service)
        os.write(log, line)
        os.write(notes, f"{options.writer} {seq}\n".encode())
        if options.rate:
            time.sleep(max(0.0, began + (number + 1) / options.rate - time.monotonic()))
    os.close(log)
    os.close(notes)


def rotate(log: Path, how: str, keep: int = 50) -> None:
    """One rotation, as logrotate does it."""
    if how == "copytruncate":
        _shift(log, keep)
        log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
    elif how == "numbered":
        _shift(log, keep)
        log.rename(f"{log}.1")
        os.close(_open_log(log))
    else:
        log.rename(f"{log}-{time.time_ns()}")
        if how == "create":
            os.close(_open_log(log))


def _shift(log: Path, keep: int) -> None:
    """`.1` becomes `.2` and so on; what would be more than `keep` is deleted."""
    for number, suffix in itertools.product(range(keep, 0, -1), ("", *FORMS)):
        old = log.with_name(f"{log.name}.{number}{suffix}")
        if old.exists():
            younger = log.with_name(f"{log.name}.{number + 1}{suffix}")
            old.unlink() if number == keep else old.rename(younger)


def compress(rotated: Path, form: str = ".gz") -> None:
    """As logrotate does: whole under its name, then the plain one goes."""
    unfinished = rotated.with_name(f".{rotated.name}.unfinished")
    unfinished.write_bytes(FORMS[form](rotated.read_bytes()))
    status = rotated.stat()
    os.utime(unfinished, ns=(status.st_atime_ns, status.st_mtime_ns))
    unfinished.rename(f"{rotated}{form}")
    rotated.unlink()


def _open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


@dataclass
class LostAndFound:
    """What became of the lines that were written, by observation id."""

    missing: set[str] = field(default_factory=set)
    spurious: set[str] = field(default_factory=set)
    repeated: dict[str, int] = field(default_factory=dict)
    """Received more than once, always with the same start: harmless after a crash."""
    doubled: set[str] = field(default_factory=set)
    """Received with different starts: counted twice for good. Must never be."""

    @property
    def nothing_lost(self) -> bool:
        return not (self.missing or self.spurious or self.doubled)

    def __str__(self) -> str:
        return (
            f"{len(self.missing)} missing, {len(self.spurious)} spurious, "
            f"{len(self.repeated)} repeated, {len(self.doubled)} doubled"
        )


def written_ids(*notes: Path) -> set[str]:
    """The observation ids of all lines whose write returned."""
    lines = (line.split() for note in notes if note.exists() for line in note.read_text().splitlines())
    return {observation_id(int(writer), int(seq)) for writer, seq in lines}


def received_spans(record: Path) -> Iterator[dict[str, Any]]:
    """The spans that the fake Langfuse wrote down."""
    if record.exists():
        yield from map(json.loads, record.read_text().splitlines())


def lost_and_found(written: set[str], received: Iterable[dict[str, Any]]) -> LostAndFound:
    """Compare ids written with spans received."""
    times: Counter[str] = Counter()
    starts: dict[str, set[int]] = {}
    for span in received:
        times[span["spanId"]] += 1
        starts.setdefault(span["spanId"], set()).add(span["startTimeUnixNano"])
    return LostAndFound(
        missing=written - times.keys(),
        spurious=times.keys() - written,
        repeated={each: count for each, count in times.items() if count > 1},
        doubled={each for each, known in starts.items() if len(known) > 1},
    )


def writer_command(log: Path, written: Path, **options: Any) -> list[str]:
    """The command line of a writer process: `writer_command(log, ids, writer=2, lines=500, reopen=True)`."""
    return [*_command("write", log, options), "--written", str(written)]


def rotator_command(log: Path, **options: Any) -> list[str]:
    """The command line of a rotator process: `rotator_command(log, how="create", every=0.2, times=5)`."""
    return _command("rotate", log, options)


def _command(name: str, log: Path, options: dict[str, Any]) -> list[str]:
    words = [sys.executable, __file__, name, str(log)]
    for option, value in options.items():
        if value is False:
            continue
        words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return words


def main() -> None:
    """Run one of the two processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="append lines")
    writing.add_argument("log", type=Path)
    writing.add_argument("--written", type=Path, required=True, help="where the ids are noted")
    writing.add_argument("--writer", type=int, default=1, help="this writer's number, part of each id")
    writing.add_argument("--first", type=int, default=0, help="number of the first line")
    writing.add_argument("--lines", type=int, default=1000)
    writing.add_argument("--rate", type=float, default=0, help="lines per second; 0: as fast as possible")
    writing.add_argument("--padding", type=int, default=0, help="more bytes in each prompt")
    writing.add_argument("--reopen", action="store_true", help="open and close around each line")
    writing.add_argument("--service", default="openai-gw", help="name of the Kong service")
    writing.add_argument("--shared", action="store_true", help="let groups of 1 to 5 calls share a trace")
    rotating = commands.add_parser("rotate", help="rotate the log some times")
    rotating.add_argument("log", type=Path)
    rotating.add_argument("--how", choices=ROTATIONS, default="create")
    rotating.add_argument("--every", type=float, default=0.5, help="seconds between rotations")
    rotating.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    if options.command == "write":
        write(options)
        return
    for _ in range(options.times):
        time.sleep(options.every)
        if options.log.exists():
            rotate(options.log, options.how)


if __name__ == "__main__":
    main()
