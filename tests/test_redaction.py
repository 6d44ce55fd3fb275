"""Texts without what must not leave: every kind, every wrapping, ordinary text, bait."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_ai_tracing.redact import OwnPattern, RedactionSettings, cleaner_of
from kong_ai_tracing.redaction.cleaner import Cleaner
from kong_ai_tracing.redaction.finder import Finder, OwnFinder, problem_of
from kong_ai_tracing.redaction.personal import PERSONAL as PERSONAL_RULES
from kong_ai_tracing.redaction.personal import is_card_number, is_iban
from kong_ai_tracing.redaction.rules import SECRETS
from kong_ai_tracing.redaction.work import allowed_steps
from redaction_samples import ORDINARY, PERSONAL, TOKENS, Maker, Sample, in_context, samples

SEEDS = range(6)


def cleaner(*kinds: str, own: tuple[OwnPattern, ...] = ()) -> Cleaner:
    return cleaner_of(RedactionSettings(kinds=kinds, patterns=own))


ALL = cleaner("all")
ONLY_SECRETS = cleaner("secrets")


def in_text(text: str, with_: Cleaner = ALL) -> tuple[str, Counter[str]]:
    counts: Counter[str] = Counter()
    return with_.clean_text(text.encode(), counts).decode(), counts


def in_json(text: str, with_: Cleaner = ALL) -> tuple[Any, Counter[str]]:
    counts: Counter[str] = Counter()
    return orjson.loads(with_.clean_json(text.encode(), counts)), counts


def strings_of(value: Any) -> list[str]:
    """All strings in a JSON value, also those in JSON that strings hold."""
    if isinstance(value, dict):
        return [each for pair in value.items() for part in pair for each in strings_of(part)]
    if isinstance(value, list):
        return [each for item in value for each in strings_of(item)]
    if not isinstance(value, str):
        return [str(value)]
    try:
        inner = json.loads(value)
    except ValueError:
        return [value]
    return [value, *strings_of(inner)]


def slashes_escaped(text: str) -> str:
    return text.replace("/", "\\/")


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_PUNCTUATION = re.compile("[@+<>&']")
_ESCAPE = re.compile(r"\\.")


def punctuation_escaped(text: str) -> str:
    """As writers do that fear for HTML: at signs, quotes and plus signs as escapes."""
    text = _ESCAPE.sub(lambda escape: "\\u0022" if escape[0] == '\\"' else escape[0], text)
    return _STRING.sub(
        lambda string: _PUNCTUATION.sub(lambda each: f"\\u{ord(each[0]):04x}", string[0]), text
    )


WRITERS = {
    "ascii": json.dumps,
    "unicode": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    "pretty": lambda value: json.dumps(value, indent=2),
    "slashes": lambda value: slashes_escaped(json.dumps(value)),
    "punctuation": lambda value: punctuation_escaped(json.dumps(value)),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_secret_survives_in_running_text(seed: int) -> None:
    """Every kind, between words of several languages, is replaced and counted under its name."""
    for sample in samples(seed):
        cleaned, counts = in_text(sample.text)
        assert sample.secret not in cleaned, sample
        assert counts[sample.kind] >= 1, (sample, counts)
        assert f"[REDACTED:{sample.kind}]" in cleaned


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_secret_survives_in_json(seed: int, writer: str) -> None:
    """Neither in a message, nor in the JSON that a tool's arguments are, nor as the name of a member."""
    write = WRITERS[writer]
    for sample in samples(seed):
        message = {"role": "user", "content": [{"type": "text", "text": sample.text}]}
        arguments = {"function": {"name": "run", "arguments": write({"command": sample.text})}}
        named = {sample.text: 1, "logprobs": [-0.25, 1764000000003]}
        for value in (message, arguments, named, [json.dumps(arguments)]):
            cleaned, counts = in_json(write(value))
            assert not any(sample.secret in each for each in strings_of(cleaned)), (sample, cleaned)
            assert counts[sample.kind] >= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_json_that_was_cut_off_or_stands_in_prose_is_searched_too(seed: int) -> None:
    """It cannot be taken apart, so that its escapes stand between the words."""
    for sample in samples(seed):
        inner = json.dumps({"a": sample.text})
        for text in (
            f"He sent {inner} to us",
            inner[:-1],
            f"```json\n{json.dumps(json.loads(inner), indent=1)}\n```",
        ):
            cleaned, _ = in_text(text)
            assert json.dumps(sample.secret)[1:-1] not in cleaned, (sample, cleaned)


