"""What the many servers that speak like OpenAI add to it: reasoning, sources, chunks, counts, comments."""

from __future__ import annotations

from typing import Any

import pytest
from mistralai.client.models import AssistantMessage

import kong_entries
from kong_entries import CHAT_ANSWER, chunk, sse
from reading import answer, ask, said, thought

CHAT = "/v1/chat/completions"


def whole(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An answer that came at once."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice]} | more


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_has_one_name_whatever_its_server_calls_it(name: str) -> None:
    """DeepSeek, xAI, vLLM; OpenRouter, Groq."""
    told = said(answer(CHAT, whole({"content": "Hi", name: "Hmm."})))
    events = [chunk({name: "Hm", "content": None}), chunk({name: "m."}), chunk({"content": "Hi"})]
    streamed = said(answer(CHAT, sse(*events, chunk(finish_reason="stop"), "[DONE]")))
    assert told == streamed == {"role": "assistant", "content": "Hi", "thinking": thought("Hmm.")}


def test_details_of_the_reasoning_are_put_together_by_their_index() -> None:
    """OpenRouter streams them in pieces, with comments between the events."""

    def detail(index: int, text: str, **more: Any) -> dict[str, Any]:
        piece = {"type": "reasoning.text", "text": text, "index": index, "format": "anthropic-claude-v1"}
        return chunk({"content": "", "reasoning_details": [piece | more]})

    comments = ": OPENROUTER PROCESSING\n\n" * 3
    events = [detail(0, "H", signature=None), detail(0, "m", signature="s"), detail(1, "!")]
    found = said(
        answer(CHAT, comments + sse(*events, chunk({"content": "Hi"}, finish_reason="stop"), "[DONE]"))
    )
    thoughts = [thought("Hm")[0] | {"signature": "s"}, *thought("!")]
    assert found == {"role": "assistant", "content": "Hi", "thinking": thoughts}


def test_chunks_of_mistral_are_put_together() -> None:
    """Thoughts and text are chunks of one content; streamed, text may come bare. Thoughts leave it."""
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]},
        {"type": "text", "text": "Hi there"},
    ]
    AssistantMessage.model_validate({"role": "assistant", "content": content})
    pieces = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]} for text in ("Hm", "m.")]
    events = [
        *(chunk({"content": [piece]}) for piece in pieces),
        chunk({"content": "Hi"}),
        chunk({"content": " there"}),
    ]
    found = answer(CHAT, sse(*events, chunk({"content": ""}, finish_reason="stop"), "[DONE]"))
    assert said(found) == said(answer(CHAT, whole({"content": content})))
    assert said(found) == {"role": "assistant", "content": "Hi there", "thinking": thought("Hmm.")}


def test_sources_of_perplexity_stand_beside_the_text() -> None:
    """It gives them beside the choices, streamed with every event."""
    sources = {"citations": ["https://a"], "search_results": [{"title": "A"}]}
    told = said(answer(CHAT, whole({"content": "Hi"}, **sources)))
    assert told == {"role": "assistant", "content": "Hi"} | sources
    events = [chunk({"content": text}, **sources) for text in ("H", "i")]
    assert said(answer(CHAT, sse(*events, chunk(finish_reason="stop", **sources)))) == told


def test_groq_counts_in_a_corner_of_its_own() -> None:
    """In the last event of a stream."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "queue_time": 0.1}
    found = answer(
        CHAT, sse(chunk({"content": "x"}), chunk(finish_reason="stop", x_groq={"id": "r", "usage": usage}))
    )
    assert found.usage == usage


def test_what_azure_filtered_changes_no_message() -> None:
    """Its results stand beside choices that may be empty."""
    first = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}
    last = {
        "index": 0,
        "delta": {},
        "finish_reason": "content_filter",
        "content_filter_results": {"hate": {}},
    }
    found = answer(CHAT, sse(first, chunk({"content": "x"}), {"choices": [last]}, "[DONE]"))
    assert (said(found), found.finish_reason) == ({"role": "assistant", "content": "x"}, "content_filter")


@pytest.mark.parametrize(
    ("cost", "total"),
    [
        (0.0125, 0.0125),
        ({"input_tokens_cost": 0.001, "total_cost": 0.006}, 0.006),
        (0, None),
        ("x", None),
        ({}, None),
    ],
)
def test_a_cost_in_the_answer_is_the_cost(cost: Any, total: float | None) -> None:
    """OpenRouter says what it took, Perplexity with its parts."""
    answered = CHAT_ANSWER | {"usage": CHAT_ANSWER["usage"] | {"cost": cost}}
    found = kong_entries.call(capture=kong_entries.capture(kong_entries.CHAT_REQUEST, answered)).observation
    assert found.cost_details == ({"total": total} if total else {})


def test_mistrals_requests_are_everybodys() -> None:
    """What only it knows is kept as well."""
    messages = [{"role": "user", "content": "hi"}]
    found = ask(CHAT, {"model": "mistral-large-latest", "messages": messages, "safe_prompt": True, "seed": 1})
    assert (said(found), found.parameters) == (messages, {"safe_prompt": True, "seed": 1})
