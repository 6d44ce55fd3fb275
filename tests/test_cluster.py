"""History read by a Dask cluster of real processes: what arrives is what one host would have sent."""

from __future__ import annotations

import gzip
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dask_cluster import DaskCluster
from kong_ai_tracing import otlp
from kong_ai_tracing.archives import Archives
from kong_ai_tracing.batches import Batch
from kong_ai_tracing.cluster import work
from kong_ai_tracing.cluster.jobs import Groups, Job, Part, Reading, Stretch, without_keys
from kong_ai_tracing.config import Config
from kong_ai_tracing.lineworker import Blueprint
from kong_ai_tracing.secret import Secret
from kong_ai_tracing.selection import Selection
from kong_host import PROGRAM, Host, wait_until
from kong_writer import kong_line
from langfuse_server import FakeLangfuse
from remote_servers import SECRET_KEY, S3Server
from test_backfill import as_sent

SETTINGS = ("[delivery]", "batch_max_bytes = 50000")


class Sent(NamedTuple):
    spans: dict[str, dict[str, Any]]
    account: list[str]


LINES = 3_000
SECRET_WORD = "writer"
"""Stands in every prompt."""


def lines(writer: int) -> list[bytes]:
    """Of one of four hosts over the same hours: every third call stands alone, others share traces."""
    made = []
    for seq in range(writer, LINES, 4):
        line = kong_line(writer, seq, 200, shared=True)
        if seq % 3 == 0:
            line = line.replace(b'"traceparent"', b'"x-other"').replace(b'"x-message-id"', b'"x-other"')
        made.append(line)
    return made


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """Four hosts, each with a plain and a compressed file."""
    with S3Server() as server:
        for writer in range(4):
            made = lines(writer)
            half = len(made) // 2
            server.put(f"host-{writer}/ai.log.1.gz", gzip.compress(b"".join(made[:half]), 1))
            server.put(f"host-{writer}/ai.log", b"".join(made[half:]) + b"not json\n")
        yield server


