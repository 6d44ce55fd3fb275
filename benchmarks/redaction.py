"""What redaction costs beside parsing, what it finds of planted secrets, and what it takes for one wrongly.

    python benchmarks/redaction.py [LOG]      a log with ai-proxy's payloads; without one it is generated

Costs are CPU seconds for 10^9 bytes of log. The lines are parsed with orjson in the same turns, because the
machine's speed drifts: compare ratios, never figures of two runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from generate_log import generate  # noqa: E402
from kong_ai_tracing.calls import AICall, CallSettings, calls_of  # noqa: E402
from kong_ai_tracing.entries import LogEntry, read_entries  # noqa: E402
from kong_ai_tracing.lines import Line  # noqa: E402
from kong_ai_tracing.redact import OwnPattern, RedactionSettings, Redactor, cleaner_of  # noqa: E402
from kong_ai_tracing.redaction.cleaner import Cleaner  # noqa: E402
from leaks import left_over, ordinary_lines, planted_lines  # noqa: E402
from redaction_samples import ORDINARY, TOKENS, Maker, samples  # noqa: E402

_LOG_BYTES = 30_000_000
_TURNS = 3
_SEEDS = 20
_HOSTILE_BYTES = 1_000_000
_HOSTILE = (
    "4", "1.1.1.1 ", "4111 ", "@a.b", "a.b@c.d ", "sk-", "eyJ-", "eyJ4111111111111112", "https://a:b@ ",
    "-----BEGIN PRIVATE KEY-----", "password=", "token: ", "DE89 ", "2001::", "\\u0040", '\\"',
)  # fmt: skip
_OWN = OwnPattern("employee", r"\bEMP-\d{4,6}\b")


def main() -> None:
    if len(sys.argv) > 1:
        lines = _lines(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ai.log"
            generate(path, _LOG_BYTES)
            lines = _lines(path)
    texts = [text.encode() for line in lines for text in _payloads(line)]
    log_bytes = sum(map(len, lines))
    print(
        f"{len(texts)} payloads of {sum(map(len, texts)) / 1e6:.0f} MB in {log_bytes / 1e6:.0f} MB of log\n"
    )
    for name, seconds in _measure(lines, texts).items():
        print(f"  {name:34} {seconds / log_bytes * 1e9:6.2f} CPU-s/GB")
    print()
    for kind in ("secrets", "all"):
        print(f"  {kind}: {_rates(kind)}")
    print(f"  all, whole lines: {_rates_of_lines()}")
    print(f"  all, {_HOSTILE_BYTES / 1e6:.0f} MB of hostile text: {_hostile()}")


def _lines(path: Path) -> list[bytes]:
    lines, size = [], 0
    with path.open("rb") as file:
        for line in file:
            lines.append(line)
            size += len(line)
            if size >= _LOG_BYTES:
                break
    return lines


def _payloads(line: bytes) -> Iterator[str]:
    for section in (orjson.loads(line).get("ai") or {}).values():
        payload = section.get("payload") or {}
        yield from filter(None, (payload.get("request"), payload.get("response")))


def _measure(lines: list[bytes], texts: list[bytes]) -> dict[str, float]:
    """The best of some turns for each contestant; turns are taken in rotation."""
    secrets = cleaner_of(RedactionSettings())
    everything = cleaner_of(RedactionSettings(kinds=("all",)))
    own = cleaner_of(RedactionSettings(kinds=("all",), patterns=(_OWN,)))
    maker = Maker(1)
    planted = [_planted(text, TOKENS["openai_key"](maker)) for text in texts]

    def cleaning(cleaner: Cleaner, given: list[bytes]) -> Callable[[], object]:
        return lambda: [cleaner.clean_json(text, Counter()) for text in given]

    contestants: dict[str, Callable[[], object]] = {
        "orjson.loads of each line": lambda: [orjson.loads(line) for line in lines] and None,
        "secrets, clean texts": cleaning(secrets, texts),
        "all kinds, clean texts": cleaning(everything, texts),
        "all kinds and an own pattern": cleaning(own, texts),
        "secrets, a key in each prompt": cleaning(secrets, planted),
    }
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(_TURNS):
        for name, run in contestants.items():
            began = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - began)
    return best


def _planted(text: bytes, secret: str) -> bytes:
    return text.replace(b'"content":"', b'"content":"my key is %s ' % secret.encode(), 1)


def _rates(kind: str) -> str:
    cleaner = cleaner_of(RedactionSettings(kinds=(kind,)))
    planted = missed = 0
    for seed in range(_SEEDS):
        for sample in samples(seed, personal=kind == "all"):
            cleaned = cleaner.clean_json(json.dumps({"content": sample.text}).encode(), Counter())
            planted += 1
            missed += sample.secret in orjson.loads(cleaned)["content"]
    touched = sum(
        cleaner.clean_json(written, Counter()) != written
        for written in (json.dumps([text]).encode() for text in ORDINARY)
    )
    return (
        f"{missed} of {planted} planted secrets missed, {touched} of {len(ORDINARY)} ordinary texts touched"
    )


def _rates_of_lines() -> str:
    """Of lines with a secret in each place where a line can hold text, and of lines without any."""
    redactor = Redactor(RedactionSettings(kinds=("all",)))
    planted = planted_lines()
    calls = [call for each in planted for call in _calls(each.line)]
    missed = left_over(planted, [repr(redactor.redact(call)[0]).encode() for call in calls])
    ordinary = [call for line in ordinary_lines() for call in _calls(line)]
    touched = sum(redactor.redact(call)[0] is not call for call in ordinary)
    return (
        f"{len(missed)} of {len(planted)} planted secrets missed, {touched} of {len(ordinary)} calls touched"
    )


def _calls(data: bytes) -> list[AICall]:
    settings = CallSettings()
    entries = [entry for line in data.splitlines() for entry in read_entries(Line("", 1, 0, line))]
    return [call for entry in entries if isinstance(entry, LogEntry) for call in calls_of(entry, settings)]


def _hostile() -> str:
    """Text made of nothing but places to look at, beside ordinary text of the same length."""
    cleaner = cleaner_of(RedactionSettings(kinds=("all",)))

    def seconds(piece: str) -> float:
        text = json.dumps([piece * (_HOSTILE_BYTES // len(piece))]).encode()
        began = time.process_time()
        cleaner.clean_json(text, Counter())
        return time.process_time() - began

    ordinary = seconds("\n".join(ORDINARY))
    slowest = max((seconds(piece), piece) for piece in _HOSTILE)
    return f"{slowest[0]:.2f} s at most (of {slowest[1]!r}), {ordinary:.2f} s for the ordinary texts"


if __name__ == "__main__":
    main()
