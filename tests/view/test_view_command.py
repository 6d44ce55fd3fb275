"""`kong-ai-tracing view` as a process: over log files, over a store that is written, and at its end."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from pages import Document, body, open_store, span
from running import eventually, viewer

KONG = Path(__file__).parent.parent / "fixtures" / "kong"
LINES = (KONG / "plain-openai-captured.jsonl").read_bytes().splitlines(keepends=True)


def count(client):
    return len(Document(client.get("/").text).traces)


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """A folder of its own: the viewers of others come and go in the one for all."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))


def private_stores():
    return set(Path(os.environ["TMPDIR"]).glob("kong-ai-tracing-view-*"))


def test_plain_and_compressed_logs_are_read_and_plain_ones_followed(tmp_path):
    """The archive is there, the log too, and a line that Kong writes while one looks shows up."""
    archive, log = tmp_path / "ai.log.1.gz", tmp_path / "ai [1].log"
    archive.write_bytes(gzip.compress(b"".join(LINES[:2])))
    log.write_bytes(LINES[2])
    with viewer(str(archive), str(log)) as running, running.client() as client:
        eventually(lambda: count(client) == 3)
        with log.open("ab") as kong:
            kong.write(LINES[3])
        eventually(lambda: count(client) == 4)
        [*_, trace] = Document(client.get("/").text).traces
        origin = Document(client.get(f"/trace/{trace}").text)
        line = next(found["href"] for found in origin.all("a") if (found.get("href") or "").endswith("/line"))
        assert client.get(line).content in LINES


def test_nothing_of_a_log_is_sent_whatever_the_configuration_says(tmp_path):
    """Looking at a file is no delivery: neither to Langfuse nor to named projects, nor into the state."""
    calls = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):  # it is closed at the end of the test
            calls.append(server.accept())

    threading.Thread(target=accept, daemon=True).start()
    base = f"http://127.0.0.1:{server.getsockname()[1]}"
    state = tmp_path / "state"
    config = tmp_path / "config.toml"
    config.write_text(
        f'log_paths = ["/nowhere.log"]\nstate_dir = "{state}"\nlangfuse_enabled = true\n'
        f'langfuse_endpoint = "{base}"\nlangfuse_public_key = "pk-lf-1"\nlangfuse_secret_key = "sk-lf-1"\n'
        f'[[destination]]\nname = "team"\nlangfuse_endpoint = "{base}"\n'
        'langfuse_public_key = "pk-lf-2"\nlangfuse_secret_key = "sk-lf-2"\n'
    )
    log = tmp_path / "ai.log"
    log.write_bytes(b"".join(LINES))
    with viewer(str(log), config=config) as running, running.client() as client:
        eventually(lambda: count(client) >= 4)
        [first, *_] = Document(client.get("/").text).traces
        assert f"{base}/trace/{first}" in client.get(f"/trace/{first}").text
    assert calls == []
    assert not state.exists()
    server.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_private_store_is_gone_afterwards(tmp_path, number):
    """Prompts are not left behind, however the viewer is ended in good order."""
    log = tmp_path / "ai.log"
    log.write_bytes(b"".join(LINES))
    before = private_stores()
    with viewer(str(log)) as running, running.client() as client:
        eventually(lambda: count(client) >= 4)
        [made] = private_stores() - before
        assert made.stat().st_mode & 0o077 == 0
        running.process.send_signal(number)
        assert running.process.wait(90) == 0
        assert not made.exists()


def test_what_a_killed_viewer_leaves_is_removed_by_the_next(tmp_path):
    """The reading process ends with it, and its prompts are not left on disk for good."""
    log = tmp_path / "ai.log"
    log.write_bytes(b"".join(LINES))
    before = private_stores()
    with viewer(str(log)) as running, running.client() as client:
        eventually(lambda: count(client) >= 4)
        child = child_of(running)
        running.process.kill()
        eventually(lambda: not Path(f"/proc/{child}").exists())
    [left] = private_stores() - before
    with viewer(str(log)) as running, running.client():
        [made] = private_stores() - before
        assert made != left
    assert not private_stores() - before


def child_of(running):
    task = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    [child, *_] = [int(each) for each in task.read_text().split()]
    return child


