"""A backfill whose lines are read in several processes: the same spans, whoever of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing import lineprocesses, lineworker
from kong_ai_tracing.archives import Archives
from kong_ai_tracing.config import Config
from kong_ai_tracing.lineprocesses import LostProcessError, ReadAhead
from kong_ai_tracing.linereader import ReadChunk
from kong_ai_tracing.lines import OversizedLine
from kong_ai_tracing.lineworker import Blueprint
from kong_ai_tracing.selection import Selection
from kong_ai_tracing.storestatus import read_status
from kong_host import PROGRAM, Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse


def without_arrival(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of their ids; of one id the versions in the order in which they were sent."""
    told = [
        {key: value for key, value in span.items() if key not in ("request", "arrivedAt")} for span in spans
    ]
    return sorted(told, key=lambda span: span["spanId"])


def archive(folder: Path, lines: int, *, padding_bytes: int = 0) -> list[str]:
    """Three files of two writers, one of them compressed; some traces span them."""
    parts = []
    for number, seqs in enumerate((range(lines), range(lines, 2 * lines), range(2 * lines, 3 * lines))):
        each = [
            line
            for seq in seqs
            for line in (
                kong_line(1, seq, padding_bytes, shared=True),
                kong_line(2, seq, padding_bytes),
            )
        ]
        parts.append(b"".join([*each[:5], b"not json\n", *each[5:]]))
        parts[-1] = parts[-1] if number else gzip.compress(parts[-1], 1)
    paths = [folder / "ai.log.3.gz", folder / "ai.log.2", folder / "ai.log.1"]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    return [str(path) for path in reversed(paths)]


