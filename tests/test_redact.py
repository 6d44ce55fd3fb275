"""A call in, the same call without what must not leave the host out."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from kong_ai_tracing.calls import AICall, Child, Context, Observation
from kong_ai_tracing.redact import (
    GIVEN_ENVIRONMENT,
    KINDS,
    REDACTED,
    OwnPattern,
    RedactionError,
    RedactionSettings,
    Redactor,
    problems_of,
)
from redaction_samples import ORDINARY, Sample, samples

SECRETS = Redactor(RedactionSettings())
ALL = Redactor(RedactionSettings(kinds=("all",)))

PLACES = (
    "input", "output", "tool arguments", "tool input", "status_message", "name", "model", "model_parameters",
    "metadata", "nested metadata", "metadata name", "trace_name", "tags", "user_id", "session_id", "release",
    "version", "trace metadata", "nested trace metadata", "provider", "usage name", "child name",
    "child input", "child output", "child metadata", "child message", "passed over",
)  # fmt: skip
IDS = ("model", "user_id", "session_id", "release", "version", "provider", "usage name", "passed over")


def call_with(place: str = "", text: str = "") -> AICall:
    """A call that says something ordinary everywhere, and a text in one place."""

    def at(here: str, ordinary: str) -> str:
        return text if here == place else ordinary

    arguments = json.dumps({"command": at("tool arguments", "ls -l"), "limit": 5})
    messages = [
        {"role": "system", "content": ORDINARY[0]},
        {"role": "user", "content": [{"type": "text", "text": at("input", ORDINARY[1])}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "function": {"name": "shell", "arguments": arguments}},
        ]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "input": {"deep": [{"note": at("tool input", "nothing")}]}}]},
    ]  # fmt: skip
    return AICall(
        id="0123456789abcdef",
        observation=Observation(
            type="generation",
            name=at("name", "chat gpt-4o"),
            started_at_ms=1764000000003,
            ended_at_ms=1764000000903,
            status_message=at("status_message", "upstream timed out"),
            model=at("model", "gpt-4o-2024-08-06"),
            model_parameters={"stop": [at("model_parameters", "END")], "temperature": 0.7},
            input=json.dumps(messages).encode(),
            output=json.dumps({"role": "assistant", "content": at("output", ORDINARY[2])}).encode(),
            provider=at("provider", "openai"),
            usage_details={"input": 10, at("usage name", "output"): 5},
            metadata={
                "path": at("metadata", "/v1/chat/completions?api-version=2024-10-21"),
                "tries": [
                    {"code": 502, "note": at("nested metadata", "again"), "started_at_ms": 1764000000005}
                ],
                at("metadata name", "ordinary"): 1,
            },
        ),
        passed_over={"user_id": {"header x-user-id": at("passed over", "bob")}},
        children=[
            Child(
                "1123456789abcdef",
                Observation(
                    type="tool",
                    name=at("child name", "search"),
                    started_at_ms=1764000000003,
                    ended_at_ms=1764000000203,
                    status_message=at("child message", "refused"),
                    input=json.dumps({"q": at("child input", "kittens")}).encode(),
                    output=json.dumps([at("child output", "two")]).encode(),
                    metadata={"kong_object": "mcp", "note": at("child metadata", "ok")},
                ),
            )
        ],
        context=Context(
            trace_id="0" * 32,
            shared=False,
            trace_name=at("trace_name", "chat-route"),
            environment="production",
            user_id=at("user_id", "user-02377"),
            session_id=at("session_id", "e2db279d-ae48-4090-b7c8-2ff2ced822ae"),
            tags=["team-0", at("tags", "beta")],
            release=at("release", "1.2.3"),
            version=at("version", "v7"),
            metadata={"project": at("trace metadata", "x"), "a": {"b": [at("nested trace metadata", "y")]}},
        ),
    )


def all_that_leaves(call: AICall) -> str:
    """Everything a call says, as text with JSON's escapes undone."""
    encoded = json.dumps(
        msgspec.to_builtins(call, builtin_types=(bytes,)), default=bytes.decode, ensure_ascii=False
    )
    texts = [encoded]
    for _ in range(3):
        texts.append(
            texts[-1].replace("\\\\", "\\").replace('\\"', '"').replace("\\n", "\n").replace("\\/", "/")
        )
    return "\n".join(texts)


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_survives_anywhere(place: str) -> None:
    """Every kind in every place a call can hold text, hundreds in all; the summary names the kind."""
    for sample in samples(PLACES.index(place), personal=place not in IDS):
        cleaned, counts = ALL.redact(call_with(place, sample.text))
        assert sample.secret not in all_that_leaves(cleaned), (place, sample)
        assert counts[sample.kind] >= 1, (place, sample)
        assert cleaned.observation.metadata[REDACTED] == dict(counts)
        for text in (cleaned.observation.input, cleaned.observation.output):
            json.loads(text or b"")


def test_several_places_are_counted_together() -> None:
    """One call, three places, two kinds."""
    found = {sample.kind: sample for sample in samples(1)}
    key, email = found["openai_key"].secret, found["email"].secret
    call = call_with("input", f"{key} and {key} of {email}")
    call.observation.status_message = f"wrong key {key}"
    cleaned, counts = ALL.redact(call)
    assert counts == {"openai_key": 3, "email": 1}
    assert cleaned.observation.metadata[REDACTED] == {"email": 1, "openai_key": 3}
    assert cleaned.observation.status_message == "wrong key [REDACTED:openai_key]"


