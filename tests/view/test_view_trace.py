"""The page of one trace, with what strangers may have written into it."""

from __future__ import annotations

import gzip
import os
import re

import orjson
import pytest
from pages import START, Document, body, client, open_store, span, trace_id

from kong_ai_tracing.lines import Origin
from kong_ai_tracing.matching import Match
from kong_ai_tracing.view.conversation import conversation
from kong_ai_tracing.view.links import Linked
from kong_ai_tracing.view.texts import Piece, pieces, visible
from kong_ai_tracing.view.timeline import timeline

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>{{7*7}}</pre>"
TURNED = "evil\u202egnp.exe \u2066hidden\u2069 nul\x00 escape\x1b[31m bell\x07"
TRACE = f"/trace/{trace_id(1)}"
KEY = "[REDACTED:openai_key]"
PICTURE = "[image/png, 48,213 bytes, sha256:9f86d081884c]"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "traces.sqlite3"


def write(path, *spans):
    store = open_store(path)
    store.write(body(*spans))
    store.close()


async def page(path, address=TRACE, **settings):
    async with client(path, **settings) as browser:
        return await browser.get(address)


async def test_a_conversation_is_shown_with_all_its_sides(path):
    """Roles, texts, code, JSON, tool calls and their results, and what was taken out."""
    messages = [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_1", "function": {"name": "lookup", "arguments": '{"order":18832}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"status":"out for delivery"}'},
        {"role": "user", "content": f"my key is {KEY}, thanks"},
    ]
    tools = [{"type": "function", "function": {"name": "lookup"}}]
    answer = {"role": "assistant", "content": "Like this:\n```python\nprint(1)\n```\nDone."}
    write(
        path,
        span(
            1,
            input=orjson.dumps({"messages": messages, "tools": tools}),
            output=orjson.dumps(answer),
            model_parameters={"temperature": 0.25},
            usage_details={"input": 1234, "output": 5},
        ),
    )
    html = (await page(path)).text
    shown = Document(html)
    assert [found["class"] for found in shown.all("article")] == [
        f"message {role}" for role in ("system", "user", "assistant", "tool", "user", "assistant")
    ]
    assert f'<mark class="redacted" title="taken out before it was stored">{KEY.strip("[]")}</mark>' in html
    assert PICTURE.strip("[]") in shown.text
    assert len(shown.all("mark", class_="medium")) == 1
    for text in (
        "Be kind.",
        "calls lookup",
        '"order": 18832',
        '"status": "out for delivery"',
        "print(1)",
        "0.25",
        "1234",
    ):
        assert text in shown.text, text
    assert shown.all("pre", **{"data-language": "python"})
    assert not re.search(r"```", shown.text)


async def test_a_timeline_shows_kong_the_provider_and_the_first_token(path):
    """The stretches of one call add up to it, and a failed try stands below it."""
    told = {"kong_latency_ms": 100, "proxy_latency_ms": 400, "receive_latency_ms": 500}
    write(
        path,
        span(1, id_="f" * 16, ended_at_ms=START + 1000, completion_started_at_ms=START + 600, metadata=told),
        span(
            1,
            id_="a" * 16,
            parent="f" * 16,
            type="span",
            name="try 1",
            ended_at_ms=START + 250,
            level="WARNING",
        ),
    )
    shown = Document((await page(path)).text)
    bars = [(found["class"], found["x"], found["width"]) for found in shown.all("rect")]
    assert bars == [
        ("kong", "0.0", "100.0"),
        ("provider", "100.0", "400.0"),
        ("answer", "500.0", "500.0"),
        ("first", "600.0", "3"),
        ("whole", "0.0", "250.0"),
    ]
    assert "try 1" in shown.text
    chosen = Document((await page(path, f"/trace/{trace_id(1)}?o={'a' * 16}")).text)
    assert [found["href"] for found in chosen.all("a", **{"aria-current": "true"})] == [
        f"/trace/{trace_id(1)}?o={'a' * 16}"
    ]


