"""The line that `systemctl status` shows."""

from __future__ import annotations

import pytest

from kong_ai_tracing.statussentence import View, sentence_of


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (
            View(files=3, accepted_seconds_ago=2.2),
            "reading 3 files, 0 bytes behind, last accepted 2 s ago",
        ),
        (View(files=1, behind_bytes=1), "reading 1 file, 1 byte behind, nothing sent yet"),
        (
            View(files=1, behind_bytes=81_920, accepted_seconds_ago=3 * 3600),
            "reading 1 file, 81,920 bytes behind, last accepted 3 h ago",
        ),
        (View(following=False), "looking for files, nothing sent yet"),
        (View(), "no file matches log_paths yet, nothing sent yet"),
        (
            View(unreadable=["/var/log/kong-ai/ai.log"]),
            "cannot read /var/log/kong-ai/ai.log; kong-ai-tracing check says how, nothing sent yet",
        ),
        (
            View(files=2, unreadable=["/a"], accepted_seconds_ago=130),
            (
                "reading 2 files, 0 bytes behind, cannot read 1 other; kong-ai-tracing check says how, "
                "last accepted 2 min ago"
            ),
        ),
        (
            View(
                files=1,
                reason='401 {"error": "no (such) key"} (check the keys)',
                holding=True,
                spans_on_disk=3214,
            ),
            (
                "reading 1 file, 0 bytes behind, Langfuse refuses until somebody acts: 401 (check the keys), "
                "3,214 spans on disk to be sent"
            ),
        ),
        (
            View(files=1, reason="503", spans_on_disk=1, paused="the outbox is full"),
            (
                "reading waits, the outbox is full, reading 1 file, 0 bytes behind, "
                "Langfuse takes nothing for now: 503, 1 span on disk to be sent"
            ),
        ),
        (
            View(files=1, local=True, reason="database is locked"),
            "reading 1 file, 0 bytes behind, the local store takes nothing for now: database is locked",
        ),
    ],
)
def test_a_project_in_one_sentence(view: View, sentence: str) -> None:
    """What is read, what keeps it, and what waits, in words."""
    assert sentence_of(view) == sentence


def test_a_long_reason_does_not_push_the_rest_out() -> None:
    """The status line is bounded, and what waits on disk comes last."""
    assert len(sentence_of(View(files=1, reason="x" * 5000, spans_on_disk=5))) < 400
