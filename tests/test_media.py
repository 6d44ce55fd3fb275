"""Pictures, sounds and documents in base64: found wherever they stand, replaced by words, the rest kept."""

from __future__ import annotations

import json
import random
import time
from base64 import b64decode, b64encode, encodebytes, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kong_ai_tracing import preview
from kong_ai_tracing.config import Config
from kong_ai_tracing.media import Medium, without_media
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.protection import MEDIA, REPLACED, Protection
from kong_ai_tracing.redact import RedactionSettings, Redactor
from kong_writer import kong_line
from test_traces import call

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(2_000)
WAV = b"RIFF\x00\x10\x00\x00WAVEfmt " + random.Random(8).randbytes(2_000)
NOISE = random.Random(9).randbytes(1_500)
DIGEST = sha256(PNG).hexdigest()[:12]
WORDS = f"[image/png, 2,008 bytes, sha256:{DIGEST}]"


def base64(data: bytes) -> str:
    return b64encode(data).decode()


def replaced(text: bytes | str) -> tuple[str, list[Medium]]:
    """The text with `<n>` for the n-th medium, and the media."""
    media: list[Medium] = []

    def name(medium: Medium) -> str:
        media.append(medium)
        return f"<{len(media)}>"

    raw = text.encode() if isinstance(text, str) else text
    return without_media(raw, name).decode(), media


CARRIERS = {
    "OpenAI picture": ({"image_url": {"url": "data:image/png;base64,{}"}}, "image/png"),
    "OpenAI audio": ({"input_audio": {"data": "{}", "format": "wav"}}, "audio/wav"),
    "OpenAI file": ({"file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,{}"}}, None),
    "OpenAI image answer": ({"created": 1, "data": [{"b64_json": "{}"}]}, "image/png"),
    "Anthropic": ({"source": {"type": "base64", "media_type": "image/webp", "data": "{}"}}, "image/webp"),
    "Gemini": ({"inlineData": {"mimeType": "image/heic", "data": "{}"}}, "image/heic"),
    "Gemini, snake case": ({"inline_data": {"data": "{}", "mime_type": "audio/mp3"}}, "audio/mpeg"),
    "Bedrock": ({"image": {"format": "png", "source": {"bytes": "{}"}}}, "image/png"),
    "Ollama": ({"content": "what?", "images": ["{}"]}, "image/png"),
    "AI SDK": ({"type": "file", "data": "{}", "mediaType": "application/pdf"}, "application/pdf"),
    "markdown": ({"text": "see ![it](data:image/png;base64,{}) there"}, "image/png"),
    "prose": ({"text": "what is this: {} (base64)?"}, "image/png"),
    "no type": ({"url": "data:;base64,{}"}, "image/png"),
    "several parameters": ({"url": "data:image/png;name=a b.png;charset=x;base64,{}"}, "image/png"),
}


@pytest.mark.parametrize(("carrier", "content_type"), CARRIERS.values(), ids=CARRIERS)
def test_every_dialects_form_is_found(carrier: dict, content_type: str | None) -> None:
    """The base64 goes, the bytes and their type are known, and all the rest stays."""
    text = json.dumps(carrier)
    found, media = replaced(text.replace("{}", base64(PNG)))
    assert [medium.data for medium in media] == [PNG]
    assert media[0].content_type == (content_type or "application/pdf")
    prefix = text[text.find("data:") : text.find("{}")] if "data:" in text else ""
    assert found == text.replace(prefix + "{}", "<1>")


def test_the_words_tell_type_size_and_digest() -> None:
    """A person can tell what it was, and whether it is the same as another one."""
    text = json.dumps({"url": f"data:image/png;base64,{base64(PNG)}"}).encode()
    assert json.loads(without_media(text, lambda medium: medium.placeholder)) == {"url": WORDS}


def escaped_slashes(text: str) -> str:
    return text.replace("/", "\\/")


def escaped_signs(text: str) -> str:
    return text.replace("+", "\\u002B").replace("=", "\\u003d").replace("/", "\\u002f")