def test_ids_in_a_circle_hang_nothing():
    """A caller decides on the ids of parents."""
    made = [
        {"id": each, "parentObservationId": parent, "type": "span", "startTime": "2026-11-23T08:00:00.000Z"}
        for each, parent in (("a", "b"), ("b", "a"), ("c", "c"), ("d", "nobody"))
    ]
    assert {step.id for step in timeline({"observations": made}).steps} == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    "address", ["/", f"/trace/{trace_id(1)}", "/overview?range=all&by=user", f"/?user={EVIL}&q={EVIL}"]
)
async def test_what_strangers_wrote_is_never_markup(path, address):
    """Names, labels, messages, metadata, errors and addresses: no element and no attribute comes of them."""
    write(
        path,
        span(
            1,
            name=EVIL,
            model=EVIL,
            provider=EVIL,
            level="ERROR",
            status_message=EVIL,
            metadata={EVIL: EVIL, "kong_service": EVIL, "kong_route": EVIL},
            model_parameters={EVIL: [EVIL]},
            input=orjson.dumps(
                [{"role": EVIL, "name": EVIL, "content": f"{EVIL}\n```{EVIL}\n{EVIL}\n```", EVIL: EVIL}]
            ),
            output=orjson.dumps(
                {
                    "role": "assistant",
                    "content": EVIL,
                    "tool_calls": [{"id": EVIL, "function": {"name": EVIL, "arguments": EVIL}}, EVIL],
                }
            ),
            context={
                "trace_name": EVIL,
                "user_id": EVIL,
                "session_id": EVIL,
                "environment": EVIL,
                "tags": [EVIL],
            },
            origin=Origin(EVIL, 1, 0, 10),
        ),
    )
    html = (await page(path, address)).text
    shown = Document(html)
    assert [found["src"] for found in shown.all("script")] == ["/static/view.js"]
    assert shown.all("img") == []
    assert shown.all("iframe") == []
    for _, attributes in shown.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}, attributes
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#main")), attributes
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", html)


async def test_characters_that_are_not_seen_are_shown(path):
    """Nothing turns the reading direction, and nothing hides."""
    write(
        path,
        span(
            1,
            input=orjson.dumps(TURNED.replace("\x00", "")),
            context={"trace_name": "a\u202eb"},
            metadata={"\u202e": TURNED},
        ),
    )
    for address in ("/", f"/trace/{trace_id(1)}"):
        html = (await page(path, address)).text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
        assert "⟨U+202E⟩" in html
    assert visible(TURNED) == "evil⟨U+202E⟩gnp.exe ⟨U+2066⟩hidden⟨U+2069⟩ nul␀ escape␛[31m bell␇"


async def test_a_huge_text_makes_no_huge_page(path):
    """The beginning is on the page, the whole of it one click away, as text."""
    long = "word " * 500_000
    many = [{"role": "user", "content": long}] * 3 + [
        {"role": "user", "content": str(number)} for number in range(900)
    ]
    write(
        path,
        span(
            1,
            input=orjson.dumps(many),
            output=orjson.dumps(long),
            metadata={"long": long},
            context={"trace_name": long},
        ),
    )
    for address in ("/", f"/trace/{trace_id(1)}"):
        assert len((await page(path, address)).content) < 3_000_000
    answer = await page(path)
    assert "703 earlier messages" in answer.text
    whole = await page(path, f"/trace/{trace_id(1)}/{'a' * 16}/output")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert orjson.loads(whole.content) == long


async def test_what_is_not_there_is_said(path):
    """A trace may have left the store since the list was made."""
    write(path, span(1))
    for address in (
        "/trace/x",
        f"/trace/{trace_id(2)}",
        f"/trace/{trace_id(1)}/{'a' * 16}/input",
        f"/trace/{trace_id(1)}/b/input",
        f"/trace/{trace_id(1)}/{'a' * 16}/line",
    ):
        answer = await page(path, address)
        assert (answer.status_code, "That did not work" in answer.text) == (404, True), address
    assert "holds no prompt" in (await page(path)).text


async def test_the_same_trace_is_linked_in_langfuse(path):
    """Only where there is one, and by an address that needs no project id."""
    write(path, span(1))
    assert "Langfuse" not in (await page(path)).text
    projects = (Linked("https://langfuse.example.com"),)
    linked = Document((await page(path, langfuse=projects)).text)
    assert linked.all("a", href=f"https://langfuse.example.com/trace/{trace_id(1)}")


