"""One project in one sentence, for `systemctl status`: how far reading is, and delivery."""

from __future__ import annotations

import re

from msgspec import Struct

from kong_ai_tracing.commands import command
from kong_ai_tracing.quantities import counted, readable_span

_LONGEST_REASON = 160
_ANSWER = re.compile(r"(\d{3})\b.*?(\([^()]*\))?$", re.DOTALL)


class View(Struct, frozen=True):
    """What the sentence is made of."""

    files: int = 0
    behind_bytes: int = 0
    unreadable: list[str] = []
    following: bool = True
    local: bool = False
    """Whether traces stay on this host."""
    reason: str | None = None
    """Why the destination takes nothing."""
    holding: bool = False
    """Whether only an operator can mend that."""
    paused: str | None = None
    """Why reading waits."""
    spans_on_disk: int = 0
    accepted_seconds_ago: float | None = None


def sentence_of(view: View) -> str:
    """For example: reading 3 files, 0 bytes behind, last accepted 2 s ago."""
    parts = [_reading(view), _delivering(view)]
    if view.paused and not (view.reason and view.paused.startswith("the destination")):
        parts.insert(0, f"reading waits, {view.paused}")
    if view.spans_on_disk:
        parts.append(f"{counted(view.spans_on_disk, 'span')} on disk to be sent")
    return ", ".join(part for part in parts if part)


def _reading(view: View) -> str:
    if view.unreadable and not view.files:
        more = f" and {len(view.unreadable) - 1} more" if len(view.unreadable) > 1 else ""
        return f"cannot read {view.unreadable[0]}{more}; {command('check')} says how"
    if not view.following:
        return "looking for files"
    if not view.files:
        return "no file matches log_paths yet"
    text = f"reading {counted(view.files, 'file')}, {counted(view.behind_bytes, 'byte')} behind"
    if view.unreadable:
        text += f", cannot read {counted(len(view.unreadable), 'other')}; {command('check')} says how"
    return text


def _delivering(view: View) -> str:
    name = "the local store" if view.local else "Langfuse"
    if view.reason is not None:
        says = "refuses until somebody acts" if view.holding else "takes nothing for now"
        return f"{name} {says}: {_in_our_words(view.reason)}"
    if view.accepted_seconds_ago is None:
        return "nothing sent yet"
    return f"last accepted {readable_span(view.accepted_seconds_ago)} ago"


def _in_our_words(reason: str) -> str:
    """Of an answer the number and our own advice: everybody on the host may read the status."""
    if answer := _ANSWER.match(reason):
        reason = " ".join(filter(None, answer.groups()))
    return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"
