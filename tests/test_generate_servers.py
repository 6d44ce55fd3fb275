"""Servers with an API of their own for one prompt: TGI, vLLM, SGLang, llama.cpp."""

from __future__ import annotations

from typing import Any

from kong_ai_tracing.usage import usage_buckets
from kong_entries import CHAT_ANSWER, sse
from reading import answer, ask, json_lines, said

TGI = "/generate"
STREAM = "/generate_stream"
DETAILS = {"finish_reason": "eos_token", "generated_tokens": 2, "input_length": 5, "seed": None}


# -- TGI


def test_tgis_inputs_are_the_prompt() -> None:
    """With the settings in an object of their own."""
    found = ask(TGI, {"inputs": "[INST] hi [/INST]", "parameters": {"max_new_tokens": 5, "details": True}})
    assert (said(found), found.prompt_length) == ("[INST] hi [/INST]", 17)
    assert found.parameters == {"details": True, "max_new_tokens": 5}
    assert ask(TGI, {"inputs": "x", "stream": True}).streamed


def test_tgis_answer_is_a_text() -> None:
    """An object, or a list of them."""
    whole = {"generated_text": "Hi there", "details": DETAILS}
    for body in (whole, [whole]):
        found = answer(TGI, body)
        assert (said(found), found.finish_reason, found.partial) == ("Hi there", "eos_token", False)
        assert usage_buckets(found.usage) == {"input": 5, "output": 2, "total": 7}
    assert said(answer(TGI, [{"generated_text": "a"}, {"generated_text": "b"}])) == ["a", "b"]
    best = {"generated_text": "a", "details": DETAILS | {"best_of_sequences": [{"generated_text": "b"}]}}
    assert said(answer(TGI, best)) == ["a", "b"]


def token(text: str, *, special: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "index": 1,
        "token": {"id": 1, "text": text, "special": special},
        "generated_text": None,
        "details": None,
    } | more


def test_tgis_stream_becomes_the_answer_it_would_have_been() -> None:
    """Its last event repeats the whole text."""
    last = token("</s>", special=True, generated_text="Hi there", details=DETAILS)
    found = answer(STREAM, sse(token("Hi"), token(" there"), last))
    assert found == answer(TGI, {"generated_text": "Hi there", "details": DETAILS})
    cut = answer(STREAM, sse(token("Hi"), token(" there")))
    assert (said(cut), cut.partial) == ("Hi there", True)


def test_tgis_errors_have_a_type() -> None:
    """It stands beside the message."""
    error = {"error": "Input validation error", "error_type": "validation"}
    for body in (error, sse(token("Hi"), error)):
        failure = answer(STREAM, body).failure
        assert failure is not None
        assert (failure.message, failure.type) == ("Input validation error", "validation")


def test_kong_logs_the_request_as_tgi_gets_it_and_the_answer_as_openai_would_give_it() -> None:
    """Llama 2 in its raw form."""
    assert said(ask(TGI, {"inputs": "<s>[INST] hi [/INST]", "parameters": {"stream": False}})).startswith(
        "<s>"
    )
    assert said(answer(TGI, CHAT_ANSWER)) == {"role": "assistant", "content": "hello"}


# -- vLLM and SGLang


def test_vllms_events_repeat_the_text_so_far() -> None:
    """The last one counts. All of them begin with the prompt."""
    found = ask(TGI, {"prompt": "Once", "max_tokens": 5, "stream": True})
    assert (said(found), found.streamed, found.parameters["max_tokens"]) == ("Once", True, 5)
    assert said(answer(TGI, {"text": ["Once upon a time"]})) == "Once upon a time"
    assert said(answer(TGI, {"text": ["Once a", "Once b"]})) == ["Once a", "Once b"]
    told = answer(TGI, json_lines({"text": ["Once upon"]}, {"text": ["Once upon a time"]}))
    assert said(told) == "Once upon a time"


def test_sglang_counts_beside_its_text() -> None:
    """Streamed, each event repeats both."""
    found = ask(TGI, {"text": "Once", "sampling_params": {"temperature": 0}})
    assert (said(found), found.parameters) == ("Once", {"temperature": 0})
    meta = {
        "id": "s1",
        "finish_reason": {"type": "stop", "matched": 2},
        "prompt_tokens": 7,
        "completion_tokens": 3,
    }
    whole = {"text": " upon a time", "meta_info": meta | {"cached_tokens": 4}}
    told = answer(TGI, whole)
    assert (said(told), told.finish_reason, told.response_id) == (" upon a time", "stop", "s1")
    assert usage_buckets(told.usage) == {"input": 3, "input_cached_tokens": 4, "output": 3, "total": 10}
    begun = {"text": " upon", "meta_info": meta | {"finish_reason": None, "completion_tokens": 1}}
    assert answer(TGI, sse(begun, whole, "[DONE]")) == told
    assert answer(TGI, sse(begun)).partial


# -- llama.cpp

LLAMA = "/completion"
END = {
    "content": "",
    "stop": True,
    "stop_type": "eos",
    "model": "m.gguf",
    "tokens_predicted": 2,
    "tokens_evaluated": 5,
}


def test_llama_cpp_completes_a_prompt() -> None:
    """Whole or piece by piece."""
    found = ask(LLAMA, {"prompt": "Once", "n_predict": 8, "stream": True})
    assert (said(found), found.streamed, found.parameters) == ("Once", True, {"n_predict": 8, "stream": True})
    whole = answer(LLAMA, END | {"content": " upon"})
    assert (said(whole), whole.finish_reason, whole.model, whole.partial) == (" upon", "eos", "m.gguf", False)
    assert whole.usage == {"prompt_tokens": 5, "completion_tokens": 2}
    pieces = [{"content": text, "stop": False} for text in (" up", "on")]
    assert answer(LLAMA, sse(*pieces, END)) == whole
    assert answer(LLAMA, sse(*pieces)).partial
    assert answer(LLAMA, sse(pieces[0])).partial


def test_llama_cpp_fills_a_hole() -> None:
    """Between what stands before and behind it."""
    assert said(ask("/infill", {"input_prefix": "a", "input_suffix": "b"})) == {
        "input_prefix": "a",
        "input_suffix": "b",
    }
