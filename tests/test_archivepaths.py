"""What an operator names for a backfill: files, patterns, directories, pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_ai_tracing.archivepaths import Named, named
from kong_ai_tracing.archives import ArchiveError
from kong_ai_tracing.checks import viewers
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.storestatus import read_status
from kong_host import PROGRAM, Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse

ROTATED = ("ai.log", "ai.log.1", "ai.log.2.gz", "ai.log-20260101.zst", "ai-20260101.log", "calls.jsonl")
NO_LOGS = ("readme.txt", "catalog", ".ai.log.swp", "ai.log~", "state.sqlite3")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Named]:
    with Named(tmp_path / "spool", free_space_floor_bytes=0) as stack:
        yield stack


def fill(directory: Path, *names: str) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text("{}\n")
    return [directory / name for name in names]


def test_a_directory_stands_for_what_is_called_like_a_log(tmp_path: Path, files: Named) -> None:
    """Rotated families in any form, also in directories by day; nothing else."""
    logs = [*fill(tmp_path / "kong", *ROTATED), *fill(tmp_path / "kong" / "2026" / "11", "ai.log.gz")]
    fill(tmp_path / "kong", *NO_LOGS)
    fill(tmp_path / "kong" / ".hidden", "ai.log")
    assert sorted(files.paths([str(tmp_path / "kong")])) == sorted(logs)


def test_a_directory_without_logs_is_said_clearly(tmp_path: Path, files: Named) -> None:
    """Nothing to do is most likely a wrong directory."""
    fill(tmp_path / "kong", *NO_LOGS)
    with pytest.raises(ArchiveError, match="no file that is called like a log"):
        files.paths([str(tmp_path / "kong")])


def test_a_quoted_pattern_is_expanded(tmp_path: Path, files: Named) -> None:
    """As a unit or a cron line has it, where no shell does; a file named twice counts once."""
    first, second = fill(tmp_path, "ai.log.1", "ai.log.2")
    assert files.paths([str(tmp_path / "ai.log.*"), str(second)]) == [first, second]
    with pytest.raises(ArchiveError, match="no file is called"):
        files.paths([str(tmp_path / "other.*")])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path, files: Named) -> None:
    """What is there by that name was meant."""
    fill(tmp_path, "ai.log1")
    [odd] = fill(tmp_path, "ai.log[1]")
    assert files.paths([str(odd)]) == [odd]


def test_what_comes_through_a_pipe_is_kept_privately_until_it_is_done(
    tmp_path: Path, files: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name that the same content has again; nothing of it stays behind."""
    content = kong_line(1, 1)
    seen = []
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        [path] = files.paths(["-"])
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        seen.append(path)
    assert seen[0] == seen[1]
    files.done()
    assert list((tmp_path / "spool").glob("stdin*")) == []


def test_a_named_pipe_is_kept_like_stdin(tmp_path: Path, files: Named) -> None:
    """The shell's <(zcat …) is one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[b"{}\n"])
    writer.start()
    [path] = files.paths([str(pipe)])
    writer.join(10)
    assert path.read_bytes() == b"{}\n"


def test_a_pipe_that_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room that the daemon needs is left alone, and what was written is gone."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n")))
    with (
        Named(tmp_path / "spool", free_space_floor_bytes=1 << 60) as files,
        pytest.raises(ArchiveError, match="larger disk"),
    ):
        files.paths(["-"])
    assert list((tmp_path / "spool").glob("stdin*")) == []


def test_two_pipes_at_once_are_refused(tmp_path: Path, files: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take the other's for what a crash left behind."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n")))
    files.paths(["-"])
    with (
        named(tmp_path / "spool", free_space_floor_bytes=0, keeps_nothing=False) as second,
        pytest.raises(StoreError, match="in use"),
    ):
        second.paths(["-"])


def test_a_backfill_from_stdin_resumes_after_a_kill(host: Host, langfuse: FakeLangfuse) -> None:
    """The same content through the pipe again goes on where the first run was."""  # covers BKF-01
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000")

    def has_delivered() -> bool:
        status = read_status(host.state / "backfill")
        return status is not None and status.counters.get("spans_delivered", 0) > 0

    content = b"".join(kong_line(1, seq, 2_000) for seq in range(10_000))
    langfuse.script("200*12,hang*")  # so that it cannot come to its end before it is killed
    command = [*PROGRAM, "backfill", "-", "--config", str(host.config)]
    with host.messages.open("ab") as messages:
        process = subprocess.Popen(
            command, env=host.environ, stdin=subprocess.PIPE, stdout=messages, stderr=messages
        )
        assert process.stdin is not None
        process.stdin.write(content)
        process.stdin.close()
        wait_until(has_delivered, "the first commit")
        process.kill()
        process.wait(90)
    langfuse.hear_out()
    langfuse.script("")
    assert len(langfuse.spans) < 10_000, "it was killed after the work was done"
    sent_before = len(langfuse.spans)
    result = subprocess.run(command, env=host.environ, input=content, capture_output=True, timeout=180)
    assert result.returncode == 0, result.stderr
    assert {span["spanId"] for span in langfuse.spans} == {observation_id(1, seq) for seq in range(10_000)}
    assert len(langfuse.spans) - sent_before < 10_000, "what was delivered is not sent again"
    assert b"lines 10,000 = with calls 10,000" in result.stdout
    assert list((host.state / "backfill" / "stdin").glob("stdin*")) == []


def test_a_file_in_a_closed_folder_is_a_sentence(open_folder: Path) -> None:
    """Root never meets it."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "ai.log").touch()
    with (
        viewers.seen_by(viewers.Viewer("nobody", 65_534, 65_534)),
        named(open_folder, free_space_floor_bytes=0, keeps_nothing=True) as files,
        pytest.raises(ArchiveError, match=r"ai\.log cannot be read: Permission denied"),
    ):
        files.paths([closed / "ai.log"])


def test_a_dry_run_from_stdin_leaves_nothing_behind(host: Host, langfuse: FakeLangfuse) -> None:
    """It must work without a state, too."""
    command = [*PROGRAM, "backfill", "--dry-run", "-", "--config", str(host.config)]
    result = subprocess.run(
        command, env=host.environ, input=kong_line(1, 1), capture_output=True, timeout=180
    )
    assert result.returncode == 0, result.stderr
    assert b"lines 1 = with calls 1" in result.stdout
    assert langfuse.spans == []
    assert not host.state.exists()