WRITERS = {
    "plain": lambda text: text,
    "PHP and Lua escape slashes": escaped_slashes,
    ".NET and Java escape signs": escaped_signs,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("is_cut", [False, True])
def test_escapes_nesting_and_a_cut_do_not_hide_it(write, depth: int, is_cut: bool) -> None:
    """However often a body was put into a string, and wherever that was cut off."""
    text = write(json.dumps({"source": {"type": "base64", "media_type": "image/png", "data": base64(PNG)}}))
    if is_cut:
        text = text[: len(text) * 3 // 4]
    for _ in range(depth):
        text = json.dumps({"body": text})
    found, media = replaced(text)
    assert len(found) < 300
    assert len(media) == 1
    assert media[0].content_type == "image/png"
    assert PNG.startswith(media[0].data)
    assert is_cut or media[0].data == PNG
    if depth:
        json.loads(found)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_in_lines_is_one_medium(prefix: str) -> None:
    """As mail and the command line write it; what follows in the next line is none of it."""
    lines = encodebytes(PNG).decode()
    assert replaced(json.dumps({"data": prefix + lines}))[1][0].data == PNG
    assert replaced(json.dumps({"data": prefix + lines.replace("\n", "\r\n")}))[1][0].data == PNG
    if prefix:
        found, media = replaced(json.dumps({"text": f"{prefix}{base64(PNG)}\nDescribe it."}))
        assert json.loads(found) == {"text": "<1>\nDescribe it."}
        assert media[0].data == PNG


def test_the_alphabet_of_addresses_is_read_too() -> None:
    """Gemini's own libraries write it, without padding at times."""
    text = urlsafe_b64encode(PNG).decode().rstrip("=")
    assert replaced(json.dumps({"data": text}))[1][0].data == PNG


ORDINARY = {
    "prose": "The quick brown fox jumps over the lazy dog. " * 200,
    "a word list": "\n".join(f"User{number}" for number in range(1_000)),
    "a gene": "ACGT" * 2_000,
    "a number": "0123456789" * 500,
    "hex": sha256(b"x").hexdigest() * 100,
    "a small icon": f"data:image/png;base64,{base64(PNG[:300])}",
    "a key": "-----BEGIN PRIVATE KEY-----\n" + encodebytes(NOISE).decode() + "-----END PRIVATE KEY-----",
    "a token": ".".join(["eyJhbGciOiJIUzI1NiJ9", urlsafe_b64encode(NOISE).decode().rstrip("="), "c2ln"]),
    "an address": "https://example.com/a?state=%2F" + urlsafe_b64encode(NOISE).decode().rstrip("=") + "&x=1",
    "many letters": "a" * 5_000,
    "backslashes": "\\" * 5_000,
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_what_is_no_medium_stays(text: str) -> None:
    """Keys and tokens are left for the redaction, which knows them."""
    body = json.dumps({"messages": [{"role": "user", "content": text}]})
    assert replaced(body) == (body, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.tuples(JSON, st.sampled_from([PNG, WAV, None])), max_size=5), st.booleans(), st.booleans())
@settings(deadline=None)
def test_only_media_change_in_any_json(parts: list, ascii_only: bool, is_address: bool) -> None:
    """The text around them stays byte for byte, whatever it is."""
    prefix = "data:application/x-any;base64," if is_address else ""
    texts, expected, count = [], [], 0
    for value, data in parts:
        texts.append(json.dumps(value, ensure_ascii=ascii_only))
        expected.append(texts[-1])
        if data is not None:
            count += 1
            texts.append(json.dumps(prefix + base64(data)))
            expected.append(f'"<{count}>"')
    found, media = replaced(("[" + ",".join(texts) + "]").encode("utf-8", "replace"))
    assert found.encode() == ("[" + ",".join(expected) + "]").encode("utf-8", "replace")
    assert [medium.data for medium in media] == [data for _, data in parts if data is not None]


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None)
def test_prose_around_an_address_stays(before: str, after: str) -> None:
    """The medium ends where its base64 ends."""
    body = json.dumps({"t": f"{before} data:image/png;base64,{base64(PNG)} {after}"})
    found, media = replaced(body)
    assert json.loads(found) == {"t": f"{before} <1> {after}"}
    assert media[0].data == PNG


@given(st.binary(min_size=900, max_size=4_000), st.integers(0, 4_000))
@settings(deadline=None)
def test_a_cut_anywhere_gives_the_beginning_of_the_bytes(data: bytes, length: int) -> None:
    """No cut raises, and none makes up bytes."""
    whole = json.dumps({"body": json.dumps({"image_url": {"url": f"data:image/png;base64,{base64(data)}"}})})
    _, media = replaced(whole[: len(whole) - 10 - length])
    assert all(data.startswith(medium.data) for medium in media)


HOSTILE = {
    "backslashes": b'"' + b"\\\\" * 500_000 + b'"',
    "quotes": b'"",' * 400_000,
    "almost long": b'"' + (b"a" * 1023 + b" ") * 1_000 + b'"',
    "just long": b'"' + (b"a" * 1100 + b" ") * 1_000 + b'"',
    "escapes": b'"' + b"\\/" * 500_000 + b'"',
    "addresses": b'"' + b"data:;base64," * 80_000 + b'"',
    "lines": b'"' + (b"A" * 64 + b"\\n") * 16_000 + b'"',
    "never closed": b'"' + b"A" * 1_000_000,
    "strings in strings": json.dumps(json.dumps(json.dumps(json.dumps(json.dumps("A" * 60_000))))).encode(),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_take_linear_time(text: bytes) -> None:
    """A megabyte of the worst takes a fraction of a second; work that is not linear would take minutes."""
    began = time.process_time()
    without_media(text, lambda medium: medium.placeholder)
    assert time.process_time() - began < 10


def test_ordinary_texts_are_returned_as_they_are() -> None:
    """Not even a copy is made."""
    text = json.dumps({"content": "word " * 1_000}).encode()
    assert without_media(text, lambda medium: medium.placeholder) is text


DIGESTS = st.binary(min_size=32, max_size=32) | st.text("0123456789", min_size=64, max_size=64).map(
    bytes.fromhex
)


@given(DIGESTS, st.binary(max_size=5_000), st.sampled_from(["bytes", "base64_data_uri"]))
@settings(deadline=None, max_examples=300)
def test_no_redaction_touches_what_stands_for_a_medium(digest: bytes, data: bytes, source: str) -> None:
    """A digest may look like a number that somebody can be called under."""
    medium = Medium("image/png", data, digest, source)
    one = call("a")
    for words in (medium.placeholder, medium.reference):
        text = json.dumps({"data": words, "text": f"see {words} there"}).encode()
        given_call = replace(one, observation=replace(one.observation, input=text))
        assert Redactor(RedactionSettings(kinds=("all",))).redact(given_call)[0].observation.input == text


@pytest.mark.parametrize("content", ["full", "metadata", "hashed"])
def test_no_content_mode_lets_base64_through(content) -> None:
    """And the call says how many media there were, of which types."""
    question = json.dumps([{"url": f"data:image/png;base64,{base64(PNG)}"}, {"data": base64(WAV)}]).encode()
    one = call("a")
    one = replace(one, observation=replace(one.observation, input=question, output=question))
    protection = Protection(
        Privacy(PrivacySettings(content=content)), Redactor(RedactionSettings(kinds=("all",)))
    )
    protected = protection.apply([one])
    left = protected.calls[0].observation
    assert len(left.input or b"") < 300
    assert len(left.output or b"") < 300
    if content == "full":
        assert left.metadata[MEDIA] == {"audio/wav": 2, "image/png": 2}
        assert protected.counts == {REPLACED: 4}
        assert protected.media == []
        assert left.input == left.output
        assert WORDS in (left.input or b"").decode()


def test_the_bytes_are_those_that_a_strict_decoder_gives() -> None:
    """Judged by the standard library, for every length of padding."""
    for size in range(900, 906):
        text = base64(NOISE[:size])
        [medium] = replaced(json.dumps({"data": text}))[1]
        assert medium.data == b64decode(text, validate=True)


def test_preview_shows_the_words_with_and_without_redaction(tmp_path: Path, capfd) -> None:
    """A page of base64 on the screen would be of no use to anybody."""
    question = {"role": "user", "content": f"data:image/png;base64,{base64(PNG)}"}
    line = json.loads(kong_line(1, 1))
    section = next(iter(line["ai"].values()))
    section["payload"]["request"] = json.dumps({"model": "gpt-4o", "messages": [question]})
    log = tmp_path / "ai.log"
    log.write_text(json.dumps(line) + "\n")
    for redacted in (False, True):
        preview.run(Config(), log, format="json", limit=None, explain=False, follow=False, redacted=redacted)
        said = capfd.readouterr()
        [observation] = json.loads(said.out)["observations"]
        assert observation["input"] == [{"role": "user", "content": WORDS}]
        assert observation["metadata"][MEDIA] == {"image/png": 1}
        assert ("1 media_replaced" in said.err) == redacted
