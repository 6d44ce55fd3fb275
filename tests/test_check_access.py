"""What `check` finds when root looks with the eyes of the daemon's user, and of Kong's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kong_ai_tracing
from checkups import KONG, NOBODY, findings, needs_root, pretend_users, problems, run, surroundings
from kong_ai_tracing import check
from kong_ai_tracing.checks import configuration, logaccess, processes, statedir, units, viewers
from kong_ai_tracing.checks.viewers import Viewer
from kong_ai_tracing.secret import Secret

pytestmark = needs_root


def as_nobody(*command: str, **more: object) -> subprocess.CompletedProcess[str]:
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=90, **more)


def access(pattern: object, viewer: Viewer = NOBODY) -> set[str]:
    return problems(logaccess.check_log_access, surroundings(pattern, viewer=viewer)) - {"log.in_tmp"}


def test_root_is_told_what_the_daemons_user_cannot_read(open_folder):
    """For root itself everything would be fine."""
    log = open_folder / "ai.log"
    log.write_text("{}\n")
    log.chmod(0o600)
    assert access(log) == {"log.unreadable"}
    assert access(log, viewers.myself()) == set()
    assert as_nobody("cat", str(log)).returncode != 0


def test_a_log_that_the_daemons_group_can_read_is_fine(open_folder):
    """The recommended layout: a set-gid folder that nobody else may enter."""
    folder = open_folder / "kong-ai"
    folder.mkdir()
    os.chown(folder, 0, NOBODY.gid)
    folder.chmod(0o2750)
    for name in ("ai.log", "ai.log.1"):
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o644))
    assert access(folder / "ai.log") == set()
    assert as_nobody("cat", str(folder / "ai.log.1")).returncode == 0


def test_rotated_files_with_another_mode_are_told(open_folder):
    """logrotate makes its files as it was told, not as Kong did."""
    (open_folder / "ai.log").touch(mode=0o640)
    os.chown(open_folder / "ai.log", 0, NOBODY.gid)
    (open_folder / "ai.log.1").touch(mode=0o600)
    (open_folder / "ai.log.2.gz").touch(mode=0o600)
    here = surroundings(open_folder / "ai.log", viewer=NOBODY)
    finding = findings(logaccess.check_log_access, here)["log.rotated_unreadable"]
    assert "2 rotated files" in finding.what
    assert f"setfacl -m u:nobody:r {open_folder}/ai.log.1 {open_folder}/ai.log.2.gz" == finding.command


def test_a_log_in_a_home_folder_is_out_of_the_units_sight(open_folder):
    """The unit has ProtectHome=yes, until a drop-in says otherwise."""
    service = Viewer(viewers.SERVICE_USER, NOBODY.uid, NOBODY.gid)
    assert "log.in_home" in access("/home/kong/ai.log", service)
    assert "log.in_home" not in access("/home/kong/ai.log", NOBODY)
    drop_in = open_folder / units.DROP_INS / "home.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nProtectHome=read-only\n")
    here = surroundings("/home/kong/ai.log", viewer=service, etc=open_folder)
    assert "log.in_home" not in problems(logaccess.check_log_access, here)


def test_the_variables_of_the_unit_are_those_of_its_file(tmp_path, monkeypatch, capsys):
    """A check by root sees the key and the proxy that the service has."""
    file = tmp_path / "default" / "kong-ai-tracing"
    file.parent.mkdir()
    file.write_text("# HTTPS_PROXY=no\n\nLANGFUSE_HOST='https://a.example.com'\nbroken='\nNO_PROXY=b\n")
    assert units.unit_environment(tmp_path) == {"LANGFUSE_HOST": "https://a.example.com", "NO_PROXY": "b"}
    assert units.unit_environment(tmp_path / "nowhere") == {}
    monkeypatch.setattr(units, "unit_is_installed", lambda: True)
    log = {"KONG_AI_TRACING_LOG_PATHS": str(tmp_path / "ai.log"), "NO_PROXY": "x"}
    monkeypatch.setattr(units, "unit_environment", lambda etc: log)
    monkeypatch.setenv("NO_PROXY", "mine")
    assert check.run(None, {}, offline=True, as_json=True) in (0, 3)
    assert "log.missing" in capsys.readouterr().out
    assert os.environ["NO_PROXY"] == "mine"


def test_membership_in_kongs_group_is_a_warning(open_folder, monkeypatch):
    """It is write access to Kong's program."""
    pretend_users(monkeypatch, logaccess, kong=KONG)
    log = open_folder / "ai.log"
    log.touch(mode=0o640)
    os.chown(log, 0, KONG.gid)
    os.chown(open_folder, KONG.uid, -1)
    member = Viewer("nobody", NOBODY.uid, NOBODY.gid, (KONG.gid,))
    found = findings(logaccess.check_log_access, surroundings(log, viewer=member))
    assert found["log.group_kong"].command == "gpasswd -d nobody kong"
    assert access(log, Viewer("nobody", NOBODY.uid, NOBODY.gid)) == {"log.unreadable"}


