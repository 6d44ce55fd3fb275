"""Several Langfuse projects at once, and a new configuration while the daemon runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kong_ai_tracing.config import Privacy
from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.operatorrules import Rule
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.secret import Secret
from kong_ai_tracing.storestatus import read_status
from kong_host import Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse

KEYS = 'langfuse_public_key = "pk-lf-test"\nlangfuse_secret_key = "sk-lf-test"'
QUICK = "[delivery]\nbatch_max_age_seconds = 0.05"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, None)
    yield host
    host.clean_up()


def project(name: str, langfuse: FakeLangfuse, *more: str) -> str:
    lines = ["[[destination]]", f'name = "{name}"', f'langfuse_endpoint = "{langfuse.url}"', KEYS, *more]
    return "\n".join(lines)


def line(seq: int, service: str = "openai-gw") -> bytes:
    return kong_line(1, seq).replace(b'"openai-gw"', f'"{service}"'.encode())


def health(host: Host, name: str) -> dict[str, object]:
    status = read_status(host.state / "destinations" / name)
    return status.health.get("langfuse", {}) if status else {}


def test_a_rule_never_widens_what_a_project_gets():
    """A project that was given metadata only stays so, whatever a rule allows for others."""
    table = DestinationTable(
        name="a",
        content="hashed",
        langfuse_public_key=Secret("pk-lf-a"),
        langfuse_secret_key=Secret("sk-lf-a"),
    )
    rules = (Rule(content="full"), Rule(content="metadata"), Rule(user_id="hash"))
    main, other = projects_of(Config(langfuse_enabled=True, rule=rules, destination=(table,)))
    assert [rule.content for rule in main.config.rule] == ["full", "metadata", None]
    assert [rule.content for rule in other.config.rule] == ["hashed", "metadata", None]


def test_each_project_has_its_own_configuration_and_state():
    """What a project does not say itself is as at the top level."""
    table = DestinationTable(
        name="a",
        service=("a-*",),
        content="metadata",
        outbox_max_bytes=1 << 20,
        langfuse_public_key=Secret("pk-lf-a"),
        langfuse_secret_key=Secret("sk-lf-a"),
    )
    config = Config(langfuse_enabled=True, state_dir=Path("/s"), privacy=Privacy(user_id="hash"))
    main, other = projects_of(replace(config, destination=(table,)))
    assert (main.name, main.match, main.config.state_dir) == ("langfuse", None, Path("/s"))
    assert (other.name, other.match, other.config.state_dir) == ("a", table, Path("/s/destinations/a"))
    assert other.config.privacy == Privacy(user_id="hash", content="metadata")
    assert other.config.delivery.outbox_max_bytes == 1 << 20
    assert other.config.langfuse_secret_key == Secret("sk-lf-a")
    assert main.config.privacy.content == "full"


def test_without_any_project_the_local_store_gets_everything():
    """The fresh machine's default."""
    assert [project.name for project in projects_of(Config())] == ["local"]


def test_each_call_goes_to_the_projects_it_fits(host: Host) -> None:
    """By the service here; a project without patterns gets every call, and each its own content mode."""
    with FakeLangfuse() as all_calls, FakeLangfuse() as hr_calls:
        host.configure(
            None,
            project("all", all_calls),
            project("hr", hr_calls, 'service = "hr-*"', 'content = "metadata"'),
        )
        host.write(line(1), line(2, "hr-bot"), line(3))
        done = host.run("run", "--once")
        assert done.returncode == 0, done.stderr
        assert all_calls.span_ids() == {observation_id(1, seq) for seq in (1, 2, 3)}
        assert hr_calls.span_ids() == {observation_id(1, 2)}
        assert "writer 1 line 2" in str(all_calls.spans)
        assert "writer 1 line" not in str(hr_calls.spans)


def test_a_sick_project_stops_only_itself(host: Host) -> None:
    """One key is revoked, one server is silent: the third gets each call while that one is waited for."""
    with FakeLangfuse() as healthy, FakeLangfuse() as revoked, FakeLangfuse() as hanging:
        host.configure(None, project("healthy", healthy), QUICK)
        host.start()
        _each_arrives(host, healthy, range(1, 13))
        host.stop()
        revoked.script("401*")
        hanging.script("hang*")
        projects = (
            project("revoked", revoked),
            project("hanging", hanging),
            project("healthy", healthy),
            QUICK,
        )
        host.configure(None, "langfuse_timeout = 600_000", *projects)
        host.start()
        _each_arrives(host, healthy, range(100, 113))
        wait_until(lambda: health(host, "healthy").get("state") == "ok", "the word of it")
        # The others read the same lines on their own, and may come to them later.
        wait_until(lambda: bool(hanging.requests), "a request to the silent one")
        assert [request.status for request in hanging.requests][-1:] == [None], (
            "it was waited for all the while"
        )
        host.stop()
        host.configure(None, "langfuse_timeout = 500", *projects)
        host.start()
        wait_until(lambda: health(host, "revoked").get("state") == "holding", "the revoked key is seen")
        wait_until(lambda: health(host, "hanging").get("state") == "retrying", "the hanging server is seen")
        wait_until(lambda: health(host, "healthy").get("state") == "ok", "the well one is not held up")
        assert len(healthy.spans) == len(healthy.span_ids()) == 25
        assert revoked.spans == hanging.spans == []
        # What it could not take is all there when it is well again.
        revoked.script("200*")
        host.stop()
        host.start()
        wait_until(lambda: len(revoked.span_ids()) == 25, "the revoked key works again")


