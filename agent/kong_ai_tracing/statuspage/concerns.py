"""A situation in, what is wrong with it out: whether the daemon is alive and ready, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from kong_ai_tracing.commands import command, service_command
from kong_ai_tracing.projects import LOCAL
from kong_ai_tracing.rotationrisk import about
from kong_ai_tracing.statuspage.situation import Situation
from kong_ai_tracing.statusreport import Report
from kong_ai_tracing.vitals import Vitals

Weight: TypeAlias = Literal["bad", "warning", "note"]

_NEARLY_FULL = 0.8
_LOST = {
    "spans_dropped": "spans were dropped",
    "calls_lost": "calls were lost",
    "bytes_lost": "bytes of the log were lost",
}


class Concern(Struct, frozen=True):
    """One thing an operator should know, and what there is to be done."""

    weight: Weight
    """`bad`: traces do not flow. `warning`: not for long, or something may be lost. `note`: no hurry."""
    what: str
    todo: str
    destination: str = ""


def _check() -> str:
    return f"{command('check')} says what is missing, and the command that grants it."


def not_alive(situation: Situation) -> list[str]:
    """Why the process should be restarted. To wait for Langfuse, for room or for an operator is no reason."""
    return [
        f"{one.name}: {one.stuck} has not moved, although nothing keeps it from moving"
        for one in situation.vitals
        if one.stuck is not None
    ]


def not_ready(situation: Situation) -> list[str]:
    """Why not every project is followed, with a state that can be written."""
    followed = {one.name: one for one in situation.vitals}
    reasons = not_alive(situation)
    for name in situation.wanted:
        reasons += [f"{name}: {reason}" for reason in _unready(followed.get(name))]
    if situation.state_error is not None:
        reasons.append(f"the state cannot be read: {situation.state_error}")
    return reasons


def _unready(one: Vitals | None) -> Iterator[str]:
    if one is None:
        yield "it is not followed"
    elif not one.following:
        yield "its files are being looked for"
    elif one.disk_fails:
        yield "the state directory cannot be written"
    elif one.unreadable and not one.files:
        yield f"cannot read {one.unreadable[0]}"


def concerns_of(situation: Situation) -> list[Concern]:
    """Everything that is wrong, the worst first."""
    found = [*_of_the_daemon(situation)]
    followed = {one.name: one for one in situation.vitals}
    for name in situation.wanted:
        one, report = followed.get(name), situation.reports.get(name)
        if one is None:
            todo = "Wait a moment; if it stays so, our log says why: journalctl -u kong-ai-tracing."
            found.append(Concern("bad", "It is not followed", todo, name))
            continue
        found += _of_reading(one)
        found += _of_delivery(one)
        if report is not None:
            found += _of_the_state(name, report)
    return sorted(found, key=lambda one: ("bad", "warning", "note").index(one.weight))


def _of_the_daemon(situation: Situation) -> Iterator[Concern]:
    if situation.state_error is not None:
        yield Concern(
            "warning",
            f"The state on disk cannot be read: {situation.state_error}",
            f"Look at the disk of {situation.now.config.state_dir}. Numbers from it are old or missing here.",
        )
    if situation.now.reload_refused:
        yield Concern(
            "warning",
            "The last reload was refused: the new configuration has problems",
            f"{command('config show')} names them. The old configuration is in force.",
        )


def _of_reading(one: Vitals) -> Iterator[Concern]:
    if one.stuck is not None:
        todo = f"{service_command('restart')}; nothing is lost by that. Please tell us what our log says."
        yield Concern("bad", f"It hangs: {one.stuck} has not moved for half a minute", todo, one.name)
    if one.disk_fails:
        todo = "Make room, or repair the disk of the state directory. Reading waits, and goes on by itself."
        yield Concern("bad", "The state directory cannot be written", todo, one.name)
    elif one.paused is not None:
        todo = (
            "The log itself is the buffer now: see that rotation keeps enough generations. When Langfuse"
            " takes traces again, reading goes on by itself."
        )
        yield Concern("bad", f"Reading waits: {one.paused}", todo, one.name)
    if one.unreadable:
        weight: Weight = "warning" if one.files else "bad"
        yield Concern(weight, f"Cannot read {', '.join(one.unreadable[:3])}", _check(), one.name)
    elif one.following and not one.files:
        todo = "See that Kong's file-log plugin writes where log_paths looks. " + _check()
        yield Concern("warning", "No file matches log_paths", todo, one.name)
    for risk in one.risks:
        if risk.threatens:
            what = f"Rotation will delete {risk.unread_bytes:,} unread bytes of {risk.path} in "
            todo = "Keep more generations (logrotate's rotate), and see here why reading waits."
            yield Concern("bad", what + about(risk.deleted_in_seconds), todo, one.name)


def _of_delivery(one: Vitals) -> Iterator[Concern]:
    if one.reason is None:
        return
    who = "The local store" if one.name == LOCAL else "Langfuse"
    if one.holding:
        todo = f"{command('check')} tries keys and address. Everything is kept, and sent when it is right."
        yield Concern("bad", f"{who} refuses until somebody acts: {one.reason}", todo, one.name)
    else:
        todo = "Nothing, for now: it is tried again by itself, and what is read waits in the outbox."
        yield Concern("warning", f"{who} takes nothing: {one.reason}", todo, one.name)


def _of_the_state(name: str, report: Report) -> Iterator[Concern]:
    outbox = report.outbox
    if outbox.bytes > outbox.max_bytes * _NEARLY_FULL:
        todo = "Bring Langfuse back, or raise delivery.outbox_max_bytes."
        yield Concern("warning", "The outbox is nearly full", todo, name)
    if report.damaged_states:
        todo = "Look at its report.json, and remove the folder when you have: " + report.damaged_states[0]
        yield Concern("warning", "The state was damaged and built anew", todo, name)
    if report.refused_spans:
        todo = f"{command('refused list')} says why; {command('refused retry --all')} sends them again."
        yield Concern("note", f"Langfuse refused {report.refused_spans:,} spans", todo, name)
    if report.set_aside_lines:
        what = f"{report.set_aside_lines:,} lines could not be read and were set aside"
        todo = "Nothing, when they are few: a full disk or a hard stop of Kong tears lines."
        yield Concern("note", what, todo, name)
    for counter, what in _LOST.items():
        if lost := report.counters.get(counter, 0):
            todo = "They are gone. docs/delivery.md says what keeps that from happening again."
            yield Concern("note", f"{lost:,} {what}, all in all", todo, name)
