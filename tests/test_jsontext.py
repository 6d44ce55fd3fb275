"""JSON kept as the text it already is, also where it is damaged."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from kong_ai_tracing.jsontext import (
    clean,
    completed,
    dump,
    fields_of,
    items_of,
    object_text,
    objects_of,
    parse,
    string_of,
    value_of,
)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (rb'"\ud83d x"', rb'"\ufffd x"'),
        (rb'"x \udE00"', rb'"x \ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"a\u0000b"', rb'"a\ufffdb"'),
        (rb'"\\ud83d \\\\u0000"', rb'"\\ud83d \\\\u0000"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
    ],
)
def test_escapes_that_spoil_a_batch_are_replaced_and_no_others(text: bytes, cleaned: bytes) -> None:
    """Lone surrogates and NUL become U+FFFD; pairs and escaped backslashes stay.

    # covers LIN-11
    """
    assert clean(text) == cleaned


def test_members_of_an_object_are_slices_of_its_text() -> None:
    """What stands between the commas is kept to the byte."""
    fields = fields_of('{"a": [1,  2], "b":"x\\u00e9"}')
    assert fields is not None
    assert {name: bytes(raw) for name, raw in fields.items()} == {"a": b"[1,  2]", "b": b'"x\\u00e9"'}


@pytest.mark.parametrize("text", ["", "null", "3", "[1]", '"x"', "{", "{]", "nonsense", "{'a':1}"])
def test_what_is_no_object_has_no_members(text: str) -> None:
    """Other JSON, and what is none, is None and raises nothing."""
    assert fields_of(text) is None


def test_json_that_only_a_lenient_reader_takes_is_still_read() -> None:
    """NaN, numbers beyond a double, lone surrogates and control characters are mended.

    # covers LIN-11
    """
    text = '{"a":NaN,"b":1e400,"c":"\\ud83d","d":"x\x01y","e":' + "9" * 5000 + ',"f":-Infinity}'
    fields = fields_of(text)
    assert fields is not None
    values = {name: value_of(raw) for name, raw in fields.items()}
    assert values == {"a": None, "b": None, "c": "�", "d": "x\x01y", "e": None, "f": None}


def test_very_deep_nesting_is_an_error_and_not_a_crash() -> None:
    """A hundred thousand brackets are refused like any other text that is no JSON.

    # covers LIN-11
    """
    deep = "[" * 100_000 + "]" * 100_000
    assert fields_of('{"a":' + deep + "}") is None
    with pytest.raises(ValueError, match="nested too deeply"):
        parse('{"a":NaN,"b":' + deep + "}")


def test_lists_are_read_item_by_item_and_kongs_empty_object_is_an_empty_list() -> None:
    """Kong's encoder writes `{}` for an empty list."""
    assert objects_of(Raw(b"{}")) == []
    assert objects_of(None) == []
    assert [list(fields) for fields in objects_of(Raw(b'[{"a":1}, 2, {"b":1}]'))] == [["a"], ["b"]]
    assert [bytes(item) for item in items_of(Raw(b'[1, "x", {}]'))] == [b"1", b'"x"', b"{}"]
    assert items_of(Raw(b'"x"')) == []


def test_only_a_string_is_a_string() -> None:
    """Numbers, null and nothing are no strings."""
    assert string_of(Raw(b'"x\\n"')) == "x\n"
    assert string_of(Raw(b'"\\ud83d"')) == "�"
    assert string_of(Raw(b"3")) is None
    assert string_of(None) is None


def test_objects_can_be_put_together_from_texts() -> None:
    """Names are escaped, values spliced in as they are."""
    assert json.loads(object_text({'a"b': b"[1]", "c": b'"x"'})) == {'a"b': [1], "c": "x"}


@given(ANY_JSON)
def test_whatever_is_dumped_every_reader_accepts(value: object) -> None:
    """No lone surrogate and no NUL gets into a dumped text."""
    text = dump(value)
    orjson.loads(text)
    assert b"\\u0000" not in text.replace(b"\\\\", b"")


@given(st.dictionaries(st.text(), ANY_JSON, min_size=1), st.data())
def test_a_cut_object_can_be_closed_anywhere(value: dict[str, object], data: st.DataObject) -> None:
    """Whatever the place, what stood before it is an object again."""
    text = json.dumps(value)
    closed = completed(text[: data.draw(st.integers(1, len(text) - 1))])
    assert closed is not None
    assert fields_of(closed) is not None


def test_what_was_whole_before_the_cut_stays() -> None:
    """Only the torn piece is lost."""
    text = '{"model":"m","messages":[{"role":"user","content":"long \\u00e9 text"}],"temperature":0.5}'
    for end in range(text.index("long") + 4, len(text)):
        closed = completed(text[:end])
        assert closed is not None
        assert json.loads(closed)["model"] == "m"
        assert json.loads(closed)["messages"][0]["content"].startswith("long")


def test_closing_a_large_cut_text_takes_no_time() -> None:
    """A quarter of a megabyte without structure is no trap for the patterns."""
    closed = completed('{"messages":[{"content":"' + "y" * 262_144)
    assert closed is not None
    assert len(closed) > 262_144
