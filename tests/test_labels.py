"""Values in, values that Langfuse takes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.labels import environment_of, flat, label, limited, tags_of


def test_plain_values_stay_as_they_are() -> None:
    """ASCII of at most 200 characters."""
    assert limited("user@example.com 100%") == "user@example.com 100%"
    assert limited("x" * 200) == "x" * 200


def test_other_characters_are_percent_encoded() -> None:
    """Transliterating would make two people one."""
    assert limited("Zoë") == "Zo%C3%AB"
    assert limited("a\r\nb\0") == "a%0D%0Ab%00"


def test_a_long_value_keeps_its_beginning_and_a_digest_of_all_of_it() -> None:
    """Two long ids that begin alike stay two."""
    first, second = limited("x" * 300 + "1"), limited("x" * 300 + "2")
    assert first != second
    assert (len(first), first[:180], first[180]) == (197, "x" * 180, "~")


@given(st.text())
def test_every_value_comes_within_the_limits(value: str) -> None:
    """Printable ASCII, 200 characters, and the same again for the same."""
    fitted = limited(value)
    assert fitted.isascii()
    assert len(fitted) <= 200
    assert fitted == limited(value)


@pytest.mark.parametrize(
    ("value", "environment"),
    [
        ("production", "production"),
        ("My Env.1", "my-env-1"),
        ("langfuse-Prod_1", "prod_1"),
        ("langfuse_langfuse-x", "x"),
        ("x" * 50, "x" * 40),
        ("langfuse", ""),
        ("  ", ""),
        ("Zürich", "z-rich"),
    ],
)
def test_an_environment_is_brought_into_langfuses_form(value: str, environment: str) -> None:
    """The server would silently make it `default`."""
    assert environment_of(value) == environment


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("a, b ,,a", ["a", "b"]),
        (["a,b", "c", None, 3], ["a", "b", "c", "3"]),
        ('["x", "y"]', ["x", "y"]),
        ("[broken", ["[broken"]),
        ({"a": 1}, []),
        (None, []),
    ],
)
def test_tags_come_as_lists_or_with_commas(value: object, tags: list[str]) -> None:
    """Each once, in the order given."""
    assert tags_of(value) == tags


def test_nested_labels_are_joined_with_dots() -> None:
    """Langfuse filters by keys of one level."""
    nested = {"features": {"search": True, "depth": {"n": 2}}, "list": [1, "x"], "none": None, "n": 1.5}
    assert flat(nested) == {"features.search": True, "features.depth.n": 2, "list": '[1,"x"]', "n": 1.5}


@pytest.mark.parametrize(
    "name", ["api_key", "langfuse_secret_key", "Authorization", "password", "access_token", "cookie"]
)
def test_what_speaks_of_secrets_stays_behind(name: str) -> None:
    """Callers put keys into metadata, too."""
    assert flat({name: "s3cret", "token_count": 3}) == {"token_count": 3}


def test_keys_that_the_server_drops_are_renamed() -> None:
    """`__proto__` and its like get a leading underscore."""
    assert flat({"__proto__": 1, "a": {"constructor": 2}}) == {"___proto__": 1, "a._constructor": 2}


def test_labels_are_bounded() -> None:
    """Long texts are cut with a mark; so many keys and no more; no nesting without end."""
    assert label("x" * 1500) == "x" * 1000 + "… (1500 characters)"
    assert label("a\0b") == "a�b"
    assert len(flat({str(number): number for number in range(500)})) == 100
    deep: dict[str, object] = {"v": 1}
    for _ in range(50):
        deep = {"a": deep}
    [(name, _)] = flat(deep).items()
    assert name == "a.a.a.a.a.a"
