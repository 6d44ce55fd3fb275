"""Archives in object stores and on web servers: every byte once, whatever the connection does."""

from __future__ import annotations

import bz2
import gzip
import lzma
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kong_ai_tracing import remotestores
from kong_ai_tracing.archivepaths import Named
from kong_ai_tracing.archives import Archives
from kong_ai_tracing.backfill import LEDGER_DIRECTORY
from kong_ai_tracing.lines import Line, marker_of
from kong_ai_tracing.remotefiles import BLOCK_BYTES, FIRST_BLOCK_BYTES, RemoteReader
from kong_ai_tracing.remotestores import RemoteChangedError, RemoteError, RemoteFile, masked
from kong_ai_tracing.storestatus import read_status
from kong_host import Host
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse
from remote_servers import SECRET_KEY, S3Server, WebServer, web_server
from test_backfill import killed

LINES = [kong_line(1, seq) for seq in range(40)]
LARGE = b"".join(kong_line(2, seq, 2_000) for seq in range(6_000))
"""Several blocks."""


@pytest.fixture(scope="module")
def running_s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in running_s3.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remotestores, "_stores", {})
    yield running_s3
    running_s3.clear()


@pytest.fixture(params=[True, False], ids=["ranges", "no-ranges"])
def web(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(remotestores, "_stores", {})
    monkeypatch.setattr(remotestores, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    with web_server(has_ranges=request.param) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Named]:
    with Named(tmp_path / "spool", free_space_floor_bytes=0) as stack:
        yield stack


def whole(url: str) -> bytes:
    reader = RemoteReader(RemoteFile.at(url))
    try:
        return reader.readall()
    finally:
        reader.close()


async def read_all(archives: Archives) -> list[bytes]:
    data = []
    while chunk := await archives.read():
        data += [item.data + b"\n" for item in chunk.items if isinstance(item, Line)]
    await archives.close()
    return data


def urls(named: list[object]) -> list[str]:
    return [str(one) for one in named]


async def test_an_object_is_read_in_every_form(s3: S3Server, files: Named) -> None:
    """Each block of a store is one request; forms are told by their first bytes."""
    for number, pack in enumerate((bytes, gzip.compress, bz2.compress, lzma.compress)):
        content = b"".join(LINES[10 * number : 10 * number + 10])
        s3.put(f"kong/ai.log.{number}", pack(content))
    places = files.paths(["s3://archive/kong/"])
    archives = Archives(places, (), max_line_bytes=1 << 20)
    assert await read_all(archives) == LINES
    assert archives.read_bytes == archives.total_bytes > 0


async def test_a_prefix_and_a_pattern_stand_for_the_objects_of_a_family(s3: S3Server, files: Named) -> None:
    """As directories and patterns do on a disk; an object's exact name is that object."""
    for key in ("kong/ai.log", "kong/ai.log.1.gz", "kong/2026/ai.log-20261101.zst", "kong/readme.txt"):
        s3.put(key, LINES[0])
    s3.put("odd/ai.log[1]", LINES[0])
    everything = ["s3://archive/kong/2026/ai.log-20261101.zst", "s3://archive/kong/ai.log"]
    everything += ["s3://archive/kong/ai.log.1.gz"]
    assert urls(files.paths(["s3://archive/kong"])) == everything
    assert urls(files.paths(["s3://archive/**/ai.log*"])) == [*everything, "s3://archive/odd/ai.log[1]"]
    assert urls(files.paths(["s3://archive/kong/ai.log*"])) == everything[1:]
    assert urls(files.paths(["s3://archive/odd/ai.log[1]"])) == ["s3://archive/odd/ai.log[1]"]
    for nothing, words in (
        ("s3://archive/none/*.log", "no object is called"),
        ("s3://archive/none/ai.log", "there is no such object"),
        ("s3://other-bucket/ai.log", "there is no such object"),
        ("ftp://host/ai.log", "ftp:// is not known"),
    ):
        with pytest.raises(RemoteError, match=words):
            files.paths([nothing])


async def test_an_object_goes_on_where_reading_ended(s3: S3Server) -> None:
    """A plain object by a range, a compressed one by its content."""
    content = LARGE
    offset = content.index(b"\n", len(content) // 2) + 1
    for key, data in (("ai.log", content), ("ai.log.gz", gzip.compress(content, 1))):
        place = RemoteFile.at(s3.put(key, data))
        [record] = (await Archives([place], (), max_line_bytes=1 << 20).scan()).records
        record = replace(record, offset=offset, marker=marker_of(content[:offset]))
        archives = Archives([place], [record], max_line_bytes=1 << 20)
        assert b"".join(await read_all(archives)) == content[offset:]


def test_a_replaced_object_is_noticed_before_a_byte_of_it_is_given_out(s3: S3Server) -> None:
    """What was begun is not finished with the bytes of something else."""  # covers BKF-07
    place = RemoteFile.at(s3.put("ai.log", LARGE))
    reader = RemoteReader(place)
    reader.read(10)
    s3.put("ai.log", LARGE[::-1])
    with pytest.raises(RemoteChangedError, match="replaced while it was read"):
        reader.readall()
    reader.close()


async def test_an_object_that_was_replaced_between_two_runs_is_read_from_its_beginning(s3: S3Server) -> None:
    """The bytes before the offset tell."""
    place = RemoteFile.at(s3.put("ai.log", LARGE))
    [record] = (await Archives([place], (), max_line_bytes=1 << 20).scan()).records
    offset = LARGE.index(b"\n", len(LARGE) // 2) + 1
    record = replace(record, offset=offset, marker=marker_of(LARGE[:offset]))
    other = LARGE[: LARGE.index(b"\n", 1 << 20) + 1] + b"".join(LINES) * (offset // len(b"".join(LINES)))
    s3.put("ai.log", other)
    archives = Archives([place], [record], max_line_bytes=1 << 20)
    assert b"".join(await read_all(archives)) == other


def test_a_download_takes_two_blocks_of_memory(s3: S3Server) -> None:
    """However long the object is."""
    url = s3.put("large.log", b"x" * (6 * BLOCK_BYTES))
    reader = RemoteReader(RemoteFile.at(url))
    room = memoryview(bytearray(1 << 20))
    reader.readinto(room)
    tracemalloc.start()
    try:
        while reader.readinto(room):
            pass
        assert tracemalloc.get_traced_memory()[1] < 4 * BLOCK_BYTES
    finally:
        tracemalloc.stop()
        reader.close()


def test_a_web_server_gives_nothing_twice(web: WebServer) -> None:
    """With ranges the beginning and the rest, without them all at once; an empty file is one."""
    web.files["/ai.log"], web.files["/empty.log"] = LARGE, b""
    assert whole(f"{web.url}/ai.log") == LARGE
    assert web.sent_bytes == len(LARGE)
    assert len(web.requests) == (2 if web.has_ranges else 1)
    assert whole(f"{web.url}/empty.log") == b""


def test_a_download_that_is_cut_goes_on_where_it_was(web: WebServer) -> None:
    """A server without ranges gives the beginning again, which is passed over."""
    web.files["/ai.log"] = LARGE
    web.fail = [200, 0, 503, 0] if web.has_ranges else [0, 503, 0]
    assert whole(f"{web.url}/ai.log") == LARGE
    assert (web.sent_bytes < 1.5 * len(LARGE)) is web.has_ranges


async def test_a_file_on_the_web_goes_on_at_its_offset(web: WebServer) -> None:
    """Only a server that knows ranges gives no more than what is missing."""
    web.files["/ai.log"] = LARGE
    place = RemoteFile.at(f"{web.url}/ai.log")
    archives = Archives([place], (), max_line_bytes=1 << 20)
    [record] = (await archives.scan()).records
    offset = LARGE.index(b"\n", len(LARGE) - 10_000) + 1
    record = replace(record, offset=offset, marker=marker_of(LARGE[:offset]))
    web.sent_bytes = 0
    again = Archives([place], [record], max_line_bytes=1 << 20)
    assert b"".join(await read_all(again)) == LARGE[offset:]
    await archives.close()
    assert (web.sent_bytes < len(LARGE) // 2) is web.has_ranges


def test_a_file_that_is_replaced_on_the_web_is_noticed(web: WebServer) -> None:
    """When its connection was cut and it is asked for again."""
    web.files["/ai.log"] = LARGE
    web.fail = [200, 0] if web.has_ranges else [0]
    reader = RemoteReader(RemoteFile.at(f"{web.url}/ai.log"))
    reader.read(FIRST_BLOCK_BYTES)
    web.files["/ai.log"] = LARGE[::-1]
    with pytest.raises(RemoteChangedError):
        reader.readall()
    reader.close()


def test_pages_that_list_files_are_directories(web: WebServer, files: Named) -> None:
    """As web servers make them; a pattern chooses among the links."""
    links = (
        '<a href="../">up</a>',
        *(f'<a href="{name}">{name}</a>' for name in ("ai.log", "ai.log.1", "x")),
    )
    web.files["/logs/"] = "".join(links).encode()
    web.files["/logs/ai.log"] = web.files["/logs/ai.log.1"] = LINES[0]
    expected = [f"{web.url}/logs/ai.log", f"{web.url}/logs/ai.log.1"]
    assert urls(files.paths([f"{web.url}/logs/"])) == expected
    assert urls(files.paths([f"{web.url}/logs/ai.log.*"])) == expected[1:]


@pytest.mark.parametrize(
    ("status", "words", "attempts"),
    [
        (404, "there is no such object", 1),
        (403, "access denied", 1),
        (410, "the server answers 410", 1),
        (503, "the server answers 503", 4),
        (429, "the server answers 429", 4),
    ],
)
def test_what_a_server_says_is_said_and_tried_again_when_it_may_pass(
    web: WebServer, status: int, words: str, attempts: int
) -> None:
    """An answer that will be the same again ends it at once; the URL is named without its signature."""
    web.files["/ai.log"] = LINES[0]
    web.fail = [status] * 10
    with pytest.raises(RemoteError, match=words) as caught:
        whole(f"{web.url}/ai.log?signature=geheim")
    assert len(web.requests) == attempts
    assert "geheim" not in str(caught.value)
    assert f"{web.url}/ai.log" in str(caught.value)


def test_a_server_that_is_silent_is_given_up(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever."""
    monkeypatch.setattr(remotestores, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(remotestores, "_READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(RemoteError, match="no answer in time"):
            whole(f"http://127.0.0.1:{port}/ai.log")


def test_a_user_in_a_url_is_used_and_never_shown(web: WebServer) -> None:
    """Not in errors, not in names."""
    web.user = "reader:geheim"
    web.files["/ai.log"] = LINES[0]
    address = web.url.removeprefix("http://")
    assert whole(f"http://reader:geheim@{address}/ai.log") == LINES[0]
    with pytest.raises(RemoteError, match="access denied") as caught:
        whole(f"http://reader:anders@{address}/ai.log")
    assert "anders" not in str(caught.value)
    assert masked("https://a:b@host/x.log?sig=1") == "https://********@host/x.log?********"
    assert "geheim" not in repr(RemoteFile.at("https://u:geheim@host/x.log?sig=geheim"))


def test_who_has_no_credentials_is_told_how_to_give_them(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once, without trying again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RemoteError, match="no credentials were found; give AWS_PROFILE"):
        whole("s3://archive/ai.log")


def test_a_store_that_is_not_installed_is_named_with_the_command() -> None:
    """Nothing else is needed to go on."""
    code = """if True:
        import sys
        sys.modules["s3fs"] = None
        from kong_ai_tracing.remotestores import RemoteError, store_of
        try:
            store_of("s3")
        except RemoteError as error:
            print(error)
    """
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kong-ai-tracing[s3]'" in answer.stdout


def test_nothing_of_a_store_is_loaded_without_a_url() -> None:
    """A backfill of files must not wait for clients of stores."""
    code = "import sys, kong_ai_tracing.backfill; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"fsspec", "aiohttp", "s3fs", "botocore", "distributed"} & set(answer.stdout.split()) == set()


def test_a_backfill_from_a_store_resumes_after_a_kill(
    host: Host, langfuse: FakeLangfuse, s3: S3Server, tmp_path: Path
) -> None:
    """At object and offset, plain and compressed; nothing of the credentials is written anywhere."""
    # covers BKF-01
    host.configure(langfuse, "[delivery]", "batch_max_bytes = 100000")
    plain = b"".join(kong_line(1, seq, 2_000) for seq in range(1_000))
    s3.put("kong/ai.log.1", plain)
    s3.put("kong/ai.log.2.gz", gzip.compress(b"".join(kong_line(2, seq, 2_000) for seq in range(1_000)), 1))
    signed = s3.signed("kong/ai.log.2.gz")
    paths = ["s3://archive/kong/ai.log.1", signed]
    killed(host, langfuse, host.state / "backfill", *paths)
    sent_before = len(langfuse.spans)
    assert sent_before < 2_000, "it was killed after the work was done"
    result = host.run("backfill", *paths)
    assert result.returncode == 0, result.stderr
    expected = {observation_id(writer, seq) for writer in (1, 2) for seq in range(1_000)}
    assert langfuse.span_ids() == expected
    assert len(langfuse.spans) < 2_000 + sent_before, "what was delivered is not sent again"
    signature = signed.partition("Signature=")[2]
    said = result.stdout + result.stderr + host.messages.read_text()
    for secret in (SECRET_KEY, signature):
        assert secret not in said
        for path in host.state.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_a_backfill_that_a_server_ends_says_so_and_goes_on(
    host: Host, langfuse: FakeLangfuse, web: WebServer
) -> None:
    """What came before is delivered or on disk; the same command reads the rest."""
    web.files["/ai.log"] = LARGE
    address = f"http://{web.url.removeprefix('http://')}/ai.log?sig=geheim"
    web.fail = [200, 200, 0, 403] if web.has_ranges else [200, 0, 403]
    result = host.run("backfill", address)
    assert result.returncode == 1
    assert "ai.log?******** cannot be read: access denied" in result.stderr
    assert "geheim" not in result.stderr
    assert "Traceback" not in result.stderr
    ledger = read_status(host.state / LEDGER_DIRECTORY)
    assert ledger is not None
    # How much of it had its answer by then is the machine's matter; the rest is on disk.
    safe = len(langfuse.span_ids()) + ledger.outbox_spans
    result = host.run("backfill", address)
    assert result.returncode == 0, result.stderr
    assert langfuse.span_ids() == {observation_id(2, seq) for seq in range(6_000)}
    assert 0 < safe < 6_000
    assert len(langfuse.spans) < 12_000 - safe // 2, "what was delivered is not sent again"
