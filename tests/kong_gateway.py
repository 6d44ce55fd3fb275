"""A gateway that runs what `kong-config` prints: nginx with Lua, `kong_frame/`, and a model behind it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from kong_host import wait_until
from test_cli import invoke

FRAME = Path(__file__).parent / "kong_frame"
MODULES = Path("/usr/lib/nginx/modules")
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
LUA = (MODULES / "ngx_http_lua_module.so").exists() and any(Path("/usr/lib").glob("*/lua/5.1/cjson.so"))
MISSING = None if NGINX and LUA else "needs nginx with Lua: apt-get install libnginx-mod-http-lua lua-cjson"


class Asked(NamedTuple):
    """A request as the model gets it."""

    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    async def answer(self, body: bytes, media: str = "application/json", **headers: str) -> None:
        """A whole answer of known length."""
        await self.begin(media, content_length=str(len(body)), **headers)
        await self.send(body)

    async def begin(self, media: str = "text/event-stream", **headers: str) -> None:
        """The head of an answer."""
        named = {"content-type": media} | {name.replace("_", "-"): text for name, text in headers.items()}
        lines = "".join(f"{name}: {text}\r\n" for name, text in named.items())
        await self.send(f"HTTP/1.1 200 OK\r\nconnection: close\r\n{lines}\r\n".encode())

    async def begin_stream(self, media: str = "text/event-stream") -> None:
        """The head of an answer in chunks."""
        await self.begin(media, transfer_encoding="chunked")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """A piece of an answer in chunks; without data its end."""
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")


Model = Callable[[Asked], Awaitable[None]]


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


class Gateway:
    """nginx with the frame in a directory of its own."""

    def __init__(self, directory: Path, plugins: dict[str, Any], version: int) -> None:
        self.directory = directory
        self.log = directory / "ai.log"
        plugins["file-log"]["path"] = str(self.log)
        (directory / "kong.json").write_text(json.dumps({"version": version, "plugins": plugins}))
        template = (FRAME / "nginx.conf").read_text().replace("@frame@", str(FRAME))
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(template.replace("@user@", user))
        assert NGINX is not None
        command = [NGINX, "-p", f"{directory}/", "-c", "nginx.conf", "-e", "error.log"]
        self.process = subprocess.Popen(command, cwd=directory)
        wait_until(lambda: self.process.poll() is not None or (directory / "kong.sock").exists(), "nginx")
        assert self.process.poll() is None, self.errors()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(90)

    def errors(self) -> str:
        """What nginx complained of."""
        return (self.directory / "error.log").read_text()

    @asynccontextmanager
    async def behind(self, model: Model) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the gateway, with this model behind it."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                await model(Asked(headers, await _read_body(reader, headers), writer))
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        path = self.directory / "model.sock"
        path.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(serve, path):
            transport = httpx.AsyncHTTPTransport(uds=str(self.directory / "kong.sock"))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway", timeout=90
            ) as client:
                yield client

    def lines(self, count: int = 1) -> list[dict[str, Any]]:
        """The lines of the log, when there are so many."""
        wait_until(lambda: self.log.exists() and self.log.read_bytes().count(b"\n") >= count, "a line")
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def observation(self) -> dict[str, Any]:
        """What our reader makes of the only line."""
        self.lines()
        shown = invoke("preview", str(self.log), "--format", "json")
        assert shown.exit_code == 0, shown.output
        [trace] = map(json.loads, shown.stdout.splitlines())
        [found] = trace["observations"]
        return found


def printed(*options: str) -> dict[str, Any]:
    """What `kong-config` prints, as Kong reads it."""
    shown = invoke("kong-config", *options)
    assert shown.exit_code == 0, shown.output
    return yaml.safe_load(shown.stdout)


@contextmanager
def gateway(*options: str, version: str = "3.9") -> Iterator[Gateway]:
    """A gateway with the configuration that these options print."""
    assert MISSING is None, MISSING
    plugins = printed("--service", "openai", "--kong-version", version, *options)["plugins"]
    major, minor = map(int, version.split("."))
    # Not in pytest's own folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="kong-") as directory:
        configs = {plugin["name"]: plugin["config"] for plugin in plugins}
        found = Gateway(Path(directory), configs, major * 100 + minor)
        try:
            yield found
        finally:
            found.stop()
