"""The unit and the program on a host that was really booted with systemd.

`make test-service` runs what takes a minute, `make test-service SCENARIOS=all` the rest as well. All chosen
scenarios (`systemd/scenarios.py`) run in one throw-away Debian, one after the other; a test is one of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BOX = TESTS / "packaging" / "systemd-box"
CHOSEN = os.environ.get("SERVICE_SCENARIOS", "")
SUITE = os.environ.get("SERVICE_SUITE", "")
PACKAGE = os.environ.get("SERVICE_PACKAGE", "")
"""A .deb to test instead of this checkout, which only runs on a Debian with the same Python."""
_COULD_NOT_BOOT = 125

Went = Callable[[], None]


def _why_not() -> str | None:
    if not CHOSEN:
        return "boots a Debian: make test-service"
    if os.geteuid() != 0:
        return "needs root to boot a Debian"
    missing = [name for name in ("systemd-nspawn", "mmdebstrap") if not shutil.which(name)]
    return f"not installed: apt-get install systemd-container mmdebstrap ({missing})" if missing else None


pytestmark = pytest.mark.skipif(_why_not() is not None, reason=f"THE SERVICE IS NOT TESTED: {_why_not()}")
takes_long = pytest.mark.skipif(CHOSEN != "all", reason="takes long: make test-service SCENARIOS=all")


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """What became of the scenarios of all tests of this module that run."""
    results = tmp_path_factory.mktemp("service")
    names = [
        item.name.removeprefix("test_")
        for item in request.session.items
        if item.path == Path(__file__)
        and not any(mark.args == (True,) for mark in item.iter_markers("skipif"))
    ]
    folders = [TESTS.parent / "agent", TESTS, Path(sysconfig.get_path("purelib"))]
    run = subprocess.run(
        [
            *(BOX, "-p", "acl", "-t", "1800", "-b", f"{results}:/results"),
            *("-b", f"{TESTS.parent / 'systemd'}:/box/unit"),
            *(("-s", SUITE) if SUITE else ()),
            *((PACKAGE,) if PACKAGE else ()),
            *(
                *folders,
                "--",
                "python3",
                "-B",
                "/box/tests/systemd/scenarios.py",
                "/results/outcomes",
                *names,
            ),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(run.stdout)
    if run.returncode == _COULD_NOT_BOOT:
        pytest.skip(f"THE SERVICE IS NOT TESTED: no Debian could be booted here: {run.stdout[-500:]}")
    assert (results / "outcomes").exists(), run.stdout[-4000:]
    return json.loads((results / "outcomes").read_bytes())


@pytest.fixture
def went(request: pytest.FixtureRequest, outcomes: dict[str, str | None]) -> Went:
    """Fails with what the scenario of this test's name ran into."""

    def check() -> None:
        outcome = outcomes[request.node.name.removeprefix("test_")]
        assert outcome is None, f"\n{outcome}"

    return check


def test_exposure_stays_low(went: Went) -> None:
    """`systemd-analyze security` gives at most 1.2, and the unit has no mistake."""
    went()


def test_a_start_is_ready_when_it_reads(went: Went) -> None:
    """After `systemctl start` every line arrives; no root, no capability, no listening socket."""
    went()


def test_limits_are_in_force(went: Went) -> None:
    """What the owner of the gateway can rely on."""
    went()


def test_a_kill_loses_nothing(went: Went) -> None:
    """kill -9 between two lines: restarted within seconds, no gap, repeats with the same ids."""
    went()  # covers CHK-01


def test_a_stopped_process_is_started_anew(went: Went) -> None:
    """SIGSTOP: nothing moves, nobody feeds the watchdog."""
    went()  # covers PRC-06


@takes_long
def test_a_stuck_reader_is_started_anew(went: Went) -> None:
    """The process looks alive and its loop runs; a disk that never answers holds the reader."""
    went()  # covers PRC-06


@takes_long
def test_a_stuck_commit_is_started_anew(went: Went) -> None:
    """The same for the state."""
    went()  # covers PRC-06


@takes_long
def test_a_dead_langfuse_does_not_starve_the_watchdog(went: Went) -> None:
    """Waiting for somebody else is healthy: no restart, and the status has the reason."""
    went()  # covers PRC-06


def test_keys_come_as_credentials(went: Went) -> None:
    """Files that only root may read, for the main project and a further one; a new key needs a restart."""
    went()


@takes_long
def test_no_key_at_all_is_a_bad_configuration(went: Went) -> None:
    """78, once, with the key's name in the journal: no hot loop."""
    went()


def test_a_log_that_may_not_be_read_is_waited_for(went: Went) -> None:
    """It stays up, says what to run, and goes on as soon as that was run."""
    went()


@takes_long
def test_a_folder_that_may_not_be_entered_is_waited_for(went: Went) -> None:
    """Closed folders are opened by an owner without a restart."""
    went()


def test_logrotate_loses_nothing(went: Went) -> None:
    """The real one, four times while lines are written, as an administrator's cron runs it."""
    went()


def test_a_reload_takes_up_what_is_good(went: Went) -> None:
    """A bad configuration fails the reload and changes nothing; a good one, with a new key, is taken up."""
    went()  # covers PRC-04


def test_a_stop_is_quick_while_langfuse_hangs(went: Went) -> None:
    """What waits rests on disk, and goes with the next start."""
    went()  # covers PRC-02


def test_the_journal_has_priorities(went: Went) -> None:
    """What is an error is one in the journal as well; the prefix is not shown."""
    went()


@takes_long
def test_a_full_disk_of_the_state_is_waited_for(went: Went) -> None:
    """At the start and later: it stays up, says why it waits, and goes on by itself."""
    went()


@takes_long
def test_longest_lines_stay_below_the_limit(went: Went) -> None:
    """A burst of lines of nearly 16 MiB: slower, but nobody is killed."""
    went()  # covers PRC-07


@takes_long
def test_a_kill_by_the_memory_limit_loses_nothing(went: Went) -> None:
    """With too small a limit: killed, started again, and all is there when the limit is raised."""
    went()  # covers PRC-07


@takes_long
def test_out_of_threads_is_a_clear_end(went: Went) -> None:
    """No thread can be started: a clear word, the state whole, and all is read when there is room."""
    went()  # covers PRC-11


@takes_long
def test_a_storm_of_signals_ends_in_order(went: Went) -> None:
    """SIGTERM twice, SIGINT during the start, SIGHUP during the stop: no deadlock, nothing lost."""
    went()  # covers PRC-03
