"""The package on a booted Debian: installed, used, upgraded, downgraded, removed, purged."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from booted import Box
from package_files import calls, later_version

from langfuse_server import FakeLangfuse

SUITES = ["bookworm", pytest.param("trixie", marks=pytest.mark.release)]


@pytest.fixture(params=SUITES)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    """Debian 12, and for a release Debian 13, with an empty folder that both sides see."""
    shared = tmp_path / "shared"
    shared.mkdir()
    return Box(request.param, shared)


def wait_for_file(path: Path, seconds: float = 900) -> None:
    """Until the script in the box has made it."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.1)


def test_a_fresh_install_is_up_and_keeps_traces_on_this_machine(deb: Path, box: Box) -> None:
    """Installed means running, as a user of its own, in local mode, with nothing configured."""
    (box.shared / "lines").write_text(calls(3))
    facts = box.facts(
        f"""
        apt_install /box/{deb.name}
        wait_for ready
        say enabled "$(systemctl is-enabled kong-ai-tracing)"
        say active "$(systemctl is-active kong-ai-tracing)"
        say user "$(ps -o user:32= -p "$(property MainPID)")"
        say restarts "$(property NRestarts)"
        say config "$(stat -c '%U %a' /etc/kong-ai-tracing/config.toml)"
        say secrets "$(stat -c '%U %a' /etc/kong-ai-tracing/secrets)"
        say state "$(stat -c '%U %a' /var/lib/kong-ai-tracing)"
        say compiled "$(find /usr/lib/kong-ai-tracing/kong_ai_tracing -name 'cli.*.pyc' | wc -l)"
        kong_log
        kong_writes </box/shared/lines
        wait_for field_is "['counters']['spans_delivered']" 3
        say offline "$(kong-ai-tracing check --offline >/dev/null; echo $?)"
        say completion "$(bash -c 'source /usr/share/bash-completion/completions/kong-ai-tracing
            COMP_WORDS=(kong-ai-tracing checkp) COMP_CWORD=1
            _kong_ai_tracing_completion kong-ai-tracing; echo "${{COMPREPLY[@]}}"')"
        """,
        deb,
    )
    assert facts == {
        "enabled": "enabled",
        "active": "active",
        "user": "kong-ai-tracing",
        "restarts": "0",
        "config": "root 644",
        "secrets": "root 700",
        "state": "kong-ai-tracing 700",
        "compiled": "1",
        "offline": "0",
        "completion": "checkpoint",
    }


def test_an_upgrade_keeps_configuration_and_positions_and_delivers_the_outbox(
    deb: Path, box: Box, tmp_path: Path
) -> None:
    """What an operator edited stays; what waited is delivered, each call once."""
    later = later_version(deb, tmp_path, "9.1.0")
    (box.shared / "lines").write_text(calls(20))
    (box.shared / "more").write_text(calls(5, first=20))
    with FakeLangfuse() as langfuse:
        langfuse.script("503*")

        def recover() -> None:
            wait_for_file(box.shared / "upgraded")
            langfuse.script("")

        facts = box.facts(
            f"""
            apt_install /box/{deb.name}
            wait_for ready
            cat >/etc/kong-ai-tracing/config.toml <<CONFIG
log_paths = ["/var/log/kong-ai/ai.log"]
langfuse_enabled = true
langfuse_endpoint = "{langfuse.url}"
langfuse_public_key = "pk-lf-test"
CONFIG
            (umask 077; echo sk-lf-test >/etc/kong-ai-tracing/secrets/langfuse_secret_key)
            kong_log
            systemctl restart kong-ai-tracing
            wait_for ready
            kong_writes </box/shared/lines
            wait_for field_is "['outbox']['spans']" 20
            say before "$(property MainPID)"
            sha256sum </etc/kong-ai-tracing/config.toml >/root/config
            apt_install /box/{later.name}
            wait_for ready
            say after "$(property MainPID)"
            say version "$(kong-ai-tracing --version)"
            say waiting "$(field "['outbox']['spans']")"
            sha256sum </etc/kong-ai-tracing/config.toml | cmp - /root/config && say config kept
            touch /box/shared/upgraded
            kong_writes </box/shared/more
            wait_for field_is "['outbox']['spans']" 0
            wait_for field_is "['counters']['spans_delivered']" 25
            """,
            deb,
            later,
            meanwhile=recover,
        )
        assert facts["version"] == "kong-ai-tracing 9.1.0"
        assert facts["after"] != facts["before"]
        assert facts["waiting"] == "20"
        assert facts["config"] == "kept"
        assert len(langfuse.spans) == len(langfuse.span_ids()) == 25
        assert not langfuse.violations


