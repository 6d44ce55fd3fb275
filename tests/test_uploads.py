"""Media on their way to Langfuse: none lost, none doubled, and no span waits for them."""

from __future__ import annotations

import json
import random
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from langfuse.api import MediaContentType
from langfuse.media import LangfuseMedia

from kong_ai_tracing.endpoint import parse_endpoint
from kong_ai_tracing.httpclient import Connection
from kong_ai_tracing.media import Attachment, Medium
from kong_ai_tracing.mediaclient import MediaClient
from kong_ai_tracing.mediatypes import UPLOADED
from kong_ai_tracing.outcomes import Accepted, Hold, Refused, TryLater
from kong_host import QUICK_SECONDS, Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_media import SIGNATURE
from langfuse_server import FakeLangfuse

UPLOAD = ("[privacy]", 'media = "upload"')


def picture(number: int, size: int = 2_000) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + random.Random(number).randbytes(size)


def line_with(seq: int, *pictures: bytes, content_type: str = "image/png") -> bytes:
    """A call that shows pictures to a model."""
    line = json.loads(kong_line(1, seq))
    section = next(iter(line["ai"].values()))
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:{content_type};base64,{b64encode(data).decode()}"}}
        for data in pictures
    ]
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}
    section["payload"]["request"] = json.dumps(request)
    return json.dumps(line).encode() + b"\n"


def media_id(data: bytes, content_type: str = "image/png") -> str:
    """As Langfuse's own SDK derives it."""
    found = LangfuseMedia(content_bytes=data, content_type=content_type)._media_id
    assert found is not None
    return found


def waiting(host: Host) -> int:
    """How many media rest in the state."""
    with sqlite3.connect(host.state / "state.sqlite3") as db:
        counts = "SELECT (SELECT count(*) FROM media_bytes), (SELECT count(*) FROM media)"
        bytes_kept, places = db.execute(counts).fetchone()
    assert bytes_kept <= places
    return places


def inputs(langfuse: FakeLangfuse) -> dict[str, str]:
    """The input of each span, by its id."""
    return {span["spanId"]: span["attributes"]["langfuse.observation.input"] for span in langfuse.spans}


@pytest.fixture
def langfuse(tmp_path: Path) -> Iterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        yield server
        assert server.violations == []
        assert server.media.violations == []


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    host = Host(tmp_path, langfuse)
    host.configure(langfuse, *UPLOAD)
    yield host
    host.clean_up()
    if host.messages.exists():
        said = host.messages.read_text()
        assert SIGNATURE not in said
        assert "sk-lf-test" not in said


def test_id_and_reference_are_those_of_langfuses_sdk() -> None:
    """A picture gets the id that an application would give it, and the SDK can read the reference."""
    data = picture(1)
    uri = f"data:image/png;base64,{b64encode(data).decode()}"
    medium = Medium("image/png", data, sha256(data).digest(), "base64_data_uri")
    theirs = LangfuseMedia(base64_data_uri=uri)
    assert medium.media_id == theirs._media_id
    assert medium.sha256_base64 == theirs._content_sha256_hash
    assert medium.reference == theirs._reference_string
    parsed = LangfuseMedia.parse_reference_string(medium.reference)
    assert parsed == {"media_id": medium.media_id, "source": "base64_data_uri", "content_type": "image/png"}
    bare = Medium("audio/wav", data, medium.digest, "bytes")
    assert bare.reference == LangfuseMedia(content_bytes=data, content_type="audio/wav")._reference_string


def test_only_types_that_langfuse_takes_are_uploaded() -> None:
    """Its API refuses others, and text is left to the redaction."""
    known = {each.value for each in MediaContentType}
    assert known >= UPLOADED
    assert not any(each.startswith("text/") for each in UPLOADED)


def test_pictures_arrive_and_the_trace_refers_to_them(host: Host, langfuse: FakeLangfuse) -> None:
    """The bytes go to the address that Langfuse gives, each once, and Langfuse is told."""
    host.write(line_with(1, picture(1), picture(2)), line_with(2, picture(1)), kong_line(1, 3))
    assert host.run("run", "--once").returncode == 0
    shelf = langfuse.media
    assert shelf.complete == {media_id(data): data for data in (picture(1), picture(2))}
    places = {(each["observationId"], each["mediaId"], each["field"]) for each in shelf.announced}
    assert places == {
        (observation_id(1, seq), media_id(picture(number)), "input")
        for seq, number in ((1, 1), (1, 2), (2, 1))
    }
    assert len(shelf.announced) == 3
    assert {each["traceId"] for each in shelf.announced} <= {span["traceId"] for span in langfuse.spans}
    [message] = json.loads(inputs(langfuse)[observation_id(1, 2)])
    reference = message["content"][0]["image_url"]["url"]
    assert LangfuseMedia.parse_reference_string(reference)["media_id"] == media_id(picture(1))
    assert waiting(host) == 0