def test_a_name_is_enough_in_json() -> None:
    """What a member called password holds is one, whatever it looks like; also a number; also deeper."""
    inner = {"password": "correct horse", "db": {"passwd": 12345678, "pwd": "", "note": "password"}}
    cleaned, counts = in_json(json.dumps({"input": inner, "arguments": json.dumps(inner)}))
    cleaned["arguments"] = json.loads(cleaned["arguments"])
    redacted = {
        "password": "[REDACTED:password]",
        "db": {"passwd": "[REDACTED:password]", "pwd": "", "note": "password"},
    }
    assert cleaned == {"input": redacted, "arguments": redacted}
    assert counts == {"password": 4}


def test_a_name_alone_does_not_make_a_secret_of_a_word() -> None:
    """Schemas, templates, tokens of a tokenizer and of paging."""
    value = {
        "properties": {"password": {"type": "string"}, "token": {"type": "string"}},
        "password": "${DB_PASSWORD}",
        "api_key": "<your key>",
        "tokens": [{"token": " the", "logprob": -0.1}, {"token": "1234567"}],
        "max_tokens": 4096,
        "next_page_token": "CAUQAA1234567890",
        "secret": True,
        "authorization": None,
    }
    assert in_json(json.dumps(value)) == (value, {})


def test_the_issuer_of_a_token_is_named_when_it_is_known() -> None:
    """What stands in front says less than the token itself."""
    token = TOKENS["github_token"](Maker(1))
    for text in (f"Authorization: Bearer {token}", f"api_key={token}", f'{{"password": "{token}"}}'):
        assert in_text(text)[1] == {"github_token": 1}
    assert in_json(json.dumps({"api_key": token}))[1] == {"github_token": 1}


@pytest.mark.parametrize("with_", [ALL, ONLY_SECRETS], ids=["all", "secrets"])
@pytest.mark.parametrize("text", ORDINARY, ids=lambda text: text[:24])
def test_ordinary_text_stays_as_it_is(text: str, with_: Cleaner) -> None:
    """Prose, code, numbers, ids, hashes, pictures, times and versions, byte for byte."""
    assert in_text(text, with_) == (text, {})
    for write in WRITERS.values():
        written = write({"messages": [{"content": text}], "again": write([text])})
        assert with_.clean_json(written.encode(), Counter()) == written.encode()


def test_nothing_but_the_secret_changes() -> None:
    """Numbers that no reader could write back, doubled names, white space and escapes stay."""
    text = (
        b'{ "n": 123456789012345678901234567890, "x":1.0e+400 , "x" : -0.0,'
        b'\n"a":"\\u00fc\\/\\ud83d\\ude00", "k":"%s", "z":"\\u0041" }'
    )
    secret = TOKENS["groq_key"](Maker(2)).encode()
    assert ONLY_SECRETS.clean_json(text % secret, Counter()) == text % b"[REDACTED:groq_key]"


def test_numbers_are_only_replaced_whole() -> None:
    """A card number without quotes becomes a string; digits behind a point are no card number."""
    cleaned, counts = in_json('{"card":4111111111111111,"f":0.4111111111111111,"t":[1764000000003,-12]}')
    assert cleaned == {"card": "[REDACTED:card]", "f": 0.4111111111111111, "t": [1764000000003, -12]}
    assert counts == {"card": 1}


