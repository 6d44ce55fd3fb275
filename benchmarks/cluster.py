"""Measure `backfill --dask` on this machine: one host alone, then 1, 2 and 4 workers, from an S3 server.

    PYTHONPATH=tests python benchmarks/cluster.py [--files 8] [--size 25M] [--repeats 1]

Scheduler, workers, the S3 server, the accepting server and the delivering host share the processors of this
machine: with two of them, no more than two workers can be worth anything. So the CPU time of the delivering
host is shown as well: it is what does not get less with more workers, and so the end of what a cluster gains.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from contestants import OTLP
from daemons import clean_environment
from dask_cluster import DaskCluster
from generate_log import generate, parse_size
from remote_servers import S3Server
from run import sink

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Take turns, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--size", type=parse_size, default=parse_size("25M"), help="of each file")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kong-ai-tracing-cluster-") as folder,
        S3Server() as s3,
        sink() as url,
    ):
        size = 0
        for number in range(options.files):
            log = Path(folder, "part.log")
            generate(log, options.size, number)
            size += log.stat().st_size
            s3.put(f"kong/ai.log.{number}", log.read_bytes())
        print(f"{options.files} objects, {size / 1e6:.0f} MB; {os.cpu_count()} processors\n")
        print(f"{'':<12} {'seconds':>8} {'MB/s':>6} {'CPU-s here':>11} {'CPU-s of workers':>17}")
        for workers in (0, 1, 2, 4):
            runs = [measure(Path(folder), s3, url, workers) for _ in range(options.repeats)]
            wall, here, there = (median(each) for each in zip(*runs, strict=True))
            name = f"{workers} worker{'s' * (workers > 1)}" if workers else "one host"
            print(f"{name:<12} {wall:8.1f} {size / 1e6 / wall:6.0f} {here:11.1f} {there:17.1f}", flush=True)
    return 0


def measure(folder: Path, s3: S3Server, url: str, workers: int) -> tuple[float, float, float]:
    """Seconds on the wall, and of CPU: of the host that delivers, and of all workers."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    config = place / "config.toml"
    config.write_text(
        f'langfuse_enabled = true\nlangfuse_endpoint = "{url}{OTLP}"\nstate_dir = "{place}/state"\n'
        '[delivery]\ncompression = "gzip"\n'
    )
    command = [sys.executable, "-m", "kong_ai_tracing", "backfill", "s3://archive/kong/", "-c", str(config)]
    environ = clean_environment() | s3.environ
    if not workers:
        return (*run(command, environ), 0.0)
    with DaskCluster(place, environ, workers=workers) as cluster:
        before = sum(cpu_seconds(worker.pid) for worker in cluster.workers)
        wall, here = run([*command, "--dask", cluster.address], environ)
        return wall, here, sum(cpu_seconds(worker.pid) for worker in cluster.workers) - before


def run(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    began = time.monotonic()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "a run that did not deliver is not measured"
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    sys.exit(main())