def test_a_folder_that_kongs_worker_cannot_write_is_an_error_and_the_command_mends_it(
    open_folder, monkeypatch
):
    """Kong's own logs folder belongs to root when `kong prepare` made it."""
    pretend_users(monkeypatch, logaccess, kong=NOBODY)
    monkeypatch.setattr(logaccess, "kongs_worker", lambda proc: None)
    here = surroundings(open_folder / "ai.log")
    finding = findings(logaccess.check_kongs_access, here)["log.folder_closed_to_kong"]
    assert as_nobody("touch", str(open_folder / "ai.log")).returncode != 0
    run(finding)
    assert problems(logaccess.check_kongs_access, here) == set()
    assert as_nobody("touch", str(open_folder / "ai.log")).returncode == 0


def test_kongs_user_is_that_of_its_running_worker():
    """nginx_user may name anybody."""
    master = "nginx: master process /usr/local/openresty/nginx/sbin/nginx -p /usr/local/kong -c nginx.conf"
    worker = "exec -a 'nginx: worker process' sleep 600"
    script = f'setpriv --reuid=61007 --clear-groups bash -c "{worker}" & wait'
    with subprocess.Popen([master, "-c", script], executable="/bin/bash", start_new_session=True) as gateway:
        try:
            until = time.monotonic() + 90
            while (pid := processes.kongs_worker(Path("/proc"))) is None:
                assert time.monotonic() < until
                time.sleep(0.02)
            assert viewers.user_of(pid).uid == 61007
        finally:
            os.killpg(gateway.pid, signal.SIGKILL)


def test_a_configuration_that_the_daemon_cannot_read_is_an_error(open_folder):
    """Written by root with a strict umask."""
    config = open_folder / "config.toml"
    config.write_text('log_paths = ["/a"]\n')
    config.chmod(0o600)
    here = surroundings("/a", config_path=config, viewer=NOBODY)
    assert problems(configuration.check_configuration, here) == {"config.unreadable"}
    config.chmod(0o640)
    os.chown(config, 0, NOBODY.gid)
    assert problems(configuration.check_configuration, here) == set()


def test_a_key_file_that_everybody_can_read_is_told(open_folder):
    """And its content is not."""
    key = open_folder / "key"
    key.write_text("sk-lf-hush")
    key.chmod(0o644)
    here = surroundings("/a", keys={"langfuse_secret_key_file": key})
    run(findings(configuration.check_configuration, here)["config.key_file_readable"])
    assert problems(configuration.check_configuration, here) == set()
    assert "hush" not in str(findings(configuration.check_configuration, here))


def test_a_key_is_closed_for_others_and_stays_readable_for_the_daemon(open_folder):
    """To close the file for all would keep the service from starting."""
    config = open_folder / "config.toml"
    config.write_text('langfuse_secret_key = "sk-lf-hush"\n')
    config.chmod(0o644)
    keys = {"langfuse_secret_key": Secret("sk-lf-hush")}
    here = surroundings("/a", keys=keys, config_path=config, viewer=NOBODY)
    run(findings(configuration.check_configuration, here)["config.secret_readable"])
    assert problems(configuration.check_configuration, here) == set()
    assert as_nobody("cat", str(config)).returncode == 0


def test_files_that_root_left_in_the_state_directory_are_an_error(open_folder):
    """A `run` by hand, and the service does not start any more."""
    state = open_folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY.uid, NOBODY.gid)
    here = surroundings("/a", keys={"state_dir": state}, viewer=NOBODY)
    assert problems(statedir.check_state_dir, here) == set()
    (state / "state.sqlite").touch(mode=0o600)
    finding = findings(statedir.check_state_dir, here)["state.files_of_others"]
    assert finding.severity == "error"
    run(finding)
    assert problems(statedir.check_state_dir, here) == set()


