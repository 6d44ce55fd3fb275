"""For the tests of `check`: surroundings made of a temporary folder, findings by their name."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing.checks.findings import Check, Finding, Surroundings
from kong_ai_tracing.checks.viewers import Viewer
from kong_ai_tracing.config import Config

NOBODY = Viewer("nobody", 65534, 65534)
KONG = Viewer("kong", 61_001, 61_001)
"""A user that this machine need not have."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look with the eyes of another user")


def findings(check: Check, here: Surroundings) -> dict[str, Finding]:
    """What a check found, by id."""
    return {finding.id: finding for finding in check(here)}


def problems(check: Check, here: Surroundings) -> set[str]:
    """The ids of what is not right."""
    return {finding.id for finding in check(here) if finding.severity != "ok"}


def surroundings(*patterns: str | Path, keys: dict[str, Any] | None = None, **more: Any) -> Surroundings:
    """A configuration with these logs and keys, and a world around it."""
    return Surroundings(Config(log_paths=tuple(map(str, patterns)), **(keys or {})), {}, **more)


def run(finding: Finding) -> None:
    """Do what the finding says."""
    assert finding.command, finding
    subprocess.run(["bash", "-ec", finding.command], check=True, capture_output=True, timeout=90)


def pretend_users(monkeypatch: pytest.MonkeyPatch, module: object, **users: Viewer | None) -> None:
    """Let a module know users by name that this machine may not have."""
    real = {entry.pw_name: Viewer(entry.pw_name, entry.pw_uid, entry.pw_gid) for entry in pwd.getpwall()}
    known = {**real, **users}
    monkeypatch.setattr(module, "user_named", lambda name: known.get(name))
    if hasattr(module, "group_number"):
        groups = {name: user.gid for name, user in known.items() if user is not None}
        monkeypatch.setattr(module, "group_number", groups.get)
