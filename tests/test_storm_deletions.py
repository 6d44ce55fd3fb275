"""What was rotated is deleted at once, through outages, a full outbox, reloads and stops: bounded.

`make storms` lets it rage for longer.
"""

from __future__ import annotations

from pathlib import Path

from storm_deletions import storm


def test_no_line_of_a_deleted_file_is_lost_while_the_process_lives(tmp_path: Path) -> None:
    """Whatever keeps it from reading on, and however often it is reloaded meanwhile."""
    # covers FDS-01, PRC-05
    report = storm(tmp_path, seed=3, rounds=7)
    assert report.done["deletions"] > 7
    assert report.done["full outboxes"] > 0
    assert report.nothing_lost, str(report)


def test_what_was_read_of_a_deleted_file_outlives_a_stop(tmp_path: Path) -> None:
    """It was read and not delivered, and there is no second copy of it."""
    # covers FDS-01, PRC-05
    report = storm(tmp_path, seed=3, rounds=7, stops=True, extra=("reload",))
    assert report.done["stops"] > 2
    assert report.nothing_lost, str(report)