def test_a_state_directory_that_the_unit_may_not_write_is_an_error(open_folder, monkeypatch):
    """The unit's sandbox has one place for the state, whatever the modes say."""
    state = open_folder / "state"
    state.mkdir(mode=0o700)
    here = surroundings(
        "/a",
        keys={"state_dir": state},
        etc=open_folder / "etc",
        config_path=Path("/etc/kong-ai-tracing/config.toml"),
    )
    monkeypatch.setattr(units, "_PLACES", (open_folder,))
    assert problems(statedir.check_state_dir, here) == set()
    unit = open_folder / "systemd/system/kong-ai-tracing.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    finding = findings(statedir.check_state_dir, here)["state.closed_by_unit"]
    subprocess.run(["bash", "-ec", finding.command.removesuffix(" && systemctl daemon-reload")], check=True)
    assert problems(statedir.check_state_dir, here) == set()
    [written] = units.drop_ins(open_folder / "etc")
    assert written == f"[Service]\nReadWritePaths={state}\n"


def test_an_ordinary_user_is_sent_to_root_and_told_nothing_that_is_untrue(monkeypatch):
    """Else the log would be opened for the wrong user, as it says."""
    service = Viewer(viewers.SERVICE_USER, NOBODY.uid, NOBODY.gid)
    pretend_users(monkeypatch, configuration, **{viewers.SERVICE_USER: service})
    here = surroundings("/var/log/kong-ai/ai.log", config_path=Path("/etc/kong-ai-tracing/config.toml"))
    with viewers.seen_by(Viewer("joe", 61_005, 61_005)):
        found = check.find(here)
        assert check.next_step(here, found) == "next: sudo kong-ai-tracing check"
    assert [finding.id for finding in found] == ["config.other_user"]
    assert list(configuration.check_user(here)) == []


def test_a_damaged_state_that_was_set_aside_is_told(tmp_path):
    """Until somebody has looked."""
    (tmp_path / "damaged-20261123T000000.000000Z").mkdir()
    tmp_path.chmod(0o700)
    here = surroundings("/a", keys={"state_dir": tmp_path})
    run(findings(statedir.check_state_dir, here)["state.was_damaged"])
    assert problems(statedir.check_state_dir, here) == set()


def test_the_rights_are_given_back_also_when_a_look_fails():
    """The next check looks as root again."""

    def look() -> None:
        with viewers.seen_by(NOBODY):
            assert os.geteuid() == NOBODY.uid
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        look()
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_the_groups_of_the_unit_are_those_of_its_drop_ins(tmp_path):
    """`systemctl edit` added one; an empty line takes all away."""
    folder = tmp_path / "systemd/system/kong-ai-tracing.service.d"
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text("[Service]\nSupplementaryGroups=adm\n")
    assert viewers._groups_of_the_unit(tmp_path) == (viewers.group_number("adm"),)
    (folder / "b.conf").write_text("[Service]\nSupplementaryGroups=\n")
    assert viewers._groups_of_the_unit(tmp_path) == ()


def test_the_user_is_that_of_a_running_daemon():
    """Whatever the unit says."""
    with subprocess.Popen(
        ["setpriv", "--reuid=61008", "--regid=61009", "--groups=4,61010", "sleep", "600"]
    ) as one:
        try:
            until = time.monotonic() + 90
            # It becomes that user step by step.
            while (user := viewers.daemons_user(one.pid)) != Viewer("61008", 61008, 61009, (4, 61010)):
                assert time.monotonic() < until, user
                time.sleep(0.02)
        finally:
            one.kill()


def test_the_whole_program_says_the_same_to_an_ordinary_user(open_folder):
    """Without root it looks with its own eyes."""
    package = Path(kong_ai_tracing.__file__).parent
    if as_nobody("test", "-r", str(package / "cli.py")).returncode != 0:
        pytest.skip("the program lies where only root may read it")
    log = open_folder / "ai.log"
    log.touch(mode=0o600)
    config = open_folder / "config.toml"
    config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{open_folder}/state"\n')
    done = as_nobody(
        sys.executable, "-m", "kong_ai_tracing", "check", "--offline", "--json", "-c", str(config)
    )
    assert done.returncode == 3
    assert "log.unreadable" in {one["id"] for one in json.loads(done.stdout)["findings"]}
