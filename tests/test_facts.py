"""Figures that are worked out from a line are those that plain arithmetic gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.facts import ratio
from kong_ai_tracing.timing import LONGEST_MS


@given(st.integers(0, LONGEST_MS), st.integers(1, 10_000_000))
def test_a_ratio_is_rounded_as_python_rounds_it(part: int, whole: int) -> None:
    """What is sent again after an update is what was sent before it, to the last decimal."""
    assert ratio(part, whole) == round(part / whole, 3)


@pytest.mark.parametrize("whole", [16, 80, 400, 2000])
def test_halves_are_rounded_as_python_rounds_them(whole: int) -> None:
    """A value in the middle of two others goes where its nearest double lies."""
    for part in range(5 * whole):
        assert ratio(part, whole) == round(part / whole, 3)