@contextlib.contextmanager
def running(host: Host, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with host.messages.open("ab") as messages:
        process = subprocess.Popen(
            [*PROGRAM, "backfill", *arguments, "--config", str(host.config)],
            env=host.environ,
            stdout=messages,
            stderr=messages,
            process_group=0,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(90)


def readers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that read for another one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def is_gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def held_by(pid: int) -> list[str]:
    """What its descriptors lead to."""
    held = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        # What it had open a moment ago may be closed by now.
        with contextlib.suppress(FileNotFoundError):
            held.append(os.readlink(each))
    return held


def delivered(host: Host) -> int:
    status = read_status(host.state / "backfill")
    return status.counters.get("spans_delivered", 0) if status is not None else 0


def test_several_processes_send_the_same_as_one(host: Host, langfuse: FakeLangfuse) -> None:
    """The same ids and bodies, roots of traces that span files included; one account for all."""
    # covers BKF-03
    files = archive(host.directory, 300)
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000")
    alone = host.run("backfill", *files)
    assert alone.returncode == 0, alone.stderr
    expected = without_arrival(langfuse.spans)
    assert {span["spanId"] for span in expected} > {
        observation_id(writer, seq) for writer in (1, 2) for seq in range(900)
    }
    langfuse.spans.clear()
    together = host.run("backfill", *files, "--jobs", "3", "--again")
    assert together.returncode == 0, together.stderr
    assert without_arrival(langfuse.spans) == expected
    *account, _ = together.stdout.splitlines()
    assert account == alone.stdout.splitlines()[:-1]
    assert "lines 1,803 = with calls 1,800 + other 0 + malformed, set aside 3" in account


@pytest.mark.parametrize("whom", ["a reader", "all"])
def test_a_kill_loses_nothing(host: Host, langfuse: FakeLangfuse, whom: str) -> None:
    """A reader is replaced in the same run; after the end of all the next run goes on."""
    # covers BKF-01
    files = archive(host.directory, 1_500, padding_bytes=3_000)
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000", "spill_after_seconds = 600")
    langfuse.script("200*60,hold*")  # so that there is work left for the reader
    with running(host, *files, "--jobs", "2") as process:
        wait_until(lambda: delivered(host) > 300, "the first commit")
        [reader] = readers_of(process)
        if whom == "all":
            process.kill()
            process.wait(90)
            wait_until(lambda: is_gone(reader), "the reader to notice")
            langfuse.script("")
            assert host.run("backfill", *files, "--jobs", "2").returncode == 0
        else:
            os.kill(reader, signal.SIGKILL)
            langfuse.script("")
            assert process.wait(180) == 0, host.messages.read_text()
            assert "backfill.process_lost" in host.messages.read_text()
            assert "calls 9,000 = delivered 9,000 + already there 0 " in host.messages.read_text()
    arrived = {span["spanId"] for span in langfuse.spans}
    assert arrived >= {observation_id(writer, seq) for writer in (1, 2) for seq in range(4_500)}


def test_readers_hold_no_file_of_the_state(host: Host, langfuse: FakeLangfuse) -> None:
    """After a kill the next run need not wait for them: not even the lock is theirs."""
    files = archive(host.directory, 1_500, padding_bytes=3_000)
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000", "spill_after_seconds = 600")
    langfuse.script("200*60,hang*")  # so that it cannot come to its end
    with running(host, *files, "--jobs", "3") as process:
        wait_until(lambda: delivered(host) > 300, "the first commit")
        readers = readers_of(process)
        assert len(readers) == 2
        for reader in readers:
            held = held_by(reader)
            assert [name for name in held if name.startswith(f"{host.directory}/")] == [
                str(host.messages)
            ] * 2
            assert sum(name.startswith("pipe:") for name in held) == 2


def test_ctrl_c_ends_all_processes_in_good_order(host: Host, langfuse: FakeLangfuse) -> None:
    """A terminal sends it to each of them; what was read is accounted for, and the next run goes on."""
    files = archive(host.directory, 1_500, padding_bytes=3_000)
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000", "spill_after_seconds = 600")
    langfuse.script("200*60,hang*")  # so that it cannot come to its end
    with running(host, *files, "--jobs", "3") as process:
        wait_until(lambda: delivered(host) > 300, "the first commit")
        readers = readers_of(process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(90) == 4, host.messages.read_text()
    langfuse.script("")
    assert len(readers) == 2
    wait_until(lambda: all(map(is_gone, readers)), "the end of the readers")
    told = host.messages.read_text()
    assert "Traceback" not in told
    assert "does_not_add_up" not in told
    assert "Not finished: the same command goes on where this one stopped." in told
    assert host.run("backfill", *files).returncode == 0
    arrived = {span["spanId"] for span in langfuse.spans}
    assert arrived >= {observation_id(writer, seq) for writer in (1, 2) for seq in range(4_500)}


async def test_lines_that_end_every_process_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It could be a line that takes too much memory; who runs it learns where it is, and what to do."""
    path = tmp_path / "ai.log"
    path.write_bytes(kong_line(1, 1))
    ahead = await _ahead(path, others=1)
    # This process leaves the lines to the other one, which has lost its life.
    monkeypatch.setattr(lineprocesses._Task, "claim", lambda _: _is_thread())
    monkeypatch.setattr(lineworker.Worker, "take", _end_of_file)
    with pytest.raises(LostProcessError, match=r"ai\.log at byte 0 ended 3 times"):
        await ahead.read()
    await ahead.close()


async def test_small_pipes_make_nobody_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an administrator allows no large ones, lines and readings are many times their size."""
    monkeypatch.setattr(lineworker, "PIPE_BYTES", 64 << 10)
    # All lines go to the other process.
    monkeypatch.setattr(lineprocesses._Task, "claim", lambda _: _is_thread())
    path = tmp_path / "ai.log"
    path.write_bytes(b"".join(kong_line(1, seq, 20_000) for seq in range(300)))
    ahead = await _ahead(path, others=1)
    found = 0
    async with asyncio.timeout(180):
        while chunk := await ahead.read():
            assert isinstance(chunk, ReadChunk)
            found += sum(reading.found for reading in chunk.readings if reading)
    assert found == 300
    await ahead.close()


async def test_no_more_is_read_ahead_than_there_is_room_for(tmp_path: Path) -> None:
    """Lines of megabytes count for as much as they are."""
    paths = [tmp_path / f"ai.log.{number}" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(kong_line(1, number, 5_500_000))
    archives = Archives(paths, [], max_line_bytes=6 << 20)
    blueprint = Blueprint(Config(), None, Selection())
    ahead = ReadAhead(archives, blueprint.reader(), blueprint, others=0)
    for number in range(4):
        assert await ahead.read()
        assert archives.read_bytes <= (number + 1) * 5_600_000
    assert await ahead.read() is None
    await ahead.close()


async def test_a_line_that_is_too_long_keeps_its_place(tmp_path: Path) -> None:
    """It is read by nobody."""
    path = tmp_path / "ai.log"
    path.write_bytes(kong_line(1, 1) + kong_line(1, 2, 70_000) + kong_line(1, 3))
    ahead = await _ahead(path, others=0, max_line_bytes=60_000)
    chunk = await ahead.read()
    assert isinstance(chunk, ReadChunk)
    assert [isinstance(item, OversizedLine) for item in chunk.items] == [False, True, False]
    assert [reading and reading.found for reading in chunk.readings] == [1, None, 1]
    assert await ahead.read() is None
    await ahead.close()


async def _ahead(path: Path, *, others: int, max_line_bytes: int = 1 << 20) -> ReadAhead:
    blueprint = Blueprint(Config(), None, Selection())
    archives = Archives([path], [], max_line_bytes=max_line_bytes)
    return ReadAhead(archives, blueprint.reader(), blueprint, others)


def _is_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


def _end_of_file(*_: object) -> bytes:
    raise EOFError
