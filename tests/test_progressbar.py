"""Who waits sees how far it is; a file's name cannot break the bar."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_host import PROGRAM, Host
from kong_writer import kong_line

EVIL = "a[red]\x1b[2J\u202e.log"
"""Markup, an escape, and a turn of the reading direction."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, None)
    yield host
    host.clean_up()


@pytest.fixture
def evil_log(host: Host) -> Path:
    path = host.log.parent / EVIL
    path.write_bytes(b"".join(kong_line(1, seq) for seq in range(3000)))
    return path


def watched(host: Host, *arguments: str, stdout_too: bool = False) -> tuple[int, str]:
    """The exit code of a command, and what a terminal got of it; its data go to a file."""
    ours, theirs = pty.openpty()
    with (host.directory / "out").open("wb") as out:
        process = subprocess.Popen(
            [*PROGRAM, *arguments, "--config", str(host.config)],
            env=host.environ | {"TERM": "xterm-256color", "COLUMNS": "120"},
            stdout=theirs if stdout_too else out,
            stderr=theirs,
        )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 90)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(90), seen.decode()


def test_a_preview_into_a_file_shows_how_far_it_is(host: Host, evil_log: Path) -> None:
    """Its data are whole, and the bar is on stderr alone."""
    code, seen = watched(host, "preview", "--format", "json", str(evil_log))
    assert code == 0
    assert r"a[red]\x1b[2J\u202e.log" in seen
    assert "\x1b[2J" not in seen
    assert "\u202e" not in seen
    data = (host.directory / "out").read_bytes()
    assert data.count(b"\n") == 3000
    assert b"\x1b" not in data


def test_a_preview_on_the_screen_has_no_bar(host: Host, evil_log: Path) -> None:
    """The traces themselves show that it moves."""
    code, seen = watched(host, "preview", "--limit", "3", str(evil_log), stdout_too=True)
    assert code == 0
    assert "red]" not in seen


def test_a_backfill_of_a_file_that_is_called_like_markup_comes_to_its_end(host: Host, evil_log: Path) -> None:
    """With a bar on stderr and its account on stdout."""
    code, seen = watched(host, "backfill", str(evil_log))
    assert code == 0
    assert r"a[red]\x1b[2J\u202e.log" in seen
    assert "\x1b[2J" not in seen
    assert "3,000" in (host.directory / "out").read_text()


def test_without_a_terminal_there_is_none(host: Host, evil_log: Path) -> None:
    """A log file needs no bars."""
    said = host.run("preview", "--format", "json", str(evil_log))
    assert said.returncode == 0
    assert "red]" not in said.stderr


def test_a_name_that_a_caller_gave_is_harmless_in_an_explanation(host: Host) -> None:
    """`--explain` prints it beside each value."""
    line = kong_line(1, 1).replace(b"openai-chat", b"\\u001b[2Jroute\\u202e")
    host.write(line)
    said = host.run("preview", "--explain", str(host.log))
    assert "route" in said.stdout
    assert "\x1b" not in said.stdout
    assert "\u202e" not in said.stdout
