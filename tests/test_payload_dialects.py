"""The OpenAI family: what each reader takes out of a request, an answer and a stream."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import orjson
import pytest

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.payloads import Dialect, Sketch, read_answer, read_request
from kong_ai_tracing.payloads.chat import DIALECT as CHAT
from kong_ai_tracing.payloads.completions import DIALECT as COMPLETIONS
from kong_ai_tracing.payloads.dialect import Answered, Asked
from kong_ai_tracing.payloads.embeddings import DIALECT as EMBEDDINGS
from kong_ai_tracing.payloads.responses import DIALECT as RESPONSES
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, chunk, sse
from reading import thought


def ask(dialect: Dialect, body: Any) -> Asked:
    name, found = read_request(Sketch(Body(json.dumps(body))), dialect)
    assert name is dialect
    return found


def answer(dialect: Dialect, body: Any, tail: str | None = None) -> Answered:
    text = body if isinstance(body, str) else json.dumps(body)
    return read_answer(Sketch(Body(text, tail)), dialect)


def message(found: Answered) -> Any:
    assert found.output is not None
    return json.loads(found.output)


# -- chat


def test_the_messages_of_a_chat_are_its_input_to_the_byte() -> None:
    """They are a slice of the body, white space and escapes included."""
    body = '{"model":"gpt-4o", "messages": [ {"role":"user","content":"caf\\u00e9"} ] }'
    _, found = read_request(Sketch(Body(body)), CHAT)
    assert found.input == b'[ {"role":"user","content":"caf\\u00e9"} ]'
    assert (found.model, found.message_count, found.prompt_length) == ("gpt-4o", 1, 4)


def test_tools_stand_beside_the_messages_where_there_are_tools() -> None:
    """Kong's `{}` for an empty list is none."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    found = ask(CHAT, CHAT_REQUEST | {"tools": tools})
    assert json.loads(found.input or b"") == {"messages": CHAT_REQUEST["messages"], "tools": tools}
    for empty in ([], {}, None):
        assert json.loads(ask(CHAT, CHAT_REQUEST | {"tools": empty}).input or b"") == CHAT_REQUEST["messages"]


def test_settings_become_model_parameters() -> None:
    """Those that are settings; not who asked. Of a large schema its name and size are kept."""
    body = CHAT_REQUEST | {
        "temperature": 0,
        "max_tokens": 5,
        "stop": ["a"],
        "stream": True,
        "user": "u",
        "n": None,
    }
    schema = {"type": "object", "properties": {"x": {"description": "y" * 3000}}}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True}}
    form["json_schema"]["schema"] = schema
    short = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True}}
    short["json_schema"]["schema"] = f"[{len(orjson.dumps(schema))} bytes]"
    found = ask(CHAT, body | {"response_format": form})
    settings = {"max_tokens": 5, "stop": ["a"], "stream": True, "temperature": 0}
    assert found.parameters == settings | {"response_format": short}
    assert ask(CHAT, body | {"stop": ["x" * 100] * 100}).parameters["stop"] == "[10301 bytes]"
    assert found.streamed


def test_the_text_of_all_messages_is_measured() -> None:
    """Strings and parts with text; images and calls have none."""
    parts = [{"type": "text", "text": "12345"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}, {"role": "x"}]
    found = ask(CHAT, {"messages": [*messages, {"role": "user", "content": "678"}]})
    assert (found.message_count, found.prompt_length) == (4, 8)


def test_messages_of_odd_types_are_counted_all_the_same() -> None:
    """A content that is a number, a message that is none."""
    found = ask(CHAT, {"messages": [{"content": 5}, {"content": "abc"}]})
    assert (found.message_count, found.prompt_length) == (2, 3)


def test_the_assistants_message_is_the_output() -> None:
    """With usage, finish reason, id and model beside it."""
    found = answer(CHAT, CHAT_ANSWER)
    assert message(found) == {"role": "assistant", "content": "hello"}
    assert found.usage == CHAT_ANSWER["usage"]
    assert (found.finish_reason, found.response_id, found.model) == (
        "stop",
        "chatcmpl-1",
        "gpt-4o-2024-08-06",
    )
    assert (found.response_length, found.partial, found.failure) == (5, False, None)


