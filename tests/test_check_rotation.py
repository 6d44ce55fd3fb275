"""What `check` says of rotation: each trap in a real configuration of logrotate, nothing of a good one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from checkups import KONG, NOBODY, findings, needs_root, pretend_users, problems, run, surroundings
from kong_ai_tracing.checks import rotation
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.futurefiles import Created, can_read
from kong_ai_tracing.checks.logrotateconf import read_blocks
from kong_ai_tracing.checks.viewers import Viewer, myself

LOGROTATE = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
needs_logrotate = pytest.mark.skipif(LOGROTATE is None, reason="needs logrotate")
GOOD = "daily\nrotate 14\nmissingok\ncompress\ndelaycompress\ncreate 0640"


class Host:
    """A log, and an /etc with a configuration of logrotate's."""

    def __init__(self, directory: Path) -> None:
        self.etc = directory / "etc"
        (self.etc / "logrotate.d").mkdir(parents=True)
        self.main = self.etc / "logrotate.conf"
        self.main.write_text(f"weekly\ncreate\ninclude {self.etc}/logrotate.d\n")
        self.folder = directory / "kong"
        self.folder.mkdir(mode=0o750)
        self.log = self.folder / "ai.log"
        self.log.write_text("{}\n")
        self.log.chmod(0o640)
        self.rules = self.etc / "logrotate.d" / "kong"

    def rotate_by(self, directives: str, pattern: str | None = None) -> None:
        self.rules.write_text(f"{pattern or self.log} {{\n{directives}\n}}\n")
        self.rules.chmod(0o644)

    def here(self, viewer: Viewer | None = None) -> Surroundings:
        return surroundings(self.log, etc=self.etc, viewer=viewer or myself())

    def found(self, viewer: Viewer | None = None) -> dict[str, Finding]:
        return findings(rotation.check_rotation, self.here(viewer))

    def problems(self) -> set[str]:
        return problems(rotation.check_rotation, self.here())

    def logrotate(self, *options: str) -> str:
        """What the real one says, and does."""
        state = self.etc / "state"
        command = [str(LOGROTATE), "-v", "-s", str(state), *options, str(self.main)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=90)
        return done.stdout + done.stderr


@pytest.fixture
def host(open_folder):
    return Host(open_folder)


def test_a_rotation_by_rename_that_is_compressed_later_is_fine(host):
    """Nothing is said against the normal case."""
    host.rotate_by(GOOD)
    assert host.problems() == set()
    assert "rotation.fine" in host.found()


def test_a_small_log_that_nothing_rotates_is_only_noted_and_a_large_one_is_a_warning(host):
    """On the first day nobody has thought of it."""
    assert host.found()["rotation.none"].severity == "ok"
    os.truncate(host.log, 64 << 20)
    assert host.found()["rotation.none"].severity == "warning"


@needs_logrotate
def test_the_snippet_that_is_given_is_one_that_logrotate_takes(host):
    """What can be pasted works."""
    run(host.found()["rotation.none"])
    made = host.etc / "logrotate.d" / "kong-ai"
    text = made.read_text()
    assert "create 0640 kong kong-ai-tracing" in text
    # This machine need not have these users.
    made.write_text(text.replace("su kong kong-ai-tracing", "").replace(" kong kong-ai-tracing", ""))
    said = host.logrotate("-f")
    assert "error" not in said
    assert (host.folder / "ai.log.1").exists()
    assert host.log.exists()
    host.logrotate("-f")
    assert (host.folder / "ai.log.2.gz").exists() or not (host.folder / "ai.log.2").exists()
    assert host.problems() == set()


def test_a_log_that_somebody_else_rotates_is_fine(host):
    """In containers it is done from outside."""
    (host.folder / "ai.log.1").write_text("{}\n")
    assert host.problems() == set()


@needs_logrotate
@needs_root
def test_kongs_own_file_is_named_when_logrotate_does_not_know_it_and_the_command_installs_it(host):
    """Kong's package leaves it in /etc/kong, writable for the group kong: a link would be passed over."""
    kongs = host.etc / "kong" / "kong.logrotate"
    kongs.parent.mkdir()
    kongs.write_text(f"{host.folder}/*.log {{\ndaily\nrotate 14\ncompress\ndelaycompress\n}}\n")
    kongs.chmod(0o664)
    finding = host.found()["rotation.not_linked"]
    assert finding.severity == "warning"
    host.rules.symlink_to(kongs)
    assert "Ignoring" in host.logrotate("-d")
    assert "rotation.ignored" in host.problems()
    host.rules.unlink()
    run(finding)
    assert host.problems() == set()
    assert f"considering log {host.log}" in host.logrotate("-d")


@needs_logrotate
@needs_root
def test_a_file_that_logrotate_passes_over_is_named(host):
    """It says so only in the mail of a cron job."""
    host.rotate_by(GOOD)
    host.rules.chmod(0o666)
    assert "Ignoring" in host.logrotate("-d")
    run(host.found()["rotation.ignored"])
    assert host.problems() == set()


def test_copytruncate_is_a_warning_and_the_command_takes_it_out(host):
    """It loses lines for nothing."""
    host.rotate_by("daily\nrotate 3\n    copytruncate")
    run(host.found()["rotation.copytruncate"])
    assert host.problems() == set()


