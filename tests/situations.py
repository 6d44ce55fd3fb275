"""Situations of a daemon, for what is shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kong_ai_tracing.config import Config
from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.files import FileStatus
from kong_ai_tracing.rotationrisk import RotationRisk
from kong_ai_tracing.secret import Secret
from kong_ai_tracing.statuspage.situation import Now, Situation
from kong_ai_tracing.statusreport import FileLag, Outbox, Report, Target
from kong_ai_tracing.vitals import Vitals

LOG = "/var/log/kong-ai/ai.log"


def config(*names: str) -> Config:
    """With Langfuse, and more destinations of these names."""
    tables = tuple(
        DestinationTable(name=name, langfuse_public_key=Secret("pk"), langfuse_secret_key=Secret("sk"))
        for name in names
    )
    return Config(langfuse_enabled=True, state_dir=Path("/state"), destination=tables)


def vitals(**more: Any) -> Vitals:
    return Vitals(
        **{"name": "langfuse", "files": [FileStatus(LOG, 1, 100, 100)], "last_accepted_ms": 1, **more}
    )


def report(**more: Any) -> Report:
    outbox = more.pop("outbox", Outbox(0, 0, 0, 1000))
    values = {
        "state": "healthy",
        "problems": [],
        "state_dir": "/state",
        "running": True,
        "updated_seconds_ago": 1.0,
        "outbox": outbox,
        "destinations": {"langfuse": Target(state="ok", outbox=outbox, last_accepted_seconds_ago=2.0)},
        "counters": {"lines": 3, "lines_calls": 2, "lines_other": 1, "spans_delivered": 2},
        **more,
    }
    return Report(**values)


def situation(*, one: Vitals | None = None, seen: Report | None = None, **more: Any) -> Situation:
    """One destination, all well unless it is said."""
    one = one or vitals()
    now = Now(config(), [one], reload_refused=more.pop("reload_refused", False))
    return Situation(now, {one.name: seen or report()}, **more)


def bad_situation() -> Situation:
    """As much as possible is wrong, and everything that others name is hostile."""
    evil = "/logs/\x1b[2J<script>alert(1)</script>\u202e.log\udcff"
    one = vitals(
        reason="503 <img src=x onerror=alert(2)> \x1b]0;title\x07",
        paused="the outbox is full",
        pause_seconds=12.5,
        requests_failed=4,
        unreadable=["/logs/<b>secret</b>"],
        files=[FileStatus(evil, 1, 100, 9100), FileStatus(LOG + ".gz", 2, 100, 1 << 62)],
        risks=[RotationRisk(LOG, LOG + ".1", 5000, 3600.0, None)],
        last_accepted_ms=None,
    )
    seen = replace(
        report(),
        state="destination_down",
        problems=["the destination has taken nothing for a while: \x1b[31m[/red]<script>"],
        outbox=Outbox(9, 90, 900, 1000),
        files=[FileLag(evil, 100, 9100, 9000, 77.0, destination="langfuse")],
        lag_bytes=9000,
        lag_seconds=77.0,
        refused_spans=3,
        set_aside_lines=2,
        damaged_states=["/state/damaged-1"],
        counters={"spans_dropped": 5, "redacted_email": 7, "bytes_lost": 11, "media_replaced": 1},
        destinations={
            "langfuse": Target(
                state="retrying",
                reason="503 \x1b[5m",
                last_accepted_seconds_ago=99.0,
                outbox=Outbox(9, 90, 900, 1000),
            )
        },
    )
    return Situation(Now(config(), [one], reload_refused=True), {"langfuse": seen}, "locked")
