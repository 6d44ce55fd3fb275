"""Everything at once, bounded: kills at random moments, rotation of every kind, a server that fails in turns.

`make storm` lets it rage for longer and prints the account.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from storm import storm


@pytest.mark.parametrize("shared", [False, True], ids=["calls-alone", "calls-in-traces"])
def test_no_line_is_lost_or_doubled_in_a_storm(tmp_path: Path, shared: bool) -> None:
    """What is written arrives under one start; what is repeated is the same; each tree has one root."""
    # covers CHK-01, ROT-03, ROT-04, ROT-08, TRU-03, ACK-04, ACK-06, SNK-08, PRC-07
    report = storm(tmp_path, seed=11, kills=8, lines=1_200, rate=130, shared=shared)
    assert len(report.written) == 3 * 1_200
    assert report.nothing_lost, str(report)