def test_a_kill_between_commit_and_upload_loses_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """The log is gone, the process is gone, and the picture still arrives, once."""  # covers CHK-01
    langfuse.script_media(storing="hang*")
    host.write(*(line_with(seq, picture(seq)) for seq in range(3)))
    host.start()
    wait_until(lambda: any("/fake/storage/" in each.path for each in langfuse.requests), "the first upload")
    wait_until(lambda: len(langfuse.spans) == 3, "the spans")
    wait_until(lambda: waiting(host) == 3, "the commit")
    host.kill()
    host.log.unlink()
    langfuse.script_media()
    assert host.run("run", "--once").returncode == 0
    assert langfuse.media.complete == {media_id(picture(seq)): picture(seq) for seq in range(3)}
    assert sorted(langfuse.media.puts) == sorted(langfuse.media.complete)
    assert len(langfuse.spans) == 3
    assert waiting(host) == 0


def test_a_hanging_media_store_holds_up_no_span(host: Host, langfuse: FakeLangfuse) -> None:
    """Spans arrive while nothing can be uploaded, and a stop is as quick as ever."""
    langfuse.script_media(asking="hang*")
    host.write(*(line_with(seq, picture(seq)) for seq in range(100)))
    host.start()
    wait_until(lambda: len(langfuse.spans) == 100, "all spans")
    host.write(kong_line(1, 100))
    wait_until(lambda: len(langfuse.spans) == 101, "a later span")
    assert host.stop() < QUICK_SECONDS
    assert waiting(host) == 100


def test_a_call_that_waits_for_company_keeps_its_picture(host: Host, langfuse: FakeLangfuse) -> None:
    """Its line is behind the position, the picture is uploaded: the call still comes, and refers to it."""
    line = json.loads(line_with(1, picture(1)))
    line["request"]["headers"]["x-message-id"] = "a" * 32
    host.configure(langfuse, *UPLOAD, "[grouping]", "trace_idle_seconds = 600", "trace_hold_seconds = 600")
    host.write(json.dumps(line).encode() + b"\n")
    host.start()
    wait_until(lambda: langfuse.media.complete, "the upload")
    host.kill()
    assert langfuse.spans == []
    assert host.run("run", "--once").returncode == 0
    assert media_id(picture(1)) in inputs(langfuse)[observation_id(1, 1)]
    assert langfuse.media.puts == [media_id(picture(1))]
    assert waiting(host) == 0


def test_damaged_bytes_are_not_uploaded(host: Host, langfuse: FakeLangfuse) -> None:
    """A disk that rots must not put another picture in the place of one; the same for a digest twice."""
    langfuse.script_media(storing="403*")
    host.write(line_with(1, picture(1)), line_with(2, picture(1)), line_with(3, picture(2)))
    assert host.run("run", "--once").returncode == 4
    with sqlite3.connect(host.state / "state.sqlite3") as db:
        assert db.execute("SELECT count(*) FROM media_bytes").fetchone() == (2,)
        db.execute("UPDATE media_bytes SET data = zeroblob(bytes) WHERE bytes = 2008 AND rowid = 1")
    langfuse.script_media()
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.media.complete) == 1
    assert host.status()["counters"]["media_refused"] in (1, 2)
    assert waiting(host) == 0


@pytest.mark.parametrize("script", ["500*2", "429:0.1", "cut", "accept-cut", "408*2"])
def test_passing_faults_are_overcome(host: Host, langfuse: FakeLangfuse, script: str) -> None:
    """Whichever of the two servers has them."""
    langfuse.script_media(asking=script, storing=script)
    host.write(line_with(1, picture(1)))
    assert host.run("run", "--once").returncode == 0
    assert langfuse.media.complete == {media_id(picture(1)): picture(1)}
    assert waiting(host) == 0


@pytest.mark.parametrize("side", ["asking", "storing"])
def test_a_refused_medium_is_counted_and_dropped(host: Host, langfuse: FakeLangfuse, side: str) -> None:
    """The log says why; the others go on."""
    langfuse.script_media(**{side: "400"})
    host.write(line_with(1, picture(1)))
    host.start()
    wait_until(lambda: "media.refused" in host.messages.read_text(), "the refusal")
    host.write(line_with(2, picture(2)))
    wait_until(lambda: media_id(picture(2)) in langfuse.media.complete, "the next one")
    wait_until(lambda: waiting(host) == 0, "the answer to be taken in")
    host.stop()
    said = next(line for line in host.messages.read_text().splitlines() if "media.refused" in line)
    assert "400" in said
    assert waiting(host) == 0
    counters = host.status()["counters"]
    assert (counters["media_refused"], counters["media_uploaded"]) == (1, 1)


def test_once_says_that_media_are_left_and_the_next_run_takes_them_up(
    host: Host, langfuse: FakeLangfuse
) -> None:
    """A storage that denies access is for the operator to mend: nothing is thrown away for that."""
    langfuse.script_media(storing="403*")
    host.write(line_with(1, picture(1)))
    result = host.run("run", "--once")
    assert result.returncode == 4
    assert SIGNATURE not in result.stderr
    assert len(langfuse.spans) == 1
    assert waiting(host) == 1
    langfuse.script_media()
    assert host.run("run", "--once").returncode == 0
    assert langfuse.media.complete == {media_id(picture(1)): picture(1)}
    assert len(langfuse.spans) == 1


