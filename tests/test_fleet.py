"""Many hosts come back from an outage to one Langfuse: benchmarks/fleet.py in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="not in this checkout")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plays ten minutes of outage for thirty hosts, before a server that can take twice what they make."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from fleet import Scene, simulate

    return lambda server: simulate(Scene(server, hosts=30, outage_seconds=600))


def test_a_server_that_refuses_is_not_overrun_and_drained_as_fast_as_it_can(played: Any) -> None:
    """Little more is sent than it takes, all of what it takes is used, and every host gets its share."""
    result = played("refuses")
    assert result.mean_offered < 1.3
    assert result.worst_offered < 1.6
    assert result.refused_share < 0.2
    assert result.drained_seconds < 1.3 * result.scene.shortest_seconds
    assert result.least_share > 0.1


def test_a_limit_that_is_told_is_kept(played: Any) -> None:
    """Who is told when to come again does, so that hardly anything is refused, and no window is wasted."""
    result = played("limits")
    assert result.refused_share < 0.1
    assert result.drained_seconds < 1.3 * result.scene.shortest_seconds


def test_a_server_that_lets_everybody_wait_is_not_kept_busy_for_nobody(played: Any) -> None:
    """Slow answers are taken for a queue: it stays shorter than the patience of those in it."""
    result = played("hangs")
    assert result.wasted_share < 0.15
    assert result.drained_seconds < 1.4 * result.scene.shortest_seconds


def test_new_calls_do_not_wait_for_the_outage_to_be_worked_off(played: Any) -> None:
    """From the first minutes on most of what is new arrives within seconds, and all of it in the end."""
    result = played("refuses")
    middle = int(result.drained_seconds / 120)
    assert result.late(0, 5, 0.5) < 60
    assert result.late(middle, middle + 5, 0.5) < 15
    assert result.late(int(result.drained_seconds / 60) + 2, 10**6, 0.99) < 2
