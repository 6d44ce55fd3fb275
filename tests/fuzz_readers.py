"""Coverage-guided fuzzing of all that reads what strangers wrote; `make fuzz` runs it for some minutes.

Needs atheris, which is no requirement of the tests. Begins with the genuine lines and the samples of all
providers. An input that breaks a promise is written to `build/fuzz/`; put it into `tests/fuzz/` and mend.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["kong_ai_tracing"]):
    import fuzzing

from dialect_samples import SAMPLES
from golden_calls import fixture_files

WORK = Path("build/fuzz")


def seeds() -> None:
    """Write the inputs to begin with."""
    corpus = WORK / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    texts = [(5, line) for path in fixture_files() for line in path.read_bytes().splitlines()[:20]]
    for sample in SAMPLES:
        texts += [
            (kind, json.dumps(body).encode()) for kind, body in ((0, sample.request), (0, sample.whole))
        ]
        texts += [(kind, sample.stream().encode()) for kind in (0, 1, 2)]
    for number, (kind, text) in enumerate(texts):
        data = bytes((number % 256, kind, number * 7 % 256)) + text
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    for kept in fuzzing.KEPT.glob("*.bin"):
        (corpus / kept.name).write_bytes(kept.read_bytes())


ODD = (None, True, 0, -1, 1.5, "", "x", [], {}, [{}], {"type": "text"}, "data: {}", " ", "\u2028", [[]])


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Another input: half the time by its bytes, else one value in its JSON is put in another's place."""
    draw = random.Random(seed)
    if len(data) < 4 or draw.random() < 0.5:
        return atheris.Mutate(data, max_size)
    head, lines = bytearray(data[:3]), data[3:].split(b"\n")
    if draw.random() < 0.2:
        head[draw.randrange(3)] = draw.randrange(256)
    number = draw.randrange(len(lines))
    prefix = b"data: " if lines[number].startswith(b"data: ") else b""
    try:
        value = json.loads(lines[number][len(prefix) :])
    except (ValueError, RecursionError):
        return atheris.Mutate(data, max_size)
    places = list(places_in(value)) if isinstance(value, dict | list) else []
    if places:
        holder, name = draw.choice(places)
        other, other_name = draw.choice(places)
        holder[name] = draw.choice((draw.choice(ODD), copy.deepcopy(other[other_name]), [holder[name]]))
        lines[number] = prefix + json.dumps(value).encode()
    if draw.random() < 0.1:
        lines.insert(draw.randrange(len(lines)), draw.choice(lines))
    return (bytes(head) + b"\n".join(lines))[:max_size]


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value within another."""
    for name, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, name
        if isinstance(item, dict | list):
            yield from places_in(item)


if __name__ == "__main__":
    seeds()
    options = ["-max_len=20000", "-timeout=20", f"-artifact_prefix={WORK}/", *sys.argv[1:]]
    corpus = str(WORK / "corpus")
    atheris.Setup([sys.argv[0], corpus, *options], fuzzing.try_input, custom_mutator=mutated)
    atheris.Fuzz()
