"""Alive, ready, and what to do about it."""

from __future__ import annotations

import pytest

from kong_ai_tracing.statuspage.concerns import concerns_of, not_alive, not_ready
from kong_ai_tracing.statuspage.situation import Now, Situation
from situations import LOG, bad_situation, config, report, situation, vitals


def test_all_well_is_alive_ready_and_without_a_word():
    """Nothing to do is what an operator wants to read."""
    well = situation()
    assert (not_alive(well), not_ready(well), concerns_of(well)) == ([], [], [])


def test_a_part_that_hangs_is_not_alive_and_not_ready():
    """Only that is a reason to restart the process."""
    stuck = situation(one=vitals(stuck="committing"))
    assert not_alive(stuck) == ["langfuse: committing has not moved, although nothing keeps it from moving"]
    assert not_ready(stuck)
    assert concerns_of(stuck)[0].weight == "bad"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"following": False}, "its files are being looked for"),
        ({"disk_fails": True}, "the state directory cannot be written"),
        ({"unreadable": [LOG], "files": []}, f"cannot read {LOG}"),
    ],
)
def test_not_ready_has_a_reason_and_is_no_reason_to_restart(more, reason):
    """A probe that restarts a daemon which waits for an operator would help nobody."""
    waiting = situation(one=vitals(**more))
    assert not_ready(waiting) == [f"langfuse: {reason}"]
    assert not_alive(waiting) == []


@pytest.mark.parametrize(
    "more", [{"reason": "503"}, {"reason": "401", "holding": True}, {"paused": "the outbox is full"}]
)
def test_an_outage_of_langfuse_leaves_it_alive_and_ready(more):
    """It does what it is there for: nothing is lost. But it is told."""
    waiting = situation(one=vitals(**more))
    assert (not_alive(waiting), not_ready(waiting)) == ([], [])
    assert len(concerns_of(waiting)) == 1


def test_a_destination_that_is_not_followed_is_not_ready():
    """The configuration names two, and one could not be opened."""
    half = Situation(Now(config("team-a"), [vitals()]), {"langfuse": report()})
    assert not_ready(half) == ["team-a: it is not followed"]
    assert concerns_of(half)[0].destination == "team-a"


def test_a_state_that_cannot_be_read_is_not_ready():
    """The reason is the disk's."""
    assert not_ready(situation(state_error="database is locked")) == [
        "the state cannot be read: database is locked"
    ]


def test_everything_wrong_is_told_the_worst_first_each_with_what_to_do():
    """No concern without its remedy."""
    concerns = concerns_of(bad_situation())
    weights = [each.weight for each in concerns]
    assert weights == sorted(weights, key=("bad", "warning", "note").index)
    assert len(concerns) >= 11
    assert all(each.todo for each in concerns)
