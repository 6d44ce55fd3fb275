"""Inputs that fuzzing once found, and arbitrary ones, break no promise of the readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzzing
from dialect_samples import SAMPLES, Sample
from kong_ai_tracing.payloads.dialect import Asked


@pytest.mark.parametrize("kept", sorted(fuzzing.KEPT.glob("*.bin")), ids=lambda path: path.stem)
def test_what_fuzzing_found_stays_mended(kept: Path) -> None:
    """One file for each input that once broke a promise."""
    fuzzing.try_input(kept.read_bytes())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_samples_break_no_promise_in_any_dialect(sample: Sample) -> None:
    """Also read as something that they are not, which is what fuzzing begins with."""
    for number in range(fuzzing.DIALECT_COUNT):
        for text in (json.dumps(sample.request), json.dumps(sample.whole), sample.stream()):
            fuzzing.try_input(bytes((number, 2, 7 * number % 256)) + text.encode())


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes out unclean, as JSON that a store refuses, is an error here."""
    data = bytes((0, 0, 0)) + json.dumps({"messages": [{"content": "x"}]}).encode()
    fuzzing.try_input(data)
    monkeypatch.setattr(fuzzing, "read_request", lambda *_: (None, Asked(input=b'"\\ud800"')))
    with pytest.raises(AssertionError):
        fuzzing.try_input(data)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_break_no_promise(data: bytes) -> None:
    """The same promises, without a guide."""
    fuzzing.try_input(data)