def test_a_new_configuration_is_taken_up_without_losing_a_position(host: Host) -> None:
    """A key is rotated and a project added by SIGHUP; nothing is sent twice to the one that stays."""
    with FakeLangfuse() as first, FakeLangfuse(secret_key="sk-lf-new") as second:
        host.configure(None, project("first", first), project("second", second), QUICK)
        host.start()
        host.write(*map(line, range(20)))
        wait_until(lambda: len(first.span_ids()) == 20, "the first lines")
        wait_until(lambda: health(host, "second").get("state") == "holding", "the old key is refused")
        rotated = project("second", second).replace("sk-lf-test", "sk-lf-new")
        with FakeLangfuse() as third:
            host.configure(None, project("first", first), rotated, project("third", third), QUICK)
            assert host.daemon is not None
            host.daemon.send_signal(signal.SIGHUP)
            wait_until(lambda: len(second.span_ids()) == len(third.span_ids()) == 20, "the new projects")
            host.write(*map(line, range(20, 30)))
            for langfuse in (first, second, third):
                wait_until(lambda it=langfuse: len(it.span_ids()) == 30, "the later lines")  # type: ignore[misc]
            host.stop()
        assert len(first.spans) == len(second.spans) == 30, "nothing was sent twice"
        assert b"config.reloaded changed=second,third" in host.messages.read_bytes()


def test_a_project_whose_state_cannot_be_used_keeps_no_other_from_being_followed(host: Host) -> None:
    """After a reload as well; the log says which one it is and why."""
    with FakeLangfuse() as first, FakeLangfuse() as third:
        host.configure(None, project("first", first), QUICK)
        host.start()
        wait_until(lambda: b"service.ready" in host.messages.read_bytes(), "the first project")
        (host.state / "destinations" / "second").write_bytes(b"a file is in the way")
        host.configure(
            None,
            *(project(name, to) for name, to in (("first", first), ("second", first), ("third", third))),
            QUICK,
        )
        assert host.daemon is not None
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: b"config.reloaded" in host.messages.read_bytes(), "the new configuration")
        host.write(line(1))
        wait_until(lambda: len(third.span_ids()) == 1 == len(first.span_ids()), "the others")
        host.stop()
        assert b"project.failed project=second" in host.messages.read_bytes()


def test_a_bad_new_configuration_changes_nothing(host: Host) -> None:
    """It says key and fix, and the daemon goes on with the old one."""  # covers PRC-04
    with FakeLangfuse() as langfuse:
        host.configure(None, project("first", langfuse), QUICK)
        host.start()
        host.write(line(1))
        wait_until(lambda: len(langfuse.spans) == 1, "the first line")
        host.configure(None, project("first", langfuse), "[delivery]\nbatch_max_bites = 3")
        assert host.daemon is not None
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: b"config.kept" in host.messages.read_bytes(), "the refusal")
        assert b"delivery.batch_max_bites" in host.messages.read_bytes()
        host.write(line(2))
        wait_until(lambda: len(langfuse.spans) == 2, "the second line")
        host.stop()


def _each_arrives(host: Host, langfuse: FakeLangfuse, numbers: range) -> None:
    """Each line in its turn, and each once."""
    before = len(langfuse.spans)
    for number in numbers:
        host.write(line(number))
        wait_until(lambda n=number: observation_id(1, n) in langfuse.span_ids(), "the line")  # type: ignore[misc]
    assert len(langfuse.spans) - before == len(numbers)


def test_history_goes_to_each_project_it_fits(host: Host) -> None:
    """One project after the other, with an account for each; a second run sends nothing again."""
    with FakeLangfuse() as all_calls, FakeLangfuse() as hr_calls:
        host.configure(None, project("all", all_calls), project("hr", hr_calls, 'service = "hr-*"'))
        archive = host.directory / "old.log"
        archive.write_bytes(line(1) + line(2, "hr-bot") + line(3))
        first, second = (host.run("backfill", str(archive)) for _ in range(2))
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert "all\nlines 3 =" in first.stdout
        assert "hr\nlines 3 = with calls 1 + other 2" in first.stdout
        assert sorted(span["spanId"] for span in all_calls.spans) == sorted(
            observation_id(1, seq) for seq in (1, 2, 3)
        )
        assert [span["spanId"] for span in hr_calls.spans] == [observation_id(1, 2)]


def test_an_outbox_made_for_langfuse_is_kept_when_it_is_switched_off(host: Host) -> None:
    """It is set aside with what to do, and goes to Langfuse when that is on again."""
    with FakeLangfuse() as langfuse:
        langfuse.script("503*")
        host.configure(langfuse, "[delivery]\nspill_after_seconds = 0.1")
        host.write(line(1))
        host.start()
        wait_until(lambda: host.status()["outbox"]["spans"] == 1, "the outbox")
        host.stop()
        host.configure(None)
        assert host.run("run", "--once").returncode == 0
        assert "langfuse_enabled" in host.run("refused", "list").stdout
        langfuse.script("200*")
        host.configure(langfuse)
        assert host.run("refused", "retry", "--all").returncode == 0
        assert host.run("run", "--once").returncode == 0
        assert langfuse.span_ids() == {observation_id(1, 1)}