def test_several_choices_are_a_list_of_messages() -> None:
    """The order is that of the answer."""
    choices = [{"message": {"role": "assistant", "content": word}} for word in ("a", "bc")]
    found = answer(CHAT, {"choices": choices})
    assert [each["content"] for each in message(found)] == ["a", "bc"]
    assert found.response_length == 3


def test_a_message_without_a_role_is_given_one() -> None:
    """Some servers leave it out."""
    assert message(answer(CHAT, {"choices": [{"message": {"content": "x"}}]}))["role"] == "assistant"


@pytest.mark.parametrize("choices", [{}, [], None])
def test_an_answer_without_choices_has_no_output(choices: Any) -> None:
    """Kong writes `{}` where a safety filter left nothing; usage may be a sentence."""
    found = answer(CHAT, {"object": "chat.completion", "choices": choices, "usage": "no usage data returned"})
    assert (found.output, found.usage, found.failure) == (None, {}, None)


def test_a_streamed_chat_becomes_the_message_it_would_have_been() -> None:
    """Content, id, model, usage and finish reason from wherever they came."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    events = [
        chunk({"role": "assistant", "content": ""}, usage=None),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(finish_reason="stop"),
        {"id": "chatcmpl-2", "choices": [], "usage": usage},
    ]
    found = answer(CHAT, sse(*events, "[DONE]", end="\r\n\r\n"))
    assert message(found) == {"role": "assistant", "content": "Hello"}
    assert (found.usage, found.finish_reason, found.partial) == (usage, "stop", False)
    assert (found.response_id, found.model, found.response_length) == ("chatcmpl-2", "gpt-4o-2024-08-06", 5)


def test_streamed_tool_calls_are_put_together() -> None:
    """Fragments go to their call by index; names come once, arguments piece by piece."""

    def part(index: int, arguments: str, **head: Any) -> dict[str, Any]:
        function = {"arguments": arguments} | ({"name": head.pop("name")} if "name" in head else {})
        return chunk({"tool_calls": [{"index": index, "function": function} | head]})

    events = [
        chunk({"role": "assistant", "content": None}),
        part(0, "", id="call_a", type="function", name="f"),
        part(0, '{"x"'),
        part(1, "{", id="call_b", type="function", name="g"),
        part(0, ":1}"),
        part(1, "}"),
        chunk(finish_reason="tool_calls"),
    ]
    found = message(answer(CHAT, sse(*events)))
    assert found == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_tool_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    """Some servers send whole calls, or fragments without an index."""
    whole = {"function": {"name": "f", "arguments": "{}"}}
    events = [chunk({"tool_calls": [whole | {"id": "a"}]}), chunk({"tool_calls": [whole | {"id": "b"}]})]
    assert [call["id"] for call in message(answer(CHAT, sse(*events)))["tool_calls"]] == ["a", "b"]


def test_several_streamed_choices_are_kept_apart() -> None:
    """By their index, whatever the order of their fragments."""
    events = [chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({"content": "B"}, index=1)]
    found = answer(CHAT, sse(*events, "[DONE]"))
    assert [each["content"] for each in message(found)] == ["a", "bB"]


def test_reasoning_and_refusals_are_part_of_the_message() -> None:
    """Whatever text member a server streams is put together; thoughts have one name."""
    events = [
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning_content": "m."}),
        chunk({"refusal": "No."}),
    ]
    found = message(answer(CHAT, sse(*events, "[DONE]")))
    assert found == {"role": "assistant", "content": None, "refusal": "No.", "thinking": thought("Hmm.")}


def test_a_stream_without_its_end_is_partial() -> None:
    """No end mark and no finish reason: somebody broke off."""
    assert answer(CHAT, sse(chunk({"content": "par"}))).partial
    assert not answer(CHAT, sse(chunk({"content": "par"}), "[DONE]")).partial
    assert not answer(CHAT, sse(chunk({"content": "x"}), chunk(finish_reason="stop"))).partial
    assert answer(CHAT, "data: {").partial


def test_an_error_in_mid_stream_is_a_failure_with_the_text_so_far() -> None:
    """The status had been 200 already."""
    found = answer(
        CHAT, sse(chunk({"content": "par"}), {"error": {"message": "overloaded", "type": "server_error"}})
    )
    assert found.failure is not None
    assert (found.failure.message, found.partial) == ("overloaded", False)
    assert message(found)["content"] == "par"


def test_a_missing_middle_is_marked_in_the_text() -> None:
    """The end still gives usage and finish reason."""
    head = sse(chunk({"content": "begin"}), chunk({"content": "ning"}))
    tail = '"torn"}}]}\n\n' + sse(
        chunk({"content": "end"}), chunk(finish_reason="stop", usage={"total_tokens": 9})
    )
    found = answer(CHAT, head, tail)
    assert message(found)["content"] == "beginning […] end"
    assert (found.usage, found.finish_reason, found.partial) == ({"total_tokens": 9}, "stop", False)


def test_vllms_bare_error_in_a_stream_is_a_failure() -> None:
    """It sends the error itself instead of wrapping it."""
    found = answer(CHAT, sse(chunk({"content": "par"}), {"object": "error", "message": "out of memory"}))
    assert found.failure is not None
    assert found.failure.message == "out of memory"


# -- completions


def test_a_completion_is_a_prompt_and_a_text() -> None:
    """No messages are made of it."""
    found = ask(COMPLETIONS, {"model": "m", "prompt": "Once", "max_tokens": 6})
    assert (found.input, found.prompt_length, found.parameters) == (b'"Once"', 4, {"max_tokens": 6})
    told = answer(COMPLETIONS, {"choices": [{"index": 0, "text": " upon", "finish_reason": "length"}]})
    assert (told.output, told.finish_reason, told.response_length) == (b'" upon"', "length", 5)


def test_several_prompts_and_texts_are_lists() -> None:
    """As they were asked and answered."""
    assert ask(COMPLETIONS, {"prompt": ["ab", "c"]}).prompt_length == 3
    assert message(answer(COMPLETIONS, {"choices": [{"text": "x"}, {"text": "y"}]})) == ["x", "y"]


def test_a_streamed_completion_is_one_text() -> None:
    """Fragments carry `text` instead of a delta."""
    events = [{"id": "cmpl-1", "choices": [{"index": 0, "text": word}]} for word in ("a", " b")]
    found = answer(COMPLETIONS, sse(*events, "[DONE]"))
    assert (message(found), found.response_id, found.partial) == ("a b", "cmpl-1", False)


# -- embeddings


@pytest.mark.parametrize("vector", [[0.1, 0.2, 0.3], base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()])
def test_vectors_stay_behind_and_are_counted(vector: Any) -> None:
    """As numbers or as base64."""
    item = {"object": "embedding", "index": 0, "embedding": vector}
    body = {"object": "list", "data": [item, item], "model": "m", "usage": {"prompt_tokens": 4}}
    found = answer(EMBEDDINGS, body)
    assert message(found) == {"count": 2, "dimensions": 3}
    assert (found.model, found.usage) == ("m", {"prompt_tokens": 4})


def test_the_texts_to_embed_are_the_input() -> None:
    """One, several, or tokens."""
    assert ask(EMBEDDINGS, {"input": "ab", "model": "m"}).input == b'"ab"'
    assert ask(EMBEDDINGS, {"input": ["ab", "c"]}).prompt_length == 3
    assert ask(EMBEDDINGS, {"input": [[1, 2], [3]]}).prompt_length == 0


def test_a_long_answer_whose_middle_is_missing_still_has_its_usage() -> None:
    """A list of embeddings is longer than what is captured; its tokens stand at the end."""
    head = '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2'
    found = answer(EMBEDDINGS, head, '.5]}],"model":"m","usage":{"prompt_tokens":900,"total_tokens":900}}')
    assert (found.model, found.usage["prompt_tokens"]) == ("m", 900)
    assert (found.output, found.partial) == (None, False)


# -- responses


def test_instructions_and_input_become_messages() -> None:
    """A bare text is what the user says; items stay as they are."""
    found = ask(RESPONSES, {"model": "m", "instructions": "Be brief.", "input": "hi", "max_output_tokens": 9})
    assert json.loads(found.input or b"") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert (found.message_count, found.prompt_length) == (2, 11)
    assert found.parameters == {"max_output_tokens": 9}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "abc"}]}, {"type": "item_reference"}]
    found = ask(RESPONSES, {"input": items})
    assert (json.loads(found.input or b""), found.prompt_length) == (items, 3)


def test_the_form_of_an_answer_is_a_setting_and_a_kept_prompt_is_input() -> None:
    """The one has the name that it has in a chat; the other holds what the user wrote."""
    form = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}
    found = ask(RESPONSES, {"input": "hi", "text": {"format": form, "verbosity": "low"}})
    assert found.parameters == {"response_format": form, "verbosity": "low"}
    prompt = {"id": "pmpt_1", "version": "2", "variables": {"name": "Ada"}}
    assert json.loads(ask(RESPONSES, {"prompt": prompt}).input or b"") == {"prompt": prompt}
    both = json.loads(ask(RESPONSES, {"prompt": prompt, "input": "hi"}).input or b"")
    assert both == {"prompt": prompt, "messages": [{"role": "user", "content": "hi"}]}


OUTPUT = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
    {"type": "function_call", "call_id": "c1", "id": "fc", "name": "f", "arguments": "{}"},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-4.1",
    "status": "completed",
    "error": None,
    "output": OUTPUT,
    "usage": {"input_tokens": 8, "output_tokens": 5},
}
ASSISTANT = {
    "role": "assistant",
    "content": "Hello",
    "thinking": thought("Hm."),
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def test_output_items_become_one_assistant_message() -> None:
    """Text, summary of the reasoning and tool calls; anything else is kept as it is."""
    found = answer(RESPONSES, RESPONSE)
    assert message(found) == ASSISTANT
    assert (found.model, found.response_id, found.finish_reason) == ("gpt-4.1", "resp_1", "completed")
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    kept = {"type": "reasoning", "summary": [], "encrypted_content": "x"}
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "go"}
    picture = {"type": "image_generation_call", "result": "aGk=", "output_format": "webp"}
    assert message(answer(RESPONSES, RESPONSE | {"output": [kept, refused, custom]})) == {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "redacted_thinking": [{"type": "redacted_thinking", "data": "x"}],
        "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "go"}}],
    }
    [shown] = message(answer(RESPONSES, RESPONSE | {"output": [picture]}))["content"]
    assert shown == {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aGk="}}
    search = {"type": "web_search_call", "status": "completed"}
    assert message(answer(RESPONSES, RESPONSE | {"output": [search]}))["items"] == [search]


def test_the_last_event_of_a_stream_holds_the_whole_response() -> None:
    """`response.completed`, `response.incomplete` and `response.failed` all do."""
    begun = {"type": "response.created", "response": RESPONSE | {"output": [], "status": "in_progress"}}
    delta = {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"}
    found = answer(RESPONSES, sse(begun, delta, {"type": "response.completed", "response": RESPONSE}))
    assert (message(found), found.partial, found.usage) == (ASSISTANT, False, RESPONSE["usage"])
    short = RESPONSE | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    found = answer(RESPONSES, sse(begun, {"type": "response.incomplete", "response": short}))
    assert found.finish_reason == "max_output_tokens"
    failed = RESPONSE | {
        "status": "failed",
        "error": {"code": "server_error", "message": "sorry"},
        "output": [],
    }
    found = answer(RESPONSES, sse(begun, delta, {"type": "response.failed", "response": failed}))
    assert found.failure is not None
    assert (found.failure.message, message(found)["content"]) == ("sorry", "Hel")


def test_a_cut_stream_is_put_together_from_its_fragments() -> None:
    """Text, reasoning and arguments so far; the rest is missing."""
    events = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4.1", "output": []}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm."},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
    ]
    found = answer(RESPONSES, sse(*events))
    assert (message(found), found.partial) == (ASSISTANT, True)
    assert (found.response_id, found.finish_reason) == ("resp_1", None)


def test_an_error_event_is_a_failure() -> None:
    """With its message, in either of its forms."""
    for event in ({"type": "error", "message": "no"}, {"type": "error", "error": {"message": "no"}}):
        found = answer(RESPONSES, sse(event))
        assert found.failure is not None
        assert (found.failure.message, found.partial) == ("no", False)
