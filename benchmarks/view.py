"""How quickly `view` answers over a store of many calls, and what writing them costs.

    python benchmarks/view.py [--calls 1000000] [--store PATH]

Calls are written as the daemon writes them, into a store without a limit; with `--store` the file stays, and
is used again. Then the real command serves it, and each page is asked for over HTTP. "Cold" is the first page
of a new process after the file was dropped from the page cache, as far as the system does that.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import orjson

from kong_ai_tracing.calls import Context, Observation
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.localrecords import encode, join
from kong_ai_tracing.localstore import FILE_NAME, LocalStore
from kong_ai_tracing.spans import Span

BATCH = 500
SPREAD_MS = 7 * 86_400_000
ROUNDS = 7
MODELS = (
    ("openai", "gpt-4o-mini", 60),
    ("openai", "gpt-4o", 25),
    ("anthropic", "claude-sonnet-4", 10),
    ("mistral", "mistral-large", 4),
    ("ollama", "llama3.2", 1),
)
SERVICES = ("support", "search", "orders", "copilot", "batch")
PAGES = {
    "list": "/",
    "list, page 2": "/?after={cursor}",
    "list, page in the middle": "/?after={middle}~500000",
    "last 24 hours": "/?range=24h",
    "model": "/?model=gpt-4o-mini",
    "rare model": "/?model=llama3.2",
    "user": "/?user=user-17",
    "model and user": "/?model=gpt-4o&user=user-17",
    "status": "/?status=error",
    "status and service": "/?status=error&service=search",
    "three filters": "/?model=gpt-4o&service=orders&environment=production",
    "nothing found": "/?model=llama3.2&user=user-17&service=batch&status=warning",
    "by latency": "/?sort=latency",
    "by latency, model": "/?sort=latency&model=gpt-4o",
    "by latency, status": "/?sort=latency&status=error",
    "by tokens, service": "/?sort=tokens&service=search",
    "by cost, user": "/?sort=cost&user=user-17",
    "by cost, last hour": "/?sort=cost&range=1h",
    "smallest latency, rare model": "/?sort=latency&up=1&model=llama3.2",
    "search, frequent word": "/?q=parcel",
    "search, rare word": "/?q=needle700",
    "search, two words, model": "/?q=parcel+invoice&model=gpt-4o",
    "search, by cost": "/?q=parcel&sort=cost",
}
OVERVIEWS = {
    "overview, 24 hours": "/overview?range=24h",
    "overview, all": "/overview?range=all",
    "overview, all, by user": "/overview?range=all&by=user",
}


def span(number: int, started_ms: int, chance: random.Random, words: list[str]) -> Span:
    [(provider, model, _)] = chance.choices(MODELS, [weight for *_, weight in MODELS])
    failed = chance.random() < 0.04
    service = chance.choice(SERVICES)
    asked = " ".join(chance.choices(words, k=60)) + (f" needle{number % 1000}" if number % 100 == 0 else "")
    tokens = {"input": chance.randint(20, 3000), "output": 0 if failed else chance.randint(5, 900)}
    context = Context(
        trace_id=f"{number:032x}",
        shared=False,
        trace_name=f"{service}-chat",
        environment="production" if chance.random() < 0.9 else "staging",
        user_id=f"user-{int(chance.paretovariate(0.7)) % 20_000}",
        session_id=f"session-{number // 6}",
    )
    latency = int(chance.lognormvariate(7, 0.8))
    said = Observation(
        type="generation",
        name=f"chat {model}",
        started_at_ms=started_ms,
        ended_at_ms=started_ms + latency,
        level="ERROR" if failed else "DEFAULT",
        status_message="HTTP 429 Too Many Requests" if failed else None,
        provider=provider,
        model=model,
        model_parameters={"temperature": 0.2},
        input=orjson.dumps([{"role": "system", "content": "Be kind."}, {"role": "user", "content": asked}]),
        output=None
        if failed
        else orjson.dumps({"role": "assistant", "content": " ".join(chance.choices(words, k=40))}),
        usage_details=tokens | {"total": sum(tokens.values())},
        cost_details={"total": sum(tokens.values()) * 1e-6},
        metadata={
            "kong_request_id": f"{number:032x}",
            "kong_service": service,
            "kong_route": f"{service}-chat",
            "status_code": 429 if failed else 200,
            "kong_latency_ms": 4,
            "proxy_latency_ms": latency // 2,
            "receive_latency_ms": latency // 2,
        },
        origin=Origin("/var/log/kong-ai/ai.log", 1, number * 2000, 2000),
    )
    return Span(context.trace_id, f"{number:016x}", None, context, said)


def fill(path: Path, calls: int) -> None:
    chance = random.Random(7)
    words = ["parcel", "invoice", "refund", *(f"w{chance.getrandbits(40):x}" for _ in range(8000))]
    store = LocalStore(path, max_age_seconds=1e9, max_bytes=1 << 40)
    first_ms = int(time.time() * 1000) - SPREAD_MS
    cpu = wall = 0.0
    for first in range(0, calls, BATCH):
        numbers = range(first, min(first + BATCH, calls))
        body = join(
            [encode(span(each, first_ms + each * SPREAD_MS // calls, chance, words)) for each in numbers]
        )
        started_cpu, started = time.process_time(), time.perf_counter()
        store.write(body)
        cpu += time.process_time() - started_cpu
        wall += time.perf_counter() - started
    bytes_a_call = store.size_bytes() / calls
    store.close()
    print(
        f"written: {calls:,} calls, {wall / calls * 1e6:.0f} µs a call ({cpu / calls * 1e6:.0f} µs CPU),"
        f" {bytes_a_call:,.0f} bytes a call on disk"
    )


def forget(path: Path) -> None:
    """Drop the file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def measure(path: Path) -> None:
    forget(path)
    environment = {
        **os.environ,
        "KONG_AI_TRACING_STATE_DIR": str(path.parent),
        "KONG_AI_TRACING_CONFIG": os.devnull,
    }
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "kong_ai_tracing", "view"], stdout=subprocess.PIPE, env=environment, text=True
    ) as viewer:
        assert viewer.stdout is not None
        link = viewer.stdout.readline().strip()
        try:
            with httpx.Client(base_url=link.split("/?")[0], timeout=120) as client:
                client.get(link)
                before = time.perf_counter()
                first = client.get("/")
                cold, since_start = time.perf_counter() - before, time.perf_counter() - started
                print(f"cold: first page {cold * 1000:.0f} ms; {since_start:.2f} s from the command on")
                report(client, cursor_of(first.text))
        finally:
            viewer.terminate()


def cursor_of(html: str) -> str:
    return html.split("after=")[1].split('"')[0]


def report(client: httpx.Client, cursor: str) -> None:
    middle = str(int(time.time() * 1000) - SPREAD_MS // 2)
    medians = []
    for name, address in {**PAGES, **OVERVIEWS}.items():
        took = []
        for _ in range(ROUNDS if name in PAGES else 3):
            before = time.perf_counter()
            answer = client.get(address.format(cursor=cursor, middle=middle))
            took.append((time.perf_counter() - before) * 1000)
            assert answer.status_code == 200, (name, answer.status_code)
        rows = answer.text.count('<tr id="t')
        print(f"{name:32} median {statistics.median(took):7.1f} ms  worst {max(took):7.1f} ms  {rows:3} rows")
        if name in PAGES:
            medians.append(statistics.median(took))
    print(f"median of all lists: {statistics.median(medians):.1f} ms, slowest {max(medians):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument(
        "--store", type=Path, help="keep the store in this folder, or use the one that is there"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = (arguments.store or Path(folder)) / FILE_NAME
        if not path.exists():
            fill(path, arguments.calls)
        measure(path)


if __name__ == "__main__":
    main()