def test_personal_data_stays_unless_asked_for() -> None:
    """Secrets are the default; a person's data is one switch away, each kind by itself."""
    maker = Maker(4)
    texts = {name.partition("/")[0]: make(maker) for name, make in PERSONAL.items()}
    for text in texts.values():
        assert in_text(text, ONLY_SECRETS) == (text, {})
    only_email = cleaner("email")
    assert {kind for text in texts.values() for kind in in_text(text, only_email)[1]} == {"email"}


def test_none_is_none() -> None:
    """No kinds: every byte stays."""
    for sample in samples(1):
        assert in_text(sample.text, cleaner("none")) == (sample.text, {})


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("visa 4111 1111 1111 1111 2027, 123", "visa [REDACTED:card] 2027, 123"),
        ("4111-1111-1111-1112", "4111-1111-1111-1112"),
        ("IBAN DE89 3704 0044 0532 0130 00 AND MORE", "IBAN [REDACTED:iban] AND MORE"),
        ("DE88370400440532013000", "DE88370400440532013000"),
        ("REF AB12 GB82WEST12345698765432.", "REF AB12 [REDACTED:iban]."),
        ("call +1 (555) 123-4567. 3 times", "call [REDACTED:phone]. 3 times"),
        ("tel:+493012345678", "tel:[REDACTED:phone]"),
        ("<bob.o'neil+x@mail.example.com>.", "<[REDACTED:email]>."),
        ("at 10.2.3.4:8080 or [2001:db8::1:2]", "at [REDACTED:ip]:8080 or [[REDACTED:ip]]"),
        ("http://192.168.7.9/x and fe80::1ff:fe23:4567:890a", "http://[REDACTED:ip]/x and [REDACTED:ip]"),
        ("999.1.2.3 1.2.3 1.2.3.4.5", "999.1.2.3 1.2.3 1.2.3.4.5"),
        ("C:\\bob@x.example \\nbob@x.example", "C:\\b[REDACTED:email] \\n[REDACTED:email]"),
    ],
)
def test_personal_data_is_told_from_other_digits(text: str, cleaned: str) -> None:
    """Check digits, lengths of countries and octets decide, and what stands around stays."""
    assert in_text(text)[0] == cleaned


def test_check_digits_are_checked() -> None:
    """One wrong digit, and it is no card number and no account."""
    maker = Maker(7)
    for _ in range(50):
        card, iban = maker.card().encode(), maker.iban().encode()
        assert is_card_number(card)
        assert is_iban(iban)
        for wrong in (card[:-1] + b"%d" % ((card[-1] - 47) % 10), iban[:-1] + b"%d" % ((iban[-1] - 47) % 10)):
            assert not is_card_number(wrong)
            assert not is_iban(wrong)


def test_every_rule_has_a_sample() -> None:
    """A kind that no test plants is a kind that nobody knows to work."""
    planted = {sample.kind for sample in samples(0)}
    assert {rule.kind for rule in (*SECRETS, *PERSONAL_RULES)} <= planted


def test_what_was_cleaned_is_clean() -> None:
    """A second time changes and counts nothing."""
    for sample in samples(3):
        once, _ = in_text(f"password={sample.secret} {sample.text}")
        assert in_text(once) == (once, {}), sample


def test_two_secrets_beside_each_other_both_go() -> None:
    """A token as the user's name in a URL, an access key in front of its secret."""
    maker = Maker(9)
    user, access = TOKENS["github_token"](maker), TOKENS["aws_access_key"](maker)
    secret = maker.drawn(40)
    for text in (
        f"https://{user}:{secret}@git.example.com",
        f"{access},{secret}",
        f"{access}:{user}:{secret}",
        f"password={secret} {user} token={access}",
        f"{user}{user}",
    ):
        for each in (ALL, ONLY_SECRETS):
            cleaned, _ = in_text(text, each)
            assert user not in cleaned
            assert access not in cleaned
            assert secret not in cleaned or text.startswith(f"{access}:{user}")


