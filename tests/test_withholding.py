"""Where content stays on the host, it leaves in no other place of a call either."""

from __future__ import annotations

import json
from typing import Any

import pytest

import kong_entries
from kong_ai_tracing import otlp
from kong_ai_tracing.calls import AICall, CallSettings
from kong_ai_tracing.mapping import FieldMapping
from kong_ai_tracing.places import Places
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.spans import Span

SAID = "Frau Zebra hat Diabetes"
"""What a person said: in no place of it may a word be left."""
_CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
_ANSWER = kong_entries.CHAT_ANSWER


def _asked(**more: Any) -> dict[str, Any]:
    return {"capture": kong_entries.capture(_CHAT | more, _ANSWER)}


def _failed(answer: Any, status: int = 400) -> dict[str, Any]:
    return {
        "capture": kong_entries.capture(_CHAT, answer),
        "response": {"status": status, "headers": {"content-type": "application/json"}},
    }


def _rpc(response: Any, **more: Any) -> dict[str, Any]:
    asked = {"method": "tools/call", "params": {"name": "look", "arguments": {"who": SAID}}}
    payload = {"request": json.dumps(asked), "response": json.dumps(response)}
    return {
        "ai": {"mcp": {"rpc": [{"method": "tools/call", "tool_name": "look", "payload": payload} | more]}}
    }