@pytest.fixture(scope="module")
def alone(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """What one host sends of it, and its account."""
    with FakeLangfuse() as langfuse:
        host = Host(tmp_path_factory.mktemp("alone"), langfuse)
        host.environ |= s3.environ
        host.configure(langfuse, *SETTINGS)
        host.environ |= s3.environ
        result = host.run("backfill", "s3://archive/")
        assert result.returncode == 0, result.stderr
        return Sent(as_sent(langfuse.spans), result.stdout.splitlines()[:4])


@pytest.fixture
def cluster_host(host: Host, s3: S3Server, langfuse: FakeLangfuse) -> Host:
    host.configure(langfuse, *SETTINGS)
    host.environ |= s3.environ
    return host


def calls(spans: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The trace of each call; roots are named otherwise."""
    return {name: span["traceId"] for name, span in spans.items() if span["name"].startswith("chat")}


def start(host: Host, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "backfill", "s3://archive/", *arguments, "--config", str(host.config)],
        env=host.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_that_loses_a_worker_sends_what_one_host_would_send(
    cluster_host: Host, s3: S3Server, langfuse: FakeLangfuse, alone: Sent
) -> None:
    """Every span is the same, and the account adds up; nobody tells of content or keys."""
    with DaskCluster(cluster_host.directory, s3.environ, workers=2) as cluster:
        langfuse.script("200,hold*")  # so that there is work left for the others
        process = start(cluster_host, "--dask", cluster.address, "--rate", "2000")
        wait_until(lambda: bool(langfuse.spans), "the first spans")
        cluster.workers[0].kill()
        wait_until(lambda: "Remove worker" in cluster.said("scheduler"), "its end to be seen")
        langfuse.script("")
        output, errors = process.communicate(timeout=300)
        said = cluster.said() + cluster.said("scheduler") + errors
    assert process.returncode == 0, errors
    assert as_sent(langfuse.spans) == alone.spans
    assert output.splitlines()[:4] == alone.account
    for secret in (SECRET_KEY, "sk-lf-test", SECRET_WORD):
        assert secret not in said
    assert "Traceback" not in errors  # the scheduler may show its own, about a connection that broke


def test_a_run_that_was_killed_goes_on(
    cluster_host: Host, s3: S3Server, langfuse: FakeLangfuse, alone: Sent
) -> None:
    """With the files that were not settled. The time of the log begins anew, so a trace may be parted into
    other groups; its calls are all there."""
    with DaskCluster(cluster_host.directory, s3.environ, workers=1) as cluster:
        langfuse.script("200*3,hang*")  # so that it cannot come to its end before it is killed
        process = start(cluster_host, "--dask", cluster.address, "--rate", "200")
        wait_until(lambda: len({span["request"] for span in langfuse.spans}) == 3, "a part of it")
        process.kill()
        process.communicate(timeout=90)
        langfuse.script("")
        assert len(langfuse.spans) < len(alone.spans), "it was killed after the work was done"
        process = start(cluster_host, "--dask", cluster.address)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors  # the account adds up
    assert calls(as_sent(langfuse.spans)) == calls(alone.spans)


def test_a_cluster_that_cannot_be_used_is_said(cluster_host: Host, tmp_path: Path) -> None:
    """Nothing is begun then."""
    result = cluster_host.run("backfill", "s3://archive/", "--dask", "tcp://127.0.0.1:9", "--dry-run")
    assert result.returncode == 1
    assert "no scheduler answers at tcp://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def carried(archives: Archives, *, stretch_bytes: int, forgetful: bool = False) -> tuple[dict[str, Any], int]:
    """All spans by id, and how many tasks it took, by the functions of the workers in this process."""
    config = Config(langfuse_enabled=True, state_dir=Path("/none"))
    job = Job("job", Blueprint(config, None, Selection()), 3, None, stretch_bytes)
    work.Posting(job).setup(None)
    groups, now_ms, spans, tasks = [Groups() for _ in range(job.partitions)], 0, {}, 0

    def take(batches: list[Batch]) -> None:
        for batch in batches:
            for span in otlp.parsed(batch.body.unpack().data) if batch.body else ():
                spans[span["spanId"]] = span

    for share in archives.by_content():
        stretch: Stretch | None = Stretch(share)
        while stretch is not None:
            if forgetful:
                work.let_go("job")
            reading = work.read("job", stretch)
            tasks += 1
            outline = work.outline_of(reading)
            take(outline.batches)
            times = [(now_ms, max(now_ms, outline.now_ms))]
            now_ms = times[0][1]
            for number, state in enumerate(groups):
                grouped = work.group("job", state, times, [work.part_of(reading, number)], False)
                groups[number] = grouped.groups
                take(grouped.batches)
            stretch = outline.rest
    for state in groups:
        take(work.group("job", state, [], [], True).batches)
    return spans, tasks


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_file_may_be_read_in_many_tasks(tmp_path: Path, forgetful: bool) -> None:
    """By one worker or by one after the other: where one ended the next one begins, in compressed content,
    too."""
    for writer in range(3):
        content = b"".join(lines(writer))
        (tmp_path / f"ai.log.{writer}").write_bytes(gzip.compress(content) if writer else content)

    def archives() -> Archives:
        return Archives(sorted(tmp_path.iterdir()), (), max_line_bytes=1 << 20)

    whole, tasks = carried(archives(), stretch_bytes=1 << 30)
    assert len(whole) > 3 * LINES // 4
    assert tasks == 3
    in_parts, tasks = carried(archives(), stretch_bytes=1 << 20, forgetful=forgetful)
    assert in_parts == whole
    assert tasks > 3


def test_nothing_that_travels_shows_what_it_holds() -> None:
    """Dask writes arguments and results of what failed into logs."""
    config = Config(langfuse_secret_key=Secret("sk-lf-geheim"), langfuse_public_key=Secret("pk-lf-geheim"))
    job = Job("job", Blueprint(without_keys(config), None, Selection()), 2, None)
    assert repr(job) == "Job()"
    assert b"geheim" not in pickle.dumps(job)
    for each in (Groups(b"geheim"), Part(b"geheim", 1), Stretch(()), Reading(None, [])):  # type: ignore[arg-type]
        assert "geheim" not in repr(each)


def test_a_failure_on_a_worker_tells_no_content() -> None:
    """Only where it was, unless its words are meant for an operator."""

    def fail() -> None:
        raise ValueError("the prompt")

    with pytest.raises(work.WorkerError, match=r"^ValueError at .*test_cluster\.py:\d+$") as caught:
        work._told(fail)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