def test_a_key_that_was_cut_off_is_taken_out_as_far_as_it_goes() -> None:
    """Kong cuts bodies; half a private key is too much."""
    maker = Maker(5)
    for key in (maker.pem(), maker.pem("").replace("\n", "\\n")):
        for length in range(100, len(key) - 40, 37):
            cleaned, counts = in_text(f"see {key[:length]}")
            assert counts["private_key"] == 1
            assert len(cleaned) <= len("see [REDACTED:private_key]\\n"), cleaned


OWN = (OwnPattern("employee", r"\bEMP-\d{4,6}\b"), OwnPattern("ward", "Station [ÄÖÜ]\\d+"))


def test_the_operators_patterns_are_applied_to_what_the_text_says() -> None:
    """Word boundaries and characters are those of the text, not of its escapes."""
    value = {
        "content": "first\nEMP-1234, EMP-1234567 on Station Ä12\tEMP-99999",
        "a": json.dumps(["EMP-4321"]),
    }
    for write in WRITERS.values():
        cleaned, counts = in_json(write(value), cleaner("none", own=OWN))
        assert cleaned["content"] == (
            "first\n[REDACTED:employee], EMP-1234567 on [REDACTED:ward]\t[REDACTED:employee]"
        )
        assert json.loads(cleaned["a"]) == ["[REDACTED:employee]"]
        assert counts == {"employee": 3, "ward": 1}


@pytest.mark.parametrize(
    "expression",
    [
        r"\d{3}-\d{2}",
        "(?i)project x",
        r"[[:alpha:]]+\pN",
        "(?P<name>a|b)+c",
        r"^\s*\Qa.b\E$",
        "a.*?b",
        r"\x{e4}",
    ],
)
def test_the_syntax_of_re2_is_taken(expression: str) -> None:
    """Also what Python does not know."""
    assert problem_of(expression) is None


UNACCEPTABLE = (
    "(", "a**", r"(a)\1", "(?=a)b", "a*", "", "x{2000}", "\ud800", r"\b", "^", r"x|\b", r"\B", ".", ".+",
    r"(?s).{1,}", r"\w+", "[a-z]", r"\S+", "(?i)[^@]", "[aeiou ]|[b-z]",
)  # fmt: skip


@pytest.mark.parametrize("expression", UNACCEPTABLE)
def test_expressions_that_cannot_be_followed_are_refused(expression: str) -> None:
    """Look-around and back references are what makes other engines stall; an empty match says nothing."""
    assert problem_of(expression)


def test_the_operators_patterns_see_what_is_deep_or_not_quoted() -> None:
    """A thousand levels down, or a number."""
    deep = "[" * 1000 + '"EMP-1234"' + "]" * 1000
    assert (
        cleaner("none", own=OWN).clean_json(deep.encode(), counts := Counter())
        == deep.replace("EMP-1234", "[REDACTED:employee]").encode()
    )
    assert counts == {"employee": 1}
    number = cleaner("none", own=(OwnPattern("badge", r"^77\d{4}$"),))
    assert in_json('{"badge": 771234, "n": [1771234, 77.1234]}', number)[0] == {
        "badge": "[REDACTED:badge]",
        "n": [1771234, 77.1234],
    }


def test_long_texts_are_searched_window_by_window() -> None:
    """What lies on the border of two windows is found once and whole; the end of a window is no end."""
    finder = OwnFinder([r"<[a-z]+>", "z+$", r"\bEMP-\d+\b"])
    for shift in range(40):
        text = b"-" * ((64 << 10) - 20 + shift) + b"<abcdefghij>zzz EMP-1234" + b"-" * 100_000
        place = text.index(b"<")
        assert finder.places(0, text) == [(place, place + 12)]
        assert finder.places(1, text) == []
        assert finder.places(2, text) == [(place + 16, place + 24)]
    assert finder.places(1, b"-" * 200_000 + b"zz") == [(200_000, 200_002)]
    assert finder.places(1, b"z" * 200_000)[-1][1] == 200_000


