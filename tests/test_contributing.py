"""The example dialect of docs/contributing.md works as it stands there."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_ai_tracing import payloads
from reading import answer, ask, said, thought
from test_cli import invoke

DOCUMENT = Path(__file__).parent.parent / "docs" / "contributing.md"


def block(kind: str, number: int = 0) -> str:
    """A block of code in the document."""
    return re.findall(rf"```{kind}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[number]


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file among the readers, and its line in the registry."""
    (tmp_path / "parrot.py").write_text(block("python"))
    monkeypatch.setattr(payloads, "__path__", [*payloads.__path__, str(tmp_path)])
    [name] = re.findall(r'"(\w+)",', block("python", 1))
    monkeypatch.setattr(payloads, "DIALECTS", payloads.dialects_of((*payloads.READERS, name)))
    payloads.dialect_of_path.cache_clear()
    yield
    payloads.dialect_of_path.cache_clear()
    del sys.modules[f"{payloads.__name__}.{name}"]


def test_the_example_is_shown_in_the_preview(tmp_path: Path) -> None:
    """The log line of the document gives the tree of the document."""
    log = tmp_path / "parrot.jsonl"
    log.write_text(block("json"))
    result = invoke("preview", str(log))
    assert result.exit_code == 0, result.output
    shown = "".join(f"{line.rstrip()}\n" for line in result.stdout.rstrip().splitlines())
    if os.environ.get("UPDATE_DOCS"):
        DOCUMENT.write_text(DOCUMENT.read_text().replace(block("text"), shown))
    assert block("text") == shown
    assert "Polly wants a cracker" in shown


def test_the_example_keeps_to_what_is_asked_of_readers() -> None:
    """Whole, streamed, cut, failed, and with values of any type."""
    assert said(ask("/v1/echo", {"say": "hi"})) == "hi"
    whole = answer("/v1/echo", {"echo": "hi", "thought": "Hm.", "ended": "stop"})
    assert said(whole) == {"role": "assistant", "content": "hi", "thinking": thought("Hm.")}
    pieces = 'data: {"thought": "Hm."}\n\ndata: {"echo": "h"}\n\ndata: {"echo": "i"}\n\n'
    assert answer("/v1/echo", pieces + 'data: {"ended": "stop"}\n\n') == whole
    assert answer("/v1/echo", pieces).partial
    assert answer("/v1/echo", pieces + 'data: {"error": "no"}\n\n').failure
    assert answer("/v1/echo", {"echo": 1, "thought": [], "usage": "x", "model": {}}).output is None
