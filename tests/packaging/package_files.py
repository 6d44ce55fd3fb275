"""What the tests of the package need: tools or a reason to skip, log lines, a version that is yet to come."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kong_entries import CHAT_ANSWER, CHAT_REQUEST, STARTED_AT, capture, record, request

MODULES = "usr/lib/kong-ai-tracing"


def need(*programs: str) -> None:
    """Skip where a tool is missing."""
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if missing := [program for program in programs if not shutil.which(program, path=search)]:
        pytest.skip(f"not installed: {', '.join(missing)}")


def calls(count: int, first: int = 0) -> str:
    """Lines of Kong, each a call of its own."""
    return "".join(
        json.dumps(
            record(
                request=request() | {"id": f"{number:032x}"},
                started_at=STARTED_AT + number,
                capture=capture(CHAT_REQUEST, CHAT_ANSWER),
            )
        )
        + "\n"
        for number in range(first, first + count)
    )


def later_version(deb: Path, folder: Path, version: str, *, newer_state: bool = False) -> Path:
    """The same package as a later release might be: another version, another default configuration."""
    tree = folder / version
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    here = subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, capture_output=True, text=True)
    change(tree / "DEBIAN/control", f"Version: {here.stdout.strip()}", f"Version: {version}")
    change(tree / MODULES / "kong_ai_tracing/__init__.py", here.stdout.strip(), version)
    with (tree / "etc/kong-ai-tracing/config.toml").open("a") as config:
        config.write("# a comment that is new in this version\n")
    if newer_state:
        schema = tree / MODULES / "kong_ai_tracing/storeschema.py"
        change(schema, "\nFORMAT = ", '\n_MIGRATIONS += ("CREATE TABLE of_tomorrow (id);",)\nFORMAT = ')
    built = folder / f"kong-ai-tracing_{version}.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", tree, built], check=True)
    return built


def change(path: Path, old: str, new: str) -> None:
    """Replace the one place where the text stands."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