def test_what_finds_no_room_is_told_in_words(host: Host, langfuse: FakeLangfuse) -> None:
    """The half of the outbox that media may take is a bound."""
    host.configure(langfuse, *UPLOAD, "[delivery]", "outbox_max_bytes = 65536", "batch_max_bytes = 16384")
    langfuse.script_media(asking="hang*")
    host.write(*(line_with(seq, picture(seq, 10_000)) for seq in range(10)))
    host.start()
    wait_until(lambda: len(langfuse.spans) == 10, "all spans")
    host.stop()
    kept = sum("@@@langfuseMedia" in text for text in inputs(langfuse).values())
    assert sum("[image/png, 10,008 bytes" in text for text in inputs(langfuse).values()) == 10 - kept
    assert 0 < kept <= 3
    assert waiting(host) == kept
    assert host.status()["counters"]["media_without_room"] == 10 - kept


def test_backfill_waits_for_uploads(host: Host, langfuse: FakeLangfuse) -> None:
    """History has pictures, too."""
    archive = host.directory / "old.log"
    archive.write_bytes(b"".join(line_with(seq, picture(seq % 5)) for seq in range(20)))
    langfuse.script_media(asking="slow:0.2*5")
    assert host.run("backfill", str(archive)).returncode == 0
    assert langfuse.media.complete == {media_id(picture(seq)): picture(seq) for seq in range(5)}
    assert len(langfuse.media.announced) >= 20
    assert len(langfuse.spans) == 20


@pytest.mark.parametrize(
    ("settings", "content_type"),
    [(UPLOAD, "text/plain"), ((*UPLOAD, 'content = "metadata"'), "image/png"), ((), "image/png")],
)
def test_nothing_is_uploaded_that_was_not_agreed_to(
    host: Host, langfuse: FakeLangfuse, settings: tuple[str, ...], content_type: str
) -> None:
    """Neither by default, nor when content stays here, nor text that the redaction did not see."""
    host.configure(langfuse, *settings)
    data = b"my key is sk-abcdefghijklmnop " * 80
    host.write(line_with(1, picture(1) if content_type == "image/png" else data, content_type=content_type))
    assert host.run("run", "--once").returncode == 0
    assert len(langfuse.spans) == 1
    assert langfuse.media.announced == []
    assert "base64," not in json.dumps(langfuse.spans)


def test_a_dry_run_uploads_nothing(host: Host, langfuse: FakeLangfuse) -> None:
    """As it sends nothing."""
    host.write(line_with(1, picture(1)))
    assert host.run("run", "--dry-run").returncode == 0
    assert langfuse.requests == []


async def outcome_of(langfuse_answer: httpx.Response, storage_answer: httpx.Response | None = None):
    """What one upload comes to when the servers answer so."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            assert storage_answer is not None
            return storage_answer
        return httpx.Response(200) if request.method == "PATCH" else langfuse_answer

    client = MediaClient(
        endpoint=parse_endpoint("https://langfuse.example.com"),
        public_key="pk-lf-1",
        secret_key="sk-lf-1",
        connection=Connection(),
    )
    transport = httpx.MockTransport(answer)
    client._langfuse = httpx.AsyncClient(transport=transport)
    client._storage = httpx.AsyncClient(transport=transport)
    data = picture(1)
    medium = Medium("image/png", data, sha256(data).digest(), "bytes")
    outcome = await client.upload(Attachment("a" * 32, "b" * 16, "input", medium))
    await client.close()
    return outcome


def address(**more: object) -> httpx.Response:
    said = {"mediaId": media_id(picture(1)), "uploadUrl": f"https://storage.example.com/x?{SIGNATURE}"}
    return httpx.Response(201, json=said | more)


@pytest.mark.parametrize(
    ("langfuse_answer", "storage_answer", "kind"),
    [
        (address(uploadUrl=None), None, Accepted),
        (address(), httpx.Response(200), Accepted),
        (address(), httpx.Response(503), TryLater),
        (address(), httpx.Response(403), Hold),
        (address(), httpx.Response(400), Refused),
        (address(mediaId="another"), None, Refused),
        (address(uploadUrl="https://storage.example.com/\x00"), None, TryLater),
        (address(uploadUrl=7), None, TryLater),
        (httpx.Response(201, json={}), None, Refused),
        (httpx.Response(200, text="<html>"), None, Hold),
        (httpx.Response(401, json={}), None, Hold),
        (httpx.Response(500), None, TryLater),
        (httpx.Response(400, json={"message": "type"}), None, Refused),
    ],
)
async def test_every_answer_has_its_meaning(langfuse_answer, storage_answer, kind) -> None:
    """Keep and wait, keep and tell, or give up; and no address with its signature in any reason."""
    outcome = await outcome_of(langfuse_answer, storage_answer)
    assert isinstance(outcome, kind)
    assert SIGNATURE not in str(outcome)
