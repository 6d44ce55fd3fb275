"""What `check` sees in the world: access to logs, the state directory, Langfuse."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from kong_ai_tracing.checks import logaccess, server, statedir
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.config import Config, Delivery
from kong_ai_tracing.quantities import readable_size
from kong_ai_tracing.secret import Secret

NOBODY = 65534


@pytest.fixture
def folder():
    """A folder that others may enter; pytest's own are closed."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def ordinary_user(folder):
    """Permissions mean nothing to root, so root becomes nobody for the length of a test."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    os.setegid(0)


def as_owner(act):
    euid = os.geteuid()
    os.seteuid(os.getuid())
    try:
        act()
    finally:
        os.seteuid(euid)


def access(*patterns: str) -> dict[str, Finding]:
    found = logaccess.check_log_access(Surroundings(Config(log_paths=patterns), {}))
    return {finding.id: finding for finding in found if finding.id != "log.in_tmp"}


def test_a_readable_log_in_a_closed_folder_is_fine(tmp_path):
    """Nothing is said against the recommended layout."""
    tmp_path.chmod(0o750)
    (tmp_path / "ai.log").write_text("x\n")
    (tmp_path / "ai.log.1").write_text("x\n")
    assert {id_: f.severity for id_, f in access(f"{tmp_path}/ai.log*").items()} == {"log.readable": "ok"}


def test_a_missing_file_in_a_good_folder_is_only_a_warning(tmp_path):
    """Before the first request there is no log."""
    found = access(f"{tmp_path}/ai.log")
    assert found["log.missing"].severity == "warning"


def test_a_missing_folder_is_an_error_with_the_command_that_makes_it(tmp_path):
    """Kong does not create the folder and loses every line."""
    found = access(f"{tmp_path}/kong/ai.log")
    assert found["log.no_directory"].severity == "error"
    assert found["log.no_directory"].command.startswith("install -d -o ")
    assert str(tmp_path / "kong") in found["log.no_directory"].command


# covers FDS-05
@pytest.mark.usefixtures("ordinary_user")
def test_an_unreadable_log_names_the_command_that_grants_access(folder):
    """The fix can be pasted, for this file and those to come."""
    log = folder / "ai.log"
    as_owner(lambda: log.touch(mode=0o000))
    finding = access(str(log))["log.unreadable"]
    assert finding.severity == "error"
    assert f":r {log} && setfacl -m u:" in finding.command
    assert finding.command.endswith(f":r {folder}")


@pytest.mark.usefixtures("ordinary_user")
def test_a_closed_folder_on_the_way_is_the_one_that_is_named(folder):
    """The outermost closed folder is what must be opened first, then the one to list."""
    outer, inner = folder / "a", folder / "a/b"
    as_owner(lambda: inner.mkdir(parents=True))
    as_owner(lambda: outer.chmod(0o000))
    assert access(f"{inner}/*.log")["log.directory_closed"].command.endswith(f":x {outer}")
    as_owner(lambda: (outer.chmod(0o755), inner.chmod(0o111)))
    assert access(f"{inner}/*.log")["log.directory_unlistable"].command.endswith(f":r {inner}")
    as_owner(lambda: inner.chmod(0o755))


def test_a_log_that_everybody_can_read_is_a_warning(folder):
    """Prompts are private; Kong's default mode is 0644."""
    (folder / "ai.log").write_text("x\n")
    (folder / "ai.log").chmod(0o644)
    assert access(f"{folder}/ai.log")["log.world_readable"].severity == "warning"
    (folder / "ai.log").chmod(0o640)
    assert "log.world_readable" not in access(f"{folder}/ai.log")


def test_a_log_in_tmp_is_a_warning():
    """Kong's unit has a private /tmp."""
    found = list(logaccess.check_log_access(Surroundings(Config(log_paths=("/tmp/ai.log",)), {})))
    assert found[0].id == "log.in_tmp"


def state(directory: Path, **more) -> dict[str, Finding]:
    found = statedir.check_state_dir(Surroundings(Config(state_dir=directory, **more), {}))
    return {finding.id: finding for finding in found}


def test_a_private_state_directory_with_room_is_fine(tmp_path):
    """Nothing is said against the normal case."""
    tmp_path.chmod(0o700)
    small = Delivery(outbox_max_bytes=1 << 20, free_space_floor_bytes=0)
    assert {f.severity for f in state(tmp_path, langfuse_enabled=True, delivery=small).values()} == {"ok"}
    assert "state.will_be_made" in state(tmp_path / "new/state")


def test_a_state_directory_open_to_all_is_a_warning(tmp_path):
    """Undelivered prompts are in it."""
    tmp_path.chmod(0o755)
    assert "chmod o-rwx" in state(tmp_path)["state.not_private"].command


def test_too_little_room_for_the_outbox_is_said(tmp_path):
    """An outage would end in a pause."""
    huge = Delivery(outbox_max_bytes=1 << 60)
    assert state(tmp_path, langfuse_enabled=True, delivery=huge)["state.no_room"].severity == "warning"
    full = Delivery(free_space_floor_bytes=1 << 60)
    assert state(tmp_path, langfuse_enabled=True, delivery=full)["state.no_room"].severity == "error"


