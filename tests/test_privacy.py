"""What may leave: content modes, hashed users, samples, and a caller's wish for less."""

from __future__ import annotations

import orjson
import pytest
from msgspec.structs import replace

from kong_ai_tracing.ids import trace_id_from_seed
from kong_ai_tracing.optouts import OptOut, opt_out_of
from kong_ai_tracing.privacy import WITHHELD, Privacy, PrivacySettings
from test_traces import call

CALL = call("a", user_id="alice@example.com")


def test_by_default_a_call_passes_as_it_is() -> None:
    """Nothing is copied when nothing has to change."""
    assert Privacy(PrivacySettings()).apply(CALL) is CALL


def test_metadata_mode_keeps_prompts_and_answers_here() -> None:
    """Who, when, which model and how many tokens still leave, and the call says what is missing."""
    kept = Privacy(PrivacySettings(content="metadata")).apply(CALL)
    assert kept is not None
    assert (kept.observation.input, kept.observation.output) == (None, None)
    assert kept.observation.metadata[WITHHELD] == "input,output"
    assert kept.observation.usage_details == CALL.observation.usage_details
    assert b"ask a" not in repr(kept).encode()


def test_hashed_mode_sends_a_digest_and_a_size() -> None:
    """Equal prompts can be told from different ones, and nothing else."""
    kept = Privacy(PrivacySettings(content="hashed")).apply(CALL)
    assert kept is not None
    said = orjson.loads(kept.observation.input or b"")
    assert said["bytes"] == len(CALL.observation.input or b"")
    assert len(said["sha256"]) == 64
    again = Privacy(PrivacySettings(content="hashed")).apply(CALL)
    assert again == kept


@pytest.mark.parametrize(
    ("opt_out", "withheld"),
    [(OptOut(input=True), "input"), (OptOut(output=True), "output"), (OptOut(True, True), "input,output")],
)
def test_a_caller_can_keep_content_out(opt_out: OptOut, withheld: str) -> None:
    """Only what the caller named is withheld."""
    asked = replace(CALL, context=replace(CALL.context, opt_out=opt_out))
    kept = Privacy(PrivacySettings()).apply(asked)
    assert kept is not None
    assert kept.observation.metadata[WITHHELD] == withheld
    assert (kept.observation.input is None) == opt_out.input
    assert (kept.observation.output is None) == opt_out.output


def test_users_are_hashed_with_the_operators_salt() -> None:
    """The same user has the same hash, another salt gives another, and the name is gone."""
    first, second = (
        Privacy(PrivacySettings(user_id="hash", user_id_salt=salt)).apply(CALL) for salt in ("one", "two")
    )
    assert first is not None
    assert second is not None
    assert first.context.user_id != second.context.user_id
    assert "alice" not in repr(first)
    assert Privacy(PrivacySettings(user_id="hash", user_id_salt="one")).apply(CALL) == first


def test_a_sample_is_the_same_everywhere_and_has_its_size() -> None:
    """Whole traces are kept or left out, on every host alike."""
    privacy = Privacy(PrivacySettings(sample_rate=0.25))
    calls = [call(str(n), trace=trace_id_from_seed(str(n))) for n in range(2_000)]
    kept = [one for one in calls if privacy.apply(one) is not None]
    assert 400 < len(kept) < 600
    assert [one for one in calls if privacy.apply(one) is not None] == kept


@pytest.mark.parametrize(("keep_errors", "survives"), [(True, True), (False, False)])
def test_failed_calls_stay_in_the_sample(keep_errors: bool, survives: bool) -> None:
    """Errors are what people look for."""
    failed = replace(CALL, observation=replace(CALL.observation, level="ERROR"))
    settings = PrivacySettings(sample_rate=0.0, keep_errors=keep_errors)
    assert (Privacy(settings).apply(failed) is not None) == survives
    assert Privacy(settings).apply(CALL) is None


@pytest.mark.parametrize(
    ("headers", "metadata", "expected"),
    [
        ({}, {}, None),
        ({"langfuse-mask-input": "true"}, {}, OptOut(input=True)),
        ({"langfuse-mask-input": "false"}, {}, None),
        ({"langfuse-mask-input": ["", "1"]}, {}, OptOut(input=True)),
        ({}, {"mask_output": True}, OptOut(output=True)),
        ({}, {"langfuse_mask_output": "yes"}, OptOut(output=True)),
        ({"x-litellm-enable-message-redaction": "True"}, {}, OptOut(True, True)),
        ({"cf-aig-collect-log-payload": "false"}, {}, OptOut(True, True)),
        ({"cf-aig-collect-log": "true"}, {}, None),
        ({"helicone-omit-response": "true", "langfuse-mask-input": "1"}, {}, OptOut(True, True)),
        ({"langfuse-mask-input": {"odd": 1}}, {"mask_input": None}, None),
    ],
)
def test_the_wish_is_read_where_callers_put_it(
    headers: dict, metadata: dict, expected: OptOut | None
) -> None:
    """Headers and body members of the gateways that people come from; a value can only ask for less."""
    assert opt_out_of(headers, metadata) == expected