_SCHEMA = {"type": "object", "description": SAID, "properties": {"who": {"enum": [SAID]}}}
PLACES: dict[str, dict[str, Any]] = {
    "a prompt": _asked(messages=[{"role": "user", "content": SAID}]),
    "an answer": {
        "capture": kong_entries.capture(
            _CHAT, _ANSWER | {"choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}}]}
        )
    },
    "a tool": _asked(tools=[{"type": "function", "function": {"name": "f", "description": SAID}}]),
    "a schema": _asked(
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": _SCHEMA}}
    ),
    "a stop sequence": _asked(stop=[SAID, "Zebra"]),
    "one stop sequence": _asked(stop="Zebra"),
    "a suffix": _asked(suffix="Zebra"),
    "a prediction": _asked(prediction={"type": "content", "content": SAID}),
    "a label in the body": _asked(metadata={"question": SAID, "deep": {"er": SAID}, "all": [SAID]}),
    "a name of a label": _asked(metadata={SAID: 1}),
    "a variable of a prompt": _asked(metadata={"variables": {"patient": "Zebra"}}),
    "a variable by its own name": _asked(metadata={"variables.patient": "Zebra"}),
    "a label in a header": {"request": kong_entries.request(langfuse_metadata=json.dumps({"q": SAID}))},
    "a property": {"request": kong_entries.request(helicone_property_question=SAID)},
    "metadata that are no object": {"request": kong_entries.request(x_portkey_metadata=SAID)},
    "an error that quotes": _failed({"error": {"message": f"cannot answer '{SAID}'", "type": "bad_request"}}),
    "an error whose type is a text": _failed({"error": {"message": "no", "type": SAID, "code": SAID}}),
    "an error of FastAPI": _failed(
        {"detail": [{"loc": ["body"], "msg": f"Input {SAID}", "input": {"q": SAID}}]}, 422
    ),
    "an error that is a text": _failed(f"upstream said: {SAID}", 500),
    "an error in a stream": {
        "capture": kong_entries.capture(
            _CHAT | {"stream": True},
            stream=kong_entries.sse({"error": {"message": f"flagged: {SAID}", "code": "content_filter"}}),
        )
    },
    "a reason to finish": {
        "capture": kong_entries.capture(
            _CHAT, _ANSWER | {"choices": [{"message": {"content": "no"}, "finish_reason": SAID}]}
        )
    },
    "a body that is no JSON": {"capture": kong_entries.capture(f'{{"messages": [{SAID}', _ANSWER)},
    "a guardrail": {
        "ai": {
            "proxy": {
                "lakera-guard": {
                    "input_processing_latency": 3,
                    "input_block_reason": f"it says {SAID}",
                    "input_block_detail": [{"text": SAID}],
                    "input_faulty_prompt": SAID,
                }
            }
        }
    },
    "arguments of a tool": _rpc({"result": {"content": [{"type": "text", "text": SAID}]}}),
    "an error of a tool": _rpc({"error": {"code": -32602, "message": f"who is {SAID}?"}}),
    "Kong's word about a tool": _rpc({}, error=f"no such person: {SAID}"),
    "a transformer": {
        "ai": {
            "ai-request-transformer": {
                "meta": {"request_model": "gpt-4o"},
                "payload": {
                    "request": json.dumps(_CHAT | {"prompt": SAID, "messages": SAID}),
                    "response": "{}",
                },
            }
        }
    },
    "a query string": {
        "request": kong_entries.request("/v1/chat/completions?q=Zebra"),
        "upstream_uri": "/v1/chat/completions?q=Zebra",
    },
    "a file's name": {
        "request": kong_entries.request(
            "/v1/audio/transcriptions", content_type="multipart/form-data; boundary=X"
        ),
        "upstream_uri": "/v1/audio/transcriptions",
        "service": {"host": "api.openai.com"},
        "capture": kong_entries.capture(
            '--X\r\ncontent-disposition: form-data; name="file"; filename="Zebra.wav"\r\n\r\nR\r\n--X--\r\n'
        ),
    },
    "a user agent": {
        "request": kong_entries.request(user_agent=SAID),
        "capture": kong_entries.capture(_CHAT, _ANSWER),
    },
}


def _leaving(call: AICall, settings: PrivacySettings) -> str:
    kept = Privacy(settings).apply(call)
    assert kept is not None
    context = kept.context
    spans = [
        Span(context.trace_id, each_id, None, context, observation)
        for each_id, observation in (
            (kept.id, kept.observation),
            *((child.id, child.observation) for child in kept.children),
        )
    ]
    return otlp.join([otlp.encode(span) for span in spans]).decode() + repr(spans)


@pytest.mark.parametrize("content", ["metadata", "hashed"])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_said_leaves_in_no_place(place: str, content: Any) -> None:
    """Whatever of a line it stands in; with everything sent, most of these places show it."""
    calls = kong_entries.calls(**PLACES[place])
    assert calls
    for call in calls:
        left = _leaving(call, PrivacySettings(content=content))
        assert "Zebra" not in left
        assert "Diabetes" not in left


@pytest.mark.parametrize(
    "place",
    [place for place in PLACES if place not in ("a query string", "a user agent", "a prediction")],
)
def test_these_places_do_show_it_otherwise(place: str) -> None:
    """So that the test above looks where there is something to be found."""
    assert any("Zebra" in _leaving(call, PrivacySettings()) for call in kong_entries.calls(**PLACES[place]))


def _kept(settings: PrivacySettings, **changes: Any) -> AICall:
    kept = Privacy(settings).apply(kong_entries.call(**changes))
    assert kept is not None
    return kept


METADATA = PrivacySettings(content="metadata")


def test_numbers_and_words_stay() -> None:
    """Settings and labels by which one filters are no content."""
    kept = _kept(
        METADATA,
        **_asked(
            temperature=0.2,
            reasoning_effort="high",
            tool_choice={"type": "function", "function": {"name": "f"}},
            response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": _SCHEMA}},
            metadata={"team": "search", "features": {"beta": True}, "note": "two words"},
        ),
    )
    settings = kept.observation.model_parameters
    assert settings["temperature"] == 0.2
    assert settings["reasoning_effort"] == "high"
    assert settings["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert settings["response_format"]["json_schema"] == {"name": "r", "schema": "[115 bytes]"}
    assert kept.context.metadata == {"team": "search", "features.beta": True, "note": "[9 characters]"}


def test_of_an_error_its_status_and_its_type_stay() -> None:
    """What went wrong is still told, only not in the provider's words."""
    kept = _kept(METADATA, **PLACES["an error that quotes"])
    assert kept.observation.status_message == "HTTP 400 Bad Request: [withheld]"
    assert kept.observation.metadata["error_type"] == "bad_request"


def test_one_word_of_a_provider_stays() -> None:
    """`Overloaded` repeats nothing."""
    kept = _kept(METADATA, **_failed({"error": {"message": "Overloaded"}}, 529))
    assert kept.observation.status_message == "HTTP 529: Overloaded"


def test_our_own_words_stay() -> None:
    """A stream that was cut says so in any mode."""
    stream = kong_entries.sse(kong_entries.chunk({"content": SAID}))
    kept = _kept(METADATA, capture=kong_entries.capture(_CHAT | {"stream": True}, stream=stream))
    assert "incomplete" in (kept.observation.status_message or "")


def test_what_the_operator_asked_for_stays() -> None:
    """A label that is named in the configuration is no word of the caller's choice."""
    settings = CallSettings(places=Places(FieldMapping(metadata=("body metadata.purpose",))))
    call = kong_entries.call(
        settings, **_asked(metadata={"purpose": "annual report", "note": "annual report"})
    )
    kept = Privacy(METADATA).apply(call)
    assert kept is not None
    assert kept.context.metadata == {"metadata.purpose": "annual report", "note": "[13 characters]"}


@pytest.mark.parametrize("header", ["langfuse-mask-input", "langfuse-mask-output"])
def test_a_caller_who_opts_out_is_not_quoted_either(header: str) -> None:
    """An error may repeat the question as well as the answer."""
    asked = kong_entries.request() | {"headers": {"content-type": "application/json", header: "true"}}
    kept = _kept(PrivacySettings(), request=asked, **PLACES["an error that quotes"])
    assert kept.observation.status_message == "HTTP 400 Bad Request: [withheld]"


def test_a_caller_who_hides_the_question_hides_texts_among_its_settings() -> None:
    """A stop sequence belongs to the question."""
    kept = _kept(PrivacySettings(), **_asked(stop=["Zebra"], metadata={"mask_input": True}))
    assert kept.observation.model_parameters["stop"] == "[9 bytes]"
    assert kept.observation.output is not None


def test_a_hashed_user_stands_in_no_other_place() -> None:
    """Applications that know people by their address use it for sessions, tags and names, too."""
    user = "alice@example.com"
    headers = {
        "x-user-id": user,
        "x-session-id": f"{user}:7",
        "langfuse-tags": f"beta,{user}",
        "langfuse-trace-name": f"chat of {user}",
        "content-type": "application/json",
    }
    kept = _kept(
        PrivacySettings(user_id="hash", user_id_salt="s"),
        request=kong_entries.request() | {"headers": headers},
        **_asked(metadata={"mail": user, "n": 1}),
    )
    assert "alice" not in repr(kept.context)
    digest = kept.context.user_id
    assert kept.context.session_id == f"{digest}:7"
    assert kept.context.tags == ["beta", digest]
    assert kept.context.metadata == {"mail": digest, "n": 1}


def test_a_short_user_is_replaced_only_where_it_is_the_whole_value() -> None:
    """User 7 is not in every number."""
    headers = {"x-user-id": "7", "x-session-id": "s-17", "x-project-id": "7"}
    asked = kong_entries.request() | {"headers": headers}
    kept = _kept(PrivacySettings(user_id="hash"), request=asked, **_asked())
    assert kept.context.session_id == "s-17"
    assert kept.context.metadata == {"project_id": kept.context.user_id}