def test_a_damaged_archive_is_named_and_the_rest_is_shown(tmp_path):
    """What can be read is read; the terminal says what cannot."""
    archive, log = tmp_path / "ai.log.1.gz", tmp_path / "ai.log"
    archive.write_bytes(gzip.compress(b"".join(LINES[:2]))[:-30])
    log.write_bytes(LINES[2])
    with viewer(str(archive), str(log)) as running, running.client() as client:
        eventually(lambda: count(client) >= 2)
        running.process.terminate()
        said = running.process.communicate(timeout=90)[1]
    assert f"file.damaged path={archive}" in said


def test_a_page_says_when_files_are_no_longer_read(tmp_path):
    """The traces stay, and nobody takes them for all there are."""
    log = tmp_path / "ai.log"
    log.write_bytes(LINES[0])
    with viewer(str(log)) as running, running.client() as client:
        eventually(lambda: count(client) == 1)
        assert "no longer read" not in client.get("/").text
        os.kill(child_of(running), signal.SIGKILL)
        eventually(lambda: "no longer read" in client.get("/").text)
        assert count(client) == 1


def test_others_can_reach_it_only_when_told_so(tmp_path):
    """Then its name is accepted, the terminal warns, and lines of the log are not shown."""
    log = tmp_path / "ai.log"
    log.write_bytes(LINES[0])
    with viewer(str(log), "--listen", "0.0.0.0:0") as running:
        assert f"//{socket.gethostname()}:" in running.link
        port = running.base.rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
            client.get(f"/?{running.link.partition('?')[2]}")
            eventually(lambda: count(client) == 1)
            [trace] = Document(client.get("/").text).traces
            assert "/line" not in client.get(f"/trace/{trace}").text
        running.process.terminate()
        assert "not encrypted" in running.process.communicate(timeout=90)[1]


def test_the_store_is_read_while_it_is_written(tmp_path):
    """The daemon's store, from its first trace on."""
    store = open_store(tmp_path / "traces.sqlite3")
    with viewer(state_dir=tmp_path) as running, running.client() as client:
        for number in range(1, 30):
            store.write(body(span(number)))
            assert count(client) == number
    store.close()


def test_what_cannot_be_is_a_sentence(tmp_path):
    """A wrong address, one that is taken, and a store of another version."""
    taken = socket.create_server(("127.0.0.1", 0))
    command = [sys.executable, "-m", "kong_ai_tracing", "view", "--listen"]
    environment = {
        **os.environ,
        "KONG_AI_TRACING_CONFIG": os.devnull,
        "KONG_AI_TRACING_STATE_DIR": str(tmp_path),
    }

    def said(listen):
        done = subprocess.run(
            [*command, listen], capture_output=True, text=True, timeout=90, check=False, env=environment
        )
        assert (done.returncode, done.stdout) == (1, ""), done
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "write it like 127.0.0.1:8080" in said("here")
    assert "cannot listen at" in said(f"127.0.0.1:{taken.getsockname()[1]}")
    store = open_store(tmp_path / "traces.sqlite3")
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    assert "a later version" in said("127.0.0.1:0")
    (tmp_path / "traces.sqlite3").write_bytes(b"no database, but long enough to look at" * 100)
    assert "cannot be read" in said("127.0.0.1:0")
    taken.close()


def test_other_commands_load_nothing_of_it():
    """The daemon does not pay for the viewer."""
    code = (
        "import sys, kong_ai_tracing.daemon, kong_ai_tracing.preview, kong_ai_tracing.cli;"
        "print({'starlette', 'uvicorn', 'jinja2', 'kong_ai_tracing.view'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_the_extra_it_says_what_to_install(tmp_path):
    """The packages are not everybody's."""
    code = (
        "import sys; sys.modules['starlette'] = None; sys.modules['jinja2'] = None;"
        "from kong_ai_tracing.cli import main; sys.argv = ['kong-ai-tracing', 'view']; main()"
    )
    environment = {
        **os.environ,
        "KONG_AI_TRACING_CONFIG": os.devnull,
        "KONG_AI_TRACING_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, "kong-ai-tracing[view]" in done.stderr, "Traceback" in done.stderr) == (
        1,
        True,
        False,
    )