def test_a_pattern_that_looks_far_ahead_does_not_stall() -> None:
    """Each `x` might begin what a `y` ends, millions of characters later."""
    hostile = cleaner("none", own=(OwnPattern("bait", "(?s)x.*y|x"),))
    text = ("x" + "-" * 999) * 4_000
    assert seconds(hostile.clean_text, text.encode()) < 100 * seconds(ALL.clean_text, text.encode()) + 1


def test_too_many_places_become_one() -> None:
    """Each single one might cost a look at the whole text."""
    assert OwnFinder(["a"]).places(0, b"a" * 10_000) == [(0, 10_000)]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["password", "api_key", "token", "\\", '"', "[REDACTED:", "\u0085", "@", "://", "sk-"])
    | st.integers(0, 40).map(lambda number: list(samples(0))[number].text)
    | st.sampled_from(ORDINARY),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["password", "token", "a@b.example"]), inner, max_size=4
        )
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)
WITH_OWN = cleaner("all", own=OWN)


@given(JSON_VALUES, st.sampled_from(sorted(WRITERS)))
@settings(deadline=None, max_examples=300)
def test_valid_json_stays_valid(value: Any, writer: str) -> None:
    """Whatever is taken out, and it keeps its shape: as many members and items as before."""
    text = WRITERS[writer](value).encode()
    for each in (ALL, ONLY_SECRETS, WITH_OWN):
        counts: Counter[str] = Counter()
        cleaned = each.clean_json(text, counts)
        after = json.loads(cleaned)
        assert type(after) is type(value) or counts
        if isinstance(value, list):
            assert len(after) == len(value)
        if not counts:
            assert cleaned == text


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    """It is the last step before data leaves, so that a failure would hold everything up."""
    for each in (ALL, WITH_OWN):
        each.clean_text(data, Counter())
        each.clean_json(data, Counter())
        each.clean_json(b'"' + data, Counter())


BAIT = [
    "a", "@", "a@", "@a.b", "a.b@c.d ", "sk-", "sk-a-", "eyJ-", "eyJaaaaaaaaaa.", "://", "https://a:b",
    "-----BEGIN PRIVATE KEY-----", "+1 ", "+49 ", "4111 ", "4", "1", "DE89 ", "1.1.", "2001:", "2001::",
    "00123 ", "password=", 'password="', "password: \\", "Basic ", "Basic aaaaaaaa", "bearer ", "\\", '"',
    "[", '{"a":', "token: ", "secretaccesskey=", "AKIA", "ü", "x-", "\\u0040", "1.1.1.1", "https://a:b@ ",
    "eyJ4111111111111112", "://a:4111111111111112", "@4111111111111112", "-----BEGIN 4111111111111112",
    "password  +49301234567", "AKIAAAAAAAAAAAAAAAAA ", "DE89370400440532013001 ", "4111-1111-1111-1112 ",
]  # fmt: skip


def seconds(work: Any, data: bytes) -> float:
    best = float("inf")
    for _ in range(2):
        began = time.thread_time()
        work(data, Counter())
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("bait", BAIT)
def test_hostile_text_takes_linear_time(bait: str) -> None:
    """Eight times the text takes about eight times as long; quadratic work would take 64 times."""
    secrets = " ".join(sample.text for sample in samples(1))
    short, long = (f"{bait * (size // len(bait))} {secrets}" for size in (4_000, 32_000))
    assert seconds(ALL.clean_text, long.encode()) < 24 * seconds(ALL.clean_text, short.encode()) + 0.05
    short, long = json.dumps([short]), json.dumps([long])
    assert seconds(ALL.clean_json, long.encode()) < 24 * seconds(ALL.clean_json, short.encode()) + 0.05