async def test_each_project_that_a_call_went_to_is_linked_while_its_line_can_be_read(path, tmp_path):
    """Which calls go there is asked of the line: the store does not know Kong's tags and workspaces."""
    log = tmp_path / "ai.log"
    line = b'{"request":{"id":"0123456789abcdef"},"service":{"name":"hr"},"workspace_name":"people"}'
    log.write_bytes(line + b"\n")
    write(
        path,
        span(
            1,
            metadata={"kong_request_id": "0123456789abcdef"},
            origin=Origin(str(log), 1, 0, len(line) + 1),
        ),
    )
    everything = Linked("https://all.example.com")
    hr = Linked("https://hr.example.com", "hr-team", Match(workspace=("people",)))
    other = Linked("https://other.example.com", "other", Match(workspace=("sales",)))
    text = (await page(path, langfuse=(everything, hr, other))).text
    assert f"https://hr.example.com/trace/{trace_id(1)}" in text
    assert "Open in Langfuse (hr-team)" in text
    assert f"https://all.example.com/trace/{trace_id(1)}" in text
    assert "other.example.com" not in text
    log.unlink()
    text = (await page(path, langfuse=(everything, hr, other))).text
    assert "all.example.com" in text
    assert "hr.example.com" not in text


# -- the line of the log

LINE = b'{"request":{"id":"0123456789abcdef"},"secret":"sk-1"}'


@pytest.mark.parametrize("packed", [False, True])
async def test_the_line_of_the_log_is_shown_on_request(path, tmp_path, packed):
    """From a plain file and from a compressed one, exactly as it was written."""
    log = tmp_path / ("ai.log.gz" if packed else "ai.log")
    content = b'{"before":1}\n' + LINE + b'\n{"after":1}\n'
    log.write_bytes(gzip.compress(content) if packed else content)
    write(
        path,
        span(1, metadata={"kong_request_id": "0123456789abcdef"}, origin=Origin(str(log), 1, 13, len(LINE))),
    )
    answer = await page(path, f"/trace/{trace_id(1)}/{'a' * 16}/line")
    assert (answer.status_code, answer.content) == (200, LINE + b"\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "sk-1" not in (await page(path)).text


async def test_another_line_is_not_taken_for_it(path, tmp_path):
    """After a rotation something else stands at the same place, or nothing, or there is no file."""
    log = tmp_path / "ai.log"
    write(
        path,
        span(1, metadata={"kong_request_id": "0123456789abcdef"}, origin=Origin(str(log), 1, 0, len(LINE))),
    )
    address = f"/trace/{trace_id(1)}/{'a' * 16}/line"
    assert "No such file" in (await page(path, address)).text
    for content in (b'{"request":{"id":"another"}}' + b" " * 100, b"", b"no line at all"):
        log.write_bytes(content)
        answer = await page(path, address)
        assert answer.status_code == 404
        assert "rotated since" in answer.text
    log.unlink()
    os.mkfifo(log)
    assert "not a regular file" in (await page(path, address)).text


async def test_lines_of_the_log_do_not_leave_the_machine(path, tmp_path):
    """Nothing is taken out of them, so a viewer that others can reach does not show them."""
    log = tmp_path / "ai.log"
    log.write_bytes(LINE)
    write(path, span(1, origin=Origin(str(log), 1, 0, len(LINE))))
    assert (await page(path, f"/trace/{trace_id(1)}/{'a' * 16}/line", raw_lines=False)).status_code == 403
    assert "Line of the log" not in (await page(path, raw_lines=False)).text


# -- pieces


def test_a_text_is_parted_into_what_it_is():
    """Code that never ends is code to the end; an empty text is nothing."""
    assert pieces("") == []
    assert pieces(f"a {KEY} b") == [
        Piece("text", "a "),
        Piece("redacted", "REDACTED:openai_key"),
        Piece("text", " b"),
    ]
    assert pieces("x\n```sh\nls") == [Piece("text", "x\n"), Piece("code", "ls", "sh")]
    assert pieces('[{"a":1}]')[0].kind == "json"
    assert pieces("[not json]") == [Piece("text", "[not json]")]
    assert pieces("{}") == [Piece("text", "{}")]


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        [],
        {},
        [1, "a", None],
        {"messages": [None, 1, []]},
        [{"role": 5, "content": 7}],
        {"role": "x", "tool_calls": [None]},
        [{"message": {"role": "assistant", "content": "a"}}],
        {"count": 2, "dimensions": 8},
    ],
)
def test_any_json_is_a_conversation(value):
    """Bodies hold what applications sent, not what an API says."""
    assert conversation(value, "input").messages is not None


async def test_long_names_of_metadata_may_be_parted_between_their_words_and_stay_text(path):
    """Not in the middle of a word; what a stranger put there is escaped as everywhere."""
    write(path, span(1, metadata={"throughput_tokens_per_second": 1, "<b>_x": 2}))
    text = (await page(path)).text
    assert "<dt>throughput_<wbr>tokens_<wbr>per_<wbr>second</dt>" in text
    assert "<dt>&lt;b&gt;_<wbr>x</dt>" in text
