"""`top` as the real program in a real terminal, with an emulator that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from kong_host import PROGRAM, Host, wait_until
from kong_writer import kong_line


class Terminal:
    """A program in a pseudo-terminal, and its screen."""

    def __init__(self, command: list[str], columns: int, rows: int, **environ: str) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.written = b""
        self._stream = pyte.ByteStream(self.screen)
        # By value: readline, which pytest loads, puts COLUMNS into the environment behind Python's back.
        whole = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        whole |= {"TERM": "xterm-256color", **environ}
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(command[0], command, whole)
        self.code: int | None = None

    def text(self) -> str:
        """What is on the screen now."""
        while select.select([self.descriptor], [], [], 0.02)[0]:
            try:
                part = os.read(self.descriptor, 65536)
            except OSError:
                break
            self.written += part
            self._stream.feed(part)
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, words: str) -> str:
        try:
            wait_until(lambda: words in self.text(), f"{words!r} on the screen")
        except AssertionError as late:
            raise AssertionError(f"{late}:\n{self.text()}") from None
        return self.text()

    def press(self, key: bytes) -> None:
        os.write(self.descriptor, key)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def echoes(self) -> bool:
        """Whether the terminal is as it was: letters are shown, lines are edited."""
        flags = termios.tcgetattr(self.descriptor)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def ended(self) -> bool:
        if self.code is None:
            self.text()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.text()  # its last words
        return self.code is not None

    def close(self) -> None:
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, None)
    yield host
    host.clean_up()


@pytest.fixture
def top(host: Host) -> Iterator[Callable[..., Terminal]]:
    terminals = []

    def start(columns: int = 100, rows: int = 24, **environ: str) -> Terminal:
        command = [sys.executable, *PROGRAM[1:], "top", "--interval", "0.3", "--config", str(host.config)]
        terminals.append(Terminal(command, columns, rows, **environ))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def test_it_shows_a_daemon_at_work_and_ends_with_q(host: Host, top: Callable[..., Terminal]) -> None:
    """Another process, over the state directory alone; the terminal is left as it was."""
    host.write(*(kong_line(1, seq) for seq in range(50)))
    host.start()
    terminal = top()
    for words in ("openai-chat", "healthy", "daemon running", "kong/ai.log"):
        terminal.wait_for(words)
    assert not terminal.echoes()
    before = len(terminal.written)
    host.write(*(kong_line(2, seq) for seq in range(500)))
    # The first lines may have a bar of their own already.
    wait_until(lambda: "█" in terminal.text() and len(terminal.written) > before, "the burst among the bars")
    terminal.press(b"q")
    wait_until(terminal.ended, "the end")
    assert terminal.code == 0
    assert b"\x1b[?1049l" in terminal.written[-200:]
    assert terminal.echoes()


@pytest.mark.parametrize("end", [b"\x03", signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "SIGTERM", "SIGHUP"])
def test_every_end_leaves_the_terminal_in_order(host: Host, top: Callable[..., Terminal], end) -> None:
    """Whoever ends it gets his screen, his cursor and his echo back."""
    terminal = top()
    terminal.wait_for("never run")
    if isinstance(end, bytes):
        terminal.press(end)
    else:
        os.kill(terminal.pid, end)
    wait_until(terminal.ended, "the end")
    assert terminal.code == 0
    assert b"\x1b[?25h" in terminal.written[-200:]
    assert b"\x1b[?1049l" in terminal.written[-200:]
    assert terminal.echoes()


def test_an_arrow_key_ends_nothing(host: Host, top: Callable[..., Terminal]) -> None:
    """It begins with Escape, and is none."""
    terminal = top()
    terminal.wait_for("never run")
    for key in (b"\x1b[A", b"x", b" "):
        terminal.press(key)
        time.sleep(0.4)
        assert not terminal.ended()


def test_it_fits_when_the_terminal_is_made_smaller(host: Host, top: Callable[..., Terminal]) -> None:
    """And when it is narrow from the beginning."""
    host.write(*(kong_line(1, seq) for seq in range(20)))
    host.start()
    terminal = top(columns=120)
    terminal.wait_for("cost")
    terminal.resize(60, 16)
    wait_until(lambda: "cost" not in terminal.text() and "healthy" in terminal.text(), "the smaller screen")
    terminal.wait_for("openai-chat")


def test_no_color_means_no_colour(host: Host, top: Callable[..., Terminal]) -> None:
    """Only the cursor moves."""
    terminal = top(NO_COLOR="1")
    terminal.wait_for("never run")
    assert b"\x1b[31m" not in terminal.written
    assert b"\x1b[1;33m" not in terminal.written
    coloured = top()
    coloured.wait_for("never run")
    assert b"\x1b[1;33m" in coloured.written


def test_a_hostile_file_name_stays_on_its_line(host: Host, top: Callable[..., Terminal]) -> None:
    """A real file whose name would clear the screen and change the title."""
    evil = host.log.parent / "ai\x1b[2J\x1b]0;owned\x07\u202e.log"
    evil.write_bytes(kong_line(1, 1))
    host.config.write_text(host.config.read_text().replace("ai.log", "*.log"))
    host.start()
    terminal = top(columns=160)
    terminal.wait_for(r"\x1b[2J")
    assert terminal.screen.title == ""
    assert b"owned\x07" not in terminal.written
    terminal.wait_for("healthy")
    for arguments in (("status",), ("checkpoint", "show"), ("check", "--offline")):
        said = host.run(*arguments)
        assert "\x1b" not in said.stdout + said.stderr
        assert "\u202e" not in said.stdout + said.stderr


HANGS = """
import threading
import kong_ai_tracing.topsamples as module
module.look = lambda _: threading.Event().wait()
from kong_ai_tracing.cli import main
main()
"""


def test_a_disk_that_hangs_hangs_neither_the_screen_nor_the_key(host: Host) -> None:
    """The state directory does not answer: that is what the screen says, and q still ends it."""
    command = [sys.executable, "-c", HANGS, "top", "--interval", "0.3", "--config", str(host.config)]
    terminal = Terminal(command, 80, 24)
    try:
        terminal.wait_for("the disk does not answer")
        terminal.press(b"q")
        wait_until(terminal.ended, "the end")
        assert terminal.code == 0
        assert terminal.echoes()
    finally:
        terminal.close()


def test_in_a_pipe_it_is_printed_once(host: Host) -> None:
    """Without a terminal there is nothing to move about in."""
    host.write(kong_line(1, 1))
    host.start()
    wait_until(lambda: "openai-chat" in host.run("top").stdout, "the trace")
    said = host.run("top", "--once")
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    assert "healthy" in said.stdout


def test_a_state_that_cannot_be_read_is_a_sentence(host: Host) -> None:
    """No traceback; the exit code says that it failed."""
    host.state.mkdir()
    (host.state / "state.sqlite3").write_bytes(b"no database at all" * 1000)
    said = host.run("top", "--once")
    assert said.returncode == 1
    assert said.stderr.startswith("kong-ai-tracing: ")
    assert "Traceback" not in said.stderr
