import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.excerpts import excerpt, input_excerpt, isolated, safe_line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "x"]), inner)
    ),
)


def test_the_last_message_of_a_chat_is_shown_with_the_number_before_it():
    """A reader wants the question of this call, not the system prompt of all calls."""
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is 1 + 1?"}]
    assert input_excerpt(chat) == "user: What is 1 + 1? (+1 earlier)"
    assert input_excerpt({"messages": chat[1:], "tools": []}) == "user: What is 1 + 1?"


def test_long_questions_still_say_how_many_messages_stand_before():
    """The count is never cut away."""
    assert input_excerpt([{}, {"role": "user", "content": "w" * 5000}]).endswith("… (+1 earlier)")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain\n text", "plain text"),
        ({"role": "assistant", "content": None}, "assistant: (empty)"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "assistant: [refused] no"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]},
            'assistant: [calls f({"a":1})]',
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]},
            "user: see [image_url]",
        ),
        ({"count": 2, "dimensions": 3}, '{"count":2,"dimensions":3}'),
        (7, "7"),
        (None, "null"),
    ],
)
def test_every_kind_of_value_has_a_line(value, line):
    """Messages, tool calls, pictures and plain JSON all say what they are."""
    assert excerpt(value) == line


def test_terminal_escapes_show_but_do_not_act():
    """A prompt cannot colour the screen, set the title or ring the bell."""
    assert safe_line("\x1b[31mred\x1b]0;title\x07\x9b2J") == "\ufffd[31mred\ufffd]0;title\ufffd\ufffd2J"


def test_direction_marks_are_removed_and_foreign_direction_is_isolated():
    """Right-to-left text reads right and leaves its neighbours alone; override marks do not survive."""
    assert safe_line("a\u202eb\u2066c") == "abc"
    assert isolated("שלם") == "\u2068שלם\u2069"
    assert isolated("Grüße") == "Grüße"


def test_joined_emoji_stay_joined():
    """Removing invisible characters must not take a family apart."""
    assert safe_line("👩\u200d👩\u200d👧") == "👩\u200d👩\u200d👧"


@given(JSON)
def test_any_json_gives_one_short_harmless_line(value):
    """Whatever a model or a stranger writes, the line is printable and bounded."""
    for line in (excerpt(value), input_excerpt(value)):
        assert len(line) <= 420
        assert not {unicodedata.category(each) for each in line} & {"Cc", "Cs", "Zl", "Zp"}
        line.encode()
