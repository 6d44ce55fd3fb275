"""What is read out of every genuine line, as files that a person can review.

`tests/golden/` holds one file for each file of `tests/fixtures/kong/` and `composed/`: for every line the
calls in it, with sorted keys. They are the specification of the mapping. After a change that is meant, write
them anew with

    .venv/bin/python tests/golden_calls.py

and read the difference before committing it. Texts of more than 2000 characters are given by their length
and a digest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import orjson

from kong_ai_tracing.calls import AICall, CallSettings, Observation, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.lines import Line, SetAside

FIXTURES = Path(__file__).parent / "fixtures" / "kong"
COMPOSED = Path(__file__).parent / "fixtures" / "composed"
GOLDEN = Path(__file__).parent / "golden"
_LONG = 2000


def fixture_files() -> list[Path]:
    """Every file of genuine lines."""
    return sorted(FIXTURES.rglob("*.jsonl"))


def composed_files() -> list[Path]:
    """Every file of lines that were written by hand."""
    return sorted(COMPOSED.glob("*.jsonl"))


def lines_of(path: Path) -> list[Line]:
    """The lines of a fixture, as the tailer would give them."""
    lines, offset = [], 0
    for data in path.read_bytes().splitlines(keepends=True):
        lines.append(Line(path.name, 1, offset, data.removesuffix(b"\n")))
        offset += len(data)
    return lines


def calls_in(line: Line, settings: CallSettings | None = None) -> list[AICall]:
    """The calls of one line."""
    calls: list[AICall] = []
    for entry in read_entries(line):
        if isinstance(entry, LogEntry):
            calls += calls_of(entry, settings or CallSettings(), explain=True)
    return calls


def golden_file(fixture: Path) -> Path:
    """Where the calls of a fixture are written down."""
    root = FIXTURES if fixture.is_relative_to(FIXTURES) else COMPOSED.parent
    return GOLDEN / fixture.relative_to(root).with_suffix(".json")


def golden_text(fixture: Path) -> str:
    """The calls of all lines of a fixture."""
    lines = [_of_line(number, line) for number, line in enumerate(lines_of(fixture), 1)]
    return json.dumps(lines, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _of_line(number: int, line: Line) -> dict[str, Any]:
    entries = read_entries(line)
    return {
        "line": number,
        "entries": [
            "set aside" if isinstance(entry, SetAside) else type(entry).__name__ for entry in entries
        ],
        "calls": [_of_call(call) for call in calls_in(line)],
    }


def _of_call(call: AICall) -> dict[str, Any]:
    found = {
        "id": call.id,
        "observation": _of_observation(call.observation),
        "context": _known(msgspec.structs.asdict(call.context)),
        "explain": call.explain,
    }
    if call.children:
        found["children"] = [
            {"id": child.id, "observation": _of_observation(child.observation)} for child in call.children
        ]
    return found


def _of_observation(said: Observation) -> dict[str, Any]:
    observation: dict[str, Any] = msgspec.structs.asdict(said)
    for name in ("input", "output"):
        text = observation[name]
        observation[name] = None if text is None else _shown(orjson.loads(text), len(text), text)
    observation["origin"] = msgspec.structs.asdict(observation["origin"])
    return _known(observation)


def _shown(value: Any, length: int, text: bytes) -> Any:
    if length <= _LONG:
        return value
    return {"bytes": length, "sha256": hashlib.sha256(text).hexdigest()[:16]}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, {}, [], ())}


def main() -> None:
    """Write all golden files anew."""
    for fixture in (*fixture_files(), *composed_files()):
        target = golden_file(fixture)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(golden_text(fixture))


if __name__ == "__main__":
    main()