def test_compression_in_the_moment_of_rotation_is_a_warning(host):
    """A worker that still writes would write into nothing."""
    host.rotate_by("daily\nrotate 3\n    compress")
    run(host.found()["rotation.compressed_at_once"])
    assert host.problems() == set()
    assert "delaycompress\n    compress\n" in host.rules.read_text()


def test_a_rotation_that_keeps_nothing_is_a_warning(host):
    """What was unread is gone with the daemon."""
    host.rotate_by("daily\nrotate 0")
    run(host.found()["rotation.keeps_nothing"])
    assert host.problems() == set()


def test_a_pattern_that_matches_rotated_files_is_a_warning(host):
    """Everything would be rotated again and again."""
    host.rotate_by(GOOD, f"{host.folder}/*")
    assert host.problems() == {"rotation.rotates_again"}
    host.rotate_by(GOOD, f"{host.folder}/*.log")
    assert host.problems() == set()


@needs_logrotate
@needs_root
def test_a_folder_that_others_may_write_is_skipped_without_su(host):
    """logrotate refuses to work there as root."""
    host.rotate_by("daily\nrotate 3\ncreate")
    host.folder.chmod(0o770)
    os.chown(host.folder, 0, NOBODY.gid)
    assert "insecure permissions" in host.logrotate("-f")
    finding = host.found()["rotation.skipped"]
    assert "su kong" in finding.command
    run(finding)
    assert host.problems() == set()


def test_new_files_that_the_daemon_cannot_read_are_an_error(host, monkeypatch):
    """Reading would end at the next rotation."""
    pretend_users(monkeypatch, rotation, kong=KONG, **{"kong-ai-tracing": NOBODY})
    os.chmod(host.folder, 0o755)
    host.rotate_by("daily\ncreate 0600 kong kong")
    finding = host.found(NOBODY)["rotation.created_unreadable"]
    assert finding.severity == "error"
    run(finding)
    assert "create 0640 kong kong-ai-tracing" in host.rules.read_text()
    assert not host.found(NOBODY).keys() & {"rotation.created_unreadable", "rotation.created_unwritable"}


def test_new_files_that_kong_cannot_write_are_an_error(host, monkeypatch):
    """logrotate's habit is root and adm, and file-log writes as Kong's worker."""
    pretend_users(monkeypatch, rotation, kong=KONG)
    host.rotate_by("daily\ncreate 0640 root root")
    assert host.found()["rotation.created_unwritable"].severity == "error"
    host.rotate_by("daily\ncreate 0640 kong root")
    assert "rotation.created_unwritable" not in host.found()


@needs_root
def test_what_kong_creates_takes_its_group_from_the_folder(host):
    """Made readable by hand is not readable after the next rotation, unless the folder passes it on."""
    host.rotate_by("daily\nnocreate")
    os.chown(host.log, 0, NOBODY.gid)
    assert "rotation.created_unreadable" in host.found(NOBODY)
    os.chown(host.folder, 0, NOBODY.gid)
    host.folder.chmod(0o2750)
    assert "rotation.created_unreadable" not in host.found(NOBODY)


@needs_root
def test_an_access_list_of_the_folder_counts(host):
    """It is what the fixes give."""
    entry = (2).to_bytes(4, "little")
    for tag, rights, number in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, NOBODY.uid),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ):
        entry += tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + number.to_bytes(4, "little")
    try:
        os.setxattr(host.folder, "system.posix_acl_default", entry)
    except OSError:
        pytest.skip("this filesystem has no access lists")
    assert can_read(NOBODY, Created(0o640, 0, 0), host.folder)
    assert not can_read(NOBODY, Created(0o600, 0, 0), host.folder)
    other = Viewer("other", 61_002, 61_002)
    assert not can_read(other, Created(0o640, 0, 0), host.folder)
    new = host.folder / "new"
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT, 0o644))
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", str(new)]
    host.folder.chmod(0o755)
    assert subprocess.run(as_nobody, check=False).returncode == 0


def test_the_configuration_is_read_as_logrotate_reads_it(tmp_path):
    """Comments, several patterns, quotes, scripts, includes, and a later word that takes one back."""
    included = tmp_path / "d"
    included.mkdir()
    (included / "one").write_text(
        '# a comment { \n"/var/log/a b.log"\n/var/log/c/*.log {\n  nocompress # not here\n  rotate=3\n'
        "  postrotate\n    kong reload }\n  endscript\n  create 0600 a b\n}\n"
    )
    (included / "old.dpkg-old").write_text("/var/log/never.log { }\n")
    main = tmp_path / "logrotate.conf"
    main.write_text(f"compress\ncreate\ninclude {included}\n/var/log/x.log {{ rotate 1 }}\n")
    one, two = read_blocks(main)
    assert one.patterns == ["/var/log/a b.log", "/var/log/c/*.log"]
    assert one.options == {"create": "0600 a b", "rotate": "3"}
    assert "kong reload" in one.scripts
    assert one.covers(Path("/var/log/c/ai.log"))
    assert not one.covers(Path("/var/log/c/deeper/ai.log"))
    assert two.options == {"compress": "", "create": "", "rotate": "1"}