@pytest.mark.usefixtures("ordinary_user")
def test_a_state_directory_of_somebody_else_is_an_error(folder):
    """The daemon would not start."""
    as_owner(lambda: folder.chmod(0o555))
    assert state(folder)["state.not_writable"].severity == "error"
    assert state(folder / "new")["state.cannot_be_made"].command.startswith("install -d -o ")
    as_owner(lambda: folder.chmod(0o755))


HEALTH = httpx.Response(200, json={"status": "OK", "version": "4.16.0"})
PROJECTS = httpx.Response(200, json={"data": [{"id": "p", "name": "gateway"}]})


def ask(health=HEALTH, projects=PROJECTS, *, now=1_000_000.0, offline=False, enabled=True, transport="auto"):
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        reply = health if request.url.path.endswith("/health") else projects
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    config = Config(
        langfuse_enabled=enabled,
        langfuse_endpoint="https://langfuse.example.com",
        langfuse_public_key=Secret("pk-lf-1"),
        langfuse_secret_key=Secret("sk-lf-hidden"),
        delivery=Delivery(transport=transport),
    )
    here = Surroundings(
        config,
        {},
        offline=offline,
        now=lambda: now,
        client=lambda _: httpx.Client(transport=httpx.MockTransport(answer)),
    )
    return {finding.id: finding for finding in server.check_server(here)}, requests


def test_a_good_server_and_good_keys_name_version_and_project():
    """What is right is said, so that one sees where the traces go."""
    found, requests = ask()
    assert found["langfuse.reachable"].what == "https://langfuse.example.com is Langfuse 4.16.0"
    assert found["langfuse.keys"].what == "the keys belong to project 'gateway'"
    assert "authorization" not in requests[0].headers
    assert requests[1].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (httpx.Response(503, json={"status": "bad", "version": "4.1.0"}), "langfuse.unhealthy"),
        (httpx.Response(404, html="<html>"), "langfuse.no_health"),
        (httpx.Response(200, json=[]), "langfuse.no_health"),
        (
            httpx.Response(308, headers={"location": "https://a.example.com/api/public/health"}),
            "langfuse.redirect",
        ),
        (httpx.ConnectError("refused"), "langfuse.unreachable"),
        (httpx.ReadTimeout("slow"), "langfuse.unreachable"),
    ],
)
def test_a_server_that_will_not_do_is_named(health, expected):
    """Each way of not being the right server has its own finding with a fix."""
    found, _ = ask(health)
    assert found[expected].fix
    assert found[expected].severity != "ok"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "langfuse.keys_wrong"), (403, "langfuse.keys_not_allowed"), (500, "langfuse.keys_unknown")],
)
def test_keys_that_are_not_taken_are_an_error_and_never_shown(status, expected):
    """The reason is told, the key is not."""
    found, _ = ask(projects=httpx.Response(status))
    assert found[expected].severity == "error"
    assert "hidden" not in str(found)


@pytest.mark.parametrize(
    ("version", "transport", "expected"),
    [
        ("4.16.0", "auto", "traces go over OTLP: the server is Langfuse 4.16.0"),
        (
            "3.21.9",
            "auto",
            "traces go to the batch endpoint: the server is Langfuse 3.21.9, which has no OTLP",
        ),
        ("3.30.0", "ingestion", "traces go to the batch endpoint: delivery.transport says so"),
    ],
)
def test_the_way_that_traces_will_go_is_said(version, transport, expected):
    """And why it is this one."""
    found, _ = ask(httpx.Response(200, json={"version": version}), transport=transport)
    assert found["langfuse.transport"].what == expected


@pytest.mark.parametrize(
    ("version", "transport", "expected"),
    [("3.21.9", "otlp", "langfuse.too_old"), ("4.16.0", "ingestion", "langfuse.otlp_only")],
)
def test_a_way_that_the_server_does_not_offer_is_named(version, transport, expected):
    """The operator's setting stands, so this is the place to hear of it."""
    found, _ = ask(httpx.Response(200, json={"version": version}), transport=transport)
    assert 'transport = "auto"' in found[expected].fix


def test_certificates_that_cannot_be_used_are_a_finding():
    """The daemon would not start with them."""
    config = Config(langfuse_enabled=True, langfuse_ca_file=Path("/nowhere/ca.pem"))
    [finding] = server.check_server(Surroundings(config, {}))
    assert finding.id == "langfuse.certificates"
    assert "/nowhere/ca.pem" in finding.what


def test_a_clock_that_differs_is_a_warning():
    """Start times come from Kong's clock."""
    dated = httpx.Response(200, json={"version": "4.16.0"}, headers={"date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    assert "ahead of" in ask(dated, now=120.0)[0]["langfuse.clock"].what
    assert "langfuse.clock" not in ask(dated, now=30.0)[0]


def test_local_mode_and_offline_ask_nobody():
    """No request leaves the machine."""
    found, requests = ask(enabled=False)
    assert (list(found), requests) == (["langfuse.disabled"], [])
    found, requests = ask(offline=True)
    assert (list(found), requests) == (["langfuse.skipped"], [])


def test_sizes_are_readable():
    """People read units."""
    assert [readable_size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]