def test_a_clean_call_is_handed_on_as_it_is() -> None:
    """Nothing is copied, nothing is added."""
    for redactor in (SECRETS, ALL):
        for text in ORDINARY:
            call = call_with("input", text)
            assert redactor.redact(call) == (call, Counter())
            assert redactor.redact(call)[0] is call


def test_the_call_that_came_in_is_left_alone() -> None:
    """Its context may be shared with other calls of the same line."""
    sample = next(sample for sample in samples(2) if sample.kind == "anthropic_key")
    for place in PLACES:
        call = call_with(place, sample.text)
        before = msgspec.to_builtins(call, builtin_types=(bytes,))
        assert SECRETS.redact(call)[0] is not call
        assert msgspec.to_builtins(call, builtin_types=(bytes,)) == before


def test_an_environment_made_of_a_key_is_not_named() -> None:
    """It was brought into Langfuse's form before; what the caller wrote tells what it is."""
    key = "AIza" + "Sy7" * 12
    call = call_with()
    call.context.environment = key.lower()
    call.context.metadata[GIVEN_ENVIRONMENT] = key
    call.observation.metadata["environment"] = key.lower()
    cleaned, _ = SECRETS.redact(call)
    assert cleaned.context.environment == cleaned.observation.metadata["environment"] == "redacted"
    assert key.lower() not in all_that_leaves(cleaned).lower()


def test_labels_that_are_not_worth_the_work_are_taken_out_as_a_whole() -> None:
    """They stay labels."""
    call = call_with("metadata", "1.2.3.4," * 100_000)
    cleaned, counts = ALL.redact(call)
    assert counts == {"unsearched": 1}
    assert set(cleaned.observation.metadata) == {"unsearched", REDACTED}


def test_what_is_not_text_keeps_its_type() -> None:
    """Numbers, lists and truth values of metadata are those that came in."""
    call = call_with("nested metadata", "key sk-ant-" + "x7" * 20)
    call.observation.metadata |= {"streaming": True, "ratio": 0.25, "nothing": None, "big": 2**60}
    metadata = SECRETS.redact(call)[0].observation.metadata
    expected = {**call.observation.metadata, REDACTED: {"anthropic_key": 1}}
    expected["tries"] = [
        {"code": 502, "note": "key [REDACTED:anthropic_key]", "started_at_ms": 1764000000005}
    ]
    assert metadata == expected


def test_ids_lose_secrets_only() -> None:
    """A user id that is an e-mail address joins what a person did; the operator chose to send it."""
    call = call_with("user_id", "bob@mail.example")
    call.context.session_id = "10.2.3.4"
    cleaned, counts = ALL.redact(call)
    assert (cleaned, counts) == (call, {})
    cleaned, _ = ALL.redact(call_with("user_id", "sk-ant-" + "x7" * 20))
    assert cleaned.context.user_id == "[REDACTED:anthropic_key]"


def test_the_operators_patterns_are_applied_everywhere() -> None:
    """Whoever writes one means it: in ids, too."""
    redactor = Redactor(RedactionSettings(kinds=("none",), patterns=(OwnPattern("staff", r"\bEMP-\d+\b"),)))
    for place in PLACES:
        cleaned, counts = redactor.redact(call_with(place, "for\nEMP-1234/5"))
        assert counts == {"staff": 1}, place
        assert "EMP-1234" not in all_that_leaves(cleaned)


def test_by_default_secrets_go_and_persons_stay() -> None:
    """What a token opens must not leave in any case; what a person is called is a matter of purpose."""
    for sample in samples(5):
        _, counts = SECRETS.redact(call_with("input", sample.text))
        assert bool(counts) == (sample.kind not in ("email", "phone", "card", "iban", "ip")), sample


def test_a_call_without_bodies_is_fine() -> None:
    """Bodies are often not logged."""
    call = call_with()
    call.observation.input = call.observation.output = None
    assert ALL.redact(call) == (call, {})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RedactionSettings(kinds=("secret", "emial")), ["emial", "known are", "email"]),
        (RedactionSettings(patterns=(OwnPattern("Big Name", "a"),)), ["Big Name", "a-z"]),
        (RedactionSettings(patterns=(OwnPattern("x", "(a"),)), ["'x'", "not accepted"]),
        (RedactionSettings(patterns=(OwnPattern("x", "a*"),)), ["'x'", "nothing"]),
        (RedactionSettings(patterns=(OwnPattern("x", "a" * 1001),)), ["'x'", "1000"]),
        (RedactionSettings(patterns=(OwnPattern("x", "a"), OwnPattern("x", "b"))), ["'x'", "twice"]),
    ],
)
def test_wrong_settings_are_refused_at_the_start(settings: RedactionSettings, words: list[str]) -> None:
    """Each problem is named; a filter that is not the one that was meant must not run."""
    with pytest.raises(RedactionError) as raised:
        Redactor(settings)
    assert all(word in str(raised.value) for word in words)
    assert "\n".join(problems_of(settings)) == str(raised.value)


def test_every_kind_can_be_chosen_by_itself() -> None:
    """The presets and the kinds are the words of the setting."""
    for kind in KINDS:
        assert problems_of(RedactionSettings(kinds=(kind,))) == []
    by_kind: dict[str, list[Sample]] = {}
    for sample in samples(8):
        by_kind.setdefault(sample.kind, []).append(sample)
    for kind, found in by_kind.items():
        redactor = Redactor(RedactionSettings(kinds=(kind,)))
        for sample in found:
            counts: Any = redactor.redact(call_with("input", sample.text))[1]
            assert set(counts) == {kind}, sample
