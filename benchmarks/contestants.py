"""Who takes part: each with the command that it is started with, and what must be there for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "bench"
OTLP = "/api/public/otel/v1/traces"
INGESTION = "/api/public/ingestion"

Command = Callable[[Path, str, Path], list[str]]
"""Is given the log, the sink's address and an empty folder."""


@dataclass(frozen=True)
class Contestant:
    """One program under test."""

    name: str
    command: Command
    delivers: bool = True
    note: str = ""
    """What a reader of the table should know."""


LOOP = "reading and parsing only (orjson)"
SCRIPT = "plain script (json + requests)"
SDK = "Langfuse's SDK, flushed every 500"
FLUENT_BIT = "Fluent Bit with a Lua filter"
OURS = "`run --once`"


def contestants(names: list[str] | None) -> Iterator[Contestant]:
    """Those whose name has one of these words in it and that are to be had here; says who is left out."""
    for name, make in _MAKERS.items():
        if names and not any(word.lower() in name.lower() for word in names):
            continue
        try:
            yield make(name)
        except Unavailable as reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)


class Unavailable(Exception):  # noqa: N818 - it is no error
    """It cannot be had on this machine."""


def _loop(name: str) -> Contestant:
    command: Command = lambda log, _url, _folder: [sys.executable, str(HERE / "reading_loop.py"), str(log)]  # noqa: E731
    return Contestant(name, command, delivers=False)


def _script(name: str) -> Contestant:
    return Contestant(
        name, lambda log, url, _: [sys.executable, str(HERE / "plain_script.py"), str(log), url + OTLP]
    )


def _sdk(name: str) -> Contestant:
    """In an environment of its own, which is made at the first run."""
    python = ENVIRONMENTS / "sdk" / "bin" / "python"
    if not python.exists():
        python.parent.parent.parent.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "langfuse>=3,<4", "requests"], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            shutil.rmtree(python.parent.parent, ignore_errors=True)
            raise Unavailable(f"it could not be installed ({error})") from None
    return Contestant(name, lambda log, url, _: [str(python), str(HERE / "sdk_script.py"), str(log), url])


def _fluent_bit(name: str) -> Contestant:
    """Found on PATH or where its package puts it."""
    program = shutil.which("fluent-bit", path=os.environ.get("PATH", "") + ":/opt/fluent-bit/bin")
    if program is None:
        raise Unavailable("fluent-bit is not on PATH")

    def command(log: Path, url: str, folder: Path) -> list[str]:
        config = folder / "fluent-bit.yaml"
        config.write_text(
            "service: {flush: 1, log_level: error}\n"
            "parsers: [{name: kong, format: json}]\n"
            "pipeline:\n"
            f"  inputs: [{{name: tail, path: {log}, read_from_head: true, exit_on_eof: true, parser: kong,"
            f" buffer_chunk_size: 1M, buffer_max_size: 32M, db: {folder / 'position.db'}}}]\n"
            f"  filters: [{{name: lua, match: '*', script: {HERE / 'fluent_bit.lua'}, call: to_langfuse}}]\n"
            f"  outputs: [{{name: http, match: '*', host: 127.0.0.1, port: {url.rpartition(':')[2]},"
            f" uri: {INGESTION}, format: json, json_date_key: false}}]\n"
        )
        return [program, "--quiet", "--config", str(config)]

    return Contestant(name, command)


def our_command(compression: str = "none", redaction: str = "secrets") -> Command:
    """`run --once` with a fresh state directory."""

    def command(log: Path, url: str, folder: Path) -> list[str]:
        config = folder / "config.toml"
        config.write_text(
            f'log_paths = ["{log}"]\nstate_dir = "{folder / "state"}"\n'
            f'langfuse_enabled = true\nlangfuse_endpoint = "{url}"\n'
            f'[delivery]\ncompression = "{compression}"\n'
            f'[redaction]\nkinds = ["{redaction}"]\n'
        )
        return [sys.executable, "-m", "kong_ai_tracing", "run", "--once", "--config", str(config)]

    return command


_MAKERS: dict[str, Callable[[str], Contestant]] = {
    LOOP: _loop,
    SCRIPT: _script,
    SDK: _sdk,
    FLUENT_BIT: _fluent_bit,
    OURS: lambda name: Contestant(name, our_command()),
    f"{OURS}, gzip": lambda name: Contestant(name, our_command("gzip")),
    f"{OURS}, nothing taken out": lambda name: Contestant(name, our_command(redaction="none")),
    f"{OURS}, personal data taken out as well": lambda name: Contestant(name, our_command(redaction="all")),
}