@pytest.mark.parametrize("bait", BAIT)
def test_hostile_text_is_looked_at_in_a_bounded_number_of_places(
    bait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a text is made of, as one string, as many, or as JSON in JSON; a secret in it stays."""
    looks = 0
    search = Finder.next

    def counting(finder: Finder, text: bytes, position: int = 0) -> Any:
        nonlocal looks
        looks += 1
        return search(finder, text, position)

    monkeypatch.setattr(Finder, "next", counting)
    secret = TOKENS["groq_key"](Maker(3))
    crowd = bait * (300_000 // len(bait)) + " " + secret
    texts = ([crowd], [json.dumps([json.dumps([crowd])])], [bait] * (300_000 // (len(bait) + 3)) + [secret])
    for text in texts:
        looks, written = 0, json.dumps(text).encode()
        assert secret.encode() not in ALL.clean_json(written, Counter())
        assert looks <= allowed_steps(len(written)) + 20


def test_a_text_that_is_not_worth_the_work_is_taken_out_as_a_whole() -> None:
    """It is said under a name of its own, and what was found before that is not counted."""
    crowd = "1.2.3.4," * 100_000
    counts: Counter[str] = Counter()
    assert ALL.clean_json(json.dumps({"a": crowd}).encode(), counts) == b'"[REDACTED:unsearched]"'
    assert ALL.clean_text(crowd.encode(), counts) == b"[REDACTED:unsearched]"
    assert counts == {"unsearched": 2}


def test_long_ordinary_texts_are_worth_it() -> None:
    """Access logs and tables of numbers are full of places to look at, and are pasted into prompts."""
    log = '10.1.2.3 - - [10/Oct/2025:13:55:36 +0000] "GET /x HTTP/1.1" 200 2326 "-" "Chrome/120.0.6099.109"\n'
    for text in (
        "\n".join(ORDINARY) * 150,
        log * 4_000,
        "2025-11-24,1764000000003,4764000000003.25;" * 6_000,
    ):
        cleaned, counts = in_json(json.dumps([text]))
        assert set(counts) <= {"ip"}
        assert counts["ip"] == text.count("10.1.2.3")
        assert counts or cleaned == [text]


def test_the_string_with_a_secret_is_found_among_others() -> None:
    """Behind strings with escaped quotes and backslashes, in front of them, between numbers, as a name."""
    secret = TOKENS["groq_key"](Maker(4))
    others = ['"', "\\", '\\"', "\\\\", "", "a", '{"b": "\\""}', 12345678901234, None, {"x": '"'}, [[]]]
    for place in range(len(others) + 1):
        for found in (secret, {secret: 1}, [f'"{secret}\\'], {"a": {"b": secret}}):
            value = [*others[:place], found, *others[place:]]
            for writer in ("ascii", "unicode", "pretty", "slashes"):
                cleaned, counts = in_json(WRITERS[writer](value), ONLY_SECRETS)
                assert counts == {"groq_key": 1}
                assert json.dumps(cleaned) == json.dumps(value).replace(secret, "[REDACTED:groq_key]")


def test_a_hostile_pattern_takes_linear_time() -> None:
    """What makes backtracking engines stall for years is harmless here."""
    hostile = cleaner("none", own=(OwnPattern("bait", "(a+)+b|(x+x+)+y|(.*)*z"),))
    assert seconds(hostile.clean_text, b"a" * 400_000 + b"x" * 400_000) < 10


def test_secrets_in_context_are_what_they_are_called() -> None:
    """Each sample of this list is found under its own kind by the secrets alone."""
    found: list[Sample] = list(in_context(Maker(11)))
    assert [in_text(sample.text, ONLY_SECRETS)[1][sample.kind] > 0 for sample in found] == [True] * len(found)
