"""A Dask cluster of processes on this machine: a scheduler and workers that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kong_host import free_port, wait_until


class DaskCluster:
    """The scheduler and its workers write what they say into `directory`."""

    def __init__(self, directory: Path, environ: Mapping[str, str], *, workers: int) -> None:
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._directory = directory
        self._environ = {**os.environ, **environ}
        self._count = workers
        self.workers: list[subprocess.Popen[bytes]] = []
        self._scheduler = self._start(
            "scheduler", "dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"
        )
        for _ in range(workers):
            self.add_worker()

    def __enter__(self) -> Self:
        wait_until(lambda: self.said("scheduler").count("Register worker") >= self._count, "workers")
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait(90)

    def add_worker(self) -> None:
        more = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "1GiB")
        directory = self._directory / "local"
        more += ("--local-directory", str(directory))
        self.workers.append(self._start("workers", "dask_worker", self.address, *more))

    def said(self, who: str = "workers") -> str:
        return (self._directory / f"{who}.log").read_text()

    def _start(self, log: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                env=self._environ,
                stdout=output,
                stderr=output,
            )