def test_a_downgrade_below_the_format_of_the_state_is_refused_and_harms_nothing(
    deb: Path, box: Box, tmp_path: Path
) -> None:
    """The older program says what is wrong and writes nothing; the newer one goes on where it was."""
    later = later_version(deb, tmp_path, "9.1.0", newer_state=True)
    (box.shared / "lines").write_text(calls(3))
    facts = box.facts(
        f"""
        apt_install /box/{later.name}
        wait_for ready
        kong_log
        kong_writes </box/shared/lines
        wait_for field_is "['counters']['spans_delivered']" 3
        systemctl stop kong-ai-tracing
        sha256sum /var/lib/kong-ai-tracing/state.sqlite3 >/root/state
        systemctl start kong-ai-tracing
        apt_install /box/{deb.name}
        say version "$(kong-ai-tracing --version)"
        wait_for journalctl --unit kong-ai-tracing --grep 'written by a newer kong-ai-tracing'
        systemctl stop kong-ai-tracing
        say tables "$(python3 -c "import sqlite3
print(sqlite3.connect('/var/lib/kong-ai-tracing/state.sqlite3').execute(
    'SELECT count(*) FROM of_tomorrow').fetchone()[0])")"
        apt_install /box/{later.name}
        wait_for ready
        say delivered "$(field "['counters']['spans_delivered']")"
        say set_aside "$(field "['damaged_states']")"
        """,
        deb,
        later,
    )
    assert facts["version"] != "kong-ai-tracing 9.1.0"
    assert facts["tables"] == "0"
    assert facts["delivered"] == "3"
    assert facts["set_aside"] == "[]"


def test_remove_keeps_what_is_the_operators_and_purge_leaves_only_the_user(deb: Path, box: Box) -> None:
    """After remove everything can go on; after purge nothing is left but the name that files may carry."""
    facts = box.facts(
        f"""
        all_files >/root/before
        apt_install /box/{deb.name}
        wait_for ready
        echo '# mine' >>/etc/kong-ai-tracing/config.toml
        echo sk-lf-test >/etc/kong-ai-tracing/secrets/langfuse_secret_key
        pid=$(property MainPID)
        apt-get -q remove -y kong-ai-tracing
        say running "$(ps -p "$pid" >/dev/null && echo yes || echo no)"
        say config "$(tail -n 1 /etc/kong-ai-tracing/config.toml)"
        say state "$(ls /var/lib/kong-ai-tracing/state.sqlite3)"
        say modules "$(ls -d /usr/lib/kong-ai-tracing 2>/dev/null || true)"
        apt-get -q purge -y kong-ai-tracing
        say user "$(id -un kong-ai-tracing)"
        others='^/(proc|run|tmp|root|var/(log|cache|tmp|lib/(apt|dpkg|systemd)))(/|$)'
        all_files | comm -13 /root/before - | grep -Ev "$others" >/root/left || true
        say left "$(tr '\\n' ' ' </root/left)"
        say units "$(systemctl list-unit-files 'kong-ai*' --no-legend)"
        """,
        deb,
    )
    assert facts["running"] == "no"
    assert facts["config"] == "# mine"
    assert facts["state"] == "/var/lib/kong-ai-tracing/state.sqlite3"
    assert facts["modules"] == ""
    assert facts["user"] == "kong-ai-tracing"
    assert facts["left"] == ""
    assert facts["units"] == ""
