"""What happens to the service on a host with systemd: one function each, run inside the box.

    python3 scenarios.py RESULTS NAME...

writes one JSON object to RESULTS: the name of each scenario, and what went wrong or null. What must hold in
each of them is said in `test_systemd.py`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from box import CONFIG, LOG, SECRETS, STATE, UNIT, Host, command, install, show, systemctl, wait_until

Scenario = Callable[[Host], None]
_MIB = 1 << 20


def exposure_stays_low(host: Host) -> None:
    command("systemd-analyze", "security", "--no-pager", "--threshold=12", UNIT)
    verdict = command("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{UNIT}")
    assert UNIT not in verdict.stderr, verdict.stderr


def a_start_is_ready_when_it_reads(host: Host) -> None:
    host.configure()
    host.write(3)
    host.start()
    assert (show("ActiveState"), show("SubState")) == ("active", "running")
    host.write()
    host.wait_for_all()
    host.wait_for_status("reading 1 file, 0 bytes behind, last accepted")
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{host.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split()[0] != "0"
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert STATE.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in STATE.rglob("*"))
    own = {os.readlink(entry) for entry in Path(f"/proc/{host.pid}/fd").iterdir() if entry.is_symlink()}
    inodes = {name[8:-1] for name in own if name.startswith("socket:[")}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            assert not (fields[3] == "0A" and fields[9] in inodes), f"it listens: {line}"
    mounts = Path(f"/proc/{host.pid}/mountinfo").read_text()
    writable = {
        line.split()[4]
        for line in mounts.splitlines()
        if line.split()[5].startswith("rw") and " - tmpfs " not in line and " - proc " not in line
    }
    assert {path for path in writable if path.startswith(("/usr", "/etc", "/var/log", "/home"))} == set(), (
        writable
    )


def limits_are_in_force(host: Host) -> None:
    host.configure()
    host.start()
    wanted = {
        "MemoryMax": str(512 * _MIB),
        "MemoryHigh": str(480 * _MIB),
        "TasksMax": "128",
        "CPUQuotaPerSecUSec": "1s",
        "CPUWeight": "20",
        "Nice": "10",
        "OOMScoreAdjust": "500",
    }
    assert {name: show(name) for name in wanted} == wanted
    assert Path(f"/proc/{host.pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getpriority(os.PRIO_PROCESS, host.pid) == 10


def a_kill_loses_nothing(host: Host) -> None:
    host.configure()
    host.start()
    host.write(200)
    pid = host.pid
    wait_until(lambda: len(host.langfuse.spans) > 0, "the first span")
    os.kill(pid, signal.SIGKILL)
    host.write(200)
    host.wait_for_restart(pid)
    host.wait_for_all()
    assert show("NRestarts") == "1"


def a_stopped_process_is_started_anew(host: Host) -> None:
    host.drop_in("WatchdogSec=2")
    host.configure()
    host.start()
    host.write()
    host.wait_for_all()
    pid = host.pid
    os.kill(pid, signal.SIGSTOP)
    host.write()
    host.wait_for_restart(pid)
    host.wait_for_all()
    assert host.said("Watchdog timeout")


_HANGING = """#!/usr/bin/python3 -ISu
import sys, threading
sys.path[:0] = ["/usr/lib/kong-ai-tracing", "/box/agent", "/box/site-packages"]
from pathlib import Path
from kong_ai_tracing.{module} import {kind}
real = {kind}.{name}
def act(*arguments, **more):
    if Path("/var/log/kong-ai/hang").exists():
        threading.Event().wait()
    return real(*arguments, **more)
{kind}.{name} = act
from kong_ai_tracing.cli import main
main()
"""


def _a_thread_hangs(host: Host, part: str, module: str, kind: str, name: str) -> None:
    program = Path("/usr/bin/kong-ai-tracing-hanging")
    program.write_text(_HANGING.format(module=module, kind=kind, name=name))
    program.chmod(0o755)
    host.drop_in("WatchdogSec=2", "ExecStart=", f"ExecStart={program} run")
    host.configure()
    host.start()
    host.write()
    host.wait_for_all()
    mark, pid = LOG.parent / "hang", host.pid
    mark.touch()
    mark.chmod(0o644)
    host.write()
    wait_until(lambda: host.said(f"watchdog.starving part={part}"), "a word about it")
    wait_until(lambda: host.pid != pid, "the end of the stuck process")
    mark.unlink()
    wait_until(lambda: show("ActiveState") == "active", "the restart")
    host.wait_for_all()
    # Where each thread was.
    assert host.said("Fatal Python error: Aborted")
    assert host.said(" in act")


def a_stuck_reader_is_started_anew(host: Host) -> None:
    _a_thread_hangs(host, "reading", "catalog", "Catalog", "scan")


def a_stuck_commit_is_started_anew(host: Host) -> None:
    _a_thread_hangs(host, "committing", "store", "Store", "commit")


def a_dead_langfuse_does_not_starve_the_watchdog(host: Host) -> None:
    host.drop_in("WatchdogSec=1")
    host.configure()
    host.langfuse.script("401*")
    host.start()
    pid = host.pid
    host.write(20)
    host.wait_for_status("Langfuse refuses until somebody acts: 401 (check the keys")
    host.wait_for_status("20 spans on disk to be sent")
    time.sleep(3)
    assert (host.pid, show("NRestarts")) == (pid, "0")
    assert "scripted" not in show("StatusText"), "the server's own words are not for everybody on the host"


def keys_come_as_credentials(host: Host) -> None:
    other = host.another_langfuse(secret_key="sk-lf-other")
    host.configure(
        "[[destination]]",
        'name = "audit"',
        f'langfuse_endpoint = "{other.url}"',
        'langfuse_public_key = "pk-lf-test"',
    )
    host.secret("langfuse_secret_key.audit", "sk-lf-other")
    host.start()
    host.write(5)
    host.wait_for_all()
    other.wait_for(lambda server: len(server.span_ids()) == 5)
    environ = Path(f"/proc/{host.pid}/environ").read_bytes() + Path(f"/proc/{host.pid}/cmdline").read_bytes()
    assert b"sk-lf" not in environ
    assert not any("sk-lf" in line for line in host.journal())
    assert SECRETS.stat().st_mode & 0o777 == 0o700
    host.langfuse.secret_key = "sk-lf-rotated"
    host.write()
    host.wait_for_status("Langfuse refuses until somebody acts: 401")
    host.secret("langfuse_secret_key", "sk-lf-rotated")
    systemctl("restart", UNIT)
    host.wait_for_all()


def no_key_at_all_is_a_bad_configuration(host: Host) -> None:
    host.configure(secret_key=None)
    assert systemctl("start", UNIT, check=False).returncode != 0
    time.sleep(3)
    assert (show("ExecMainStatus"), show("NRestarts"), show("ActiveState")) == ("78", "0", "failed")
    assert host.said("langfuse_secret_key")


def a_log_that_may_not_be_read_is_waited_for(host: Host) -> None:
    host.configure()
    host.write(3)
    os.chown(LOG, 0, 0)
    LOG.chmod(0o600)
    os.chown(LOG.parent, 0, 0)
    LOG.parent.chmod(0o755)
    host.start()
    host.wait_for_status("cannot read /var/log/kong-ai/ai.log; ")
    host.wait_for_status("kong-ai-tracing check says how")  # with sudo in front, where there is one
    assert host.said("Permission denied")
    assert host.said("kong-ai-tracing check says how")
    findings = command("kong-ai-tracing", "check", "--json", check=False).stdout
    advice = re.search(r'"(setfacl [^"]+)"', findings) or re.search(r"(setfacl [^\"]+)", findings)
    assert advice, findings
    command("sh", "-c", advice[1])
    host.wait_for_all()
    assert show("NRestarts") == "0"


def a_folder_that_may_not_be_entered_is_waited_for(host: Host) -> None:
    host.configure()
    host.write(3)
    LOG.parent.chmod(0o700)
    host.start()
    host.wait_for_status("cannot read /var/log/kong-ai")
    LOG.parent.chmod(0o2750)
    host.wait_for_all()
    assert show("NRestarts") == "0"


_ROTATION = """/var/log/kong-ai/*.log {
    su nobody kong-ai-tracing
    create 0640 nobody kong-ai-tracing
    rotate 4
    compress
    delaycompress
    missingok
    notifempty
}
"""


def logrotate_loses_nothing(host: Host) -> None:
    rules = Path("/etc/logrotate.d/kong-ai")
    rules.write_text(_ROTATION)
    host.configure()
    host.start()
    for _ in range(4):
        host.write(50)
        command("logrotate", "-f", str(rules))
        host.write(50)
    host.wait_for_all()
    host.stop()
    host.write(20)
    command("logrotate", "-f", str(rules))
    host.write(20)
    host.start()
    host.wait_for_all()
    assert host.repeats == 0
    rules.unlink()


def a_reload_takes_up_what_is_good(host: Host) -> None:
    key = STATE.parent / "key-of-the-test"
    key.write_text("sk-lf-test")
    key.chmod(0o644)
    host.configure(f'langfuse_secret_key_file = "{key}"', secret_key=None)
    good = CONFIG.read_text()
    host.start()
    pid = host.pid
    host.write()
    host.wait_for_all()
    CONFIG.write_text(good + "langfuse_endpiont = 1\n")
    assert systemctl("reload", UNIT, check=False).returncode != 0
    assert host.said("langfuse_endpiont")
    os.kill(pid, signal.SIGHUP)  # past the check that comes before a reload
    host.wait_for_status("the last reload was refused, the old configuration is in force")
    host.write()
    host.wait_for_all()
    host.langfuse.secret_key = "sk-lf-rotated"
    host.write()
    host.wait_for_status("Langfuse refuses until somebody acts")
    key.write_text("sk-lf-rotated")
    CONFIG.write_text(good + 'environment = "after"\n')
    systemctl("reload", UNIT)
    host.wait_for_all()
    host.wait_for_status("last accepted")
    wait_until(lambda: show("ActiveState") == "active", "the end of the reload")
    assert (host.pid, show("NRestarts")) == (pid, "0")
    key.unlink()


def a_stop_is_quick_while_langfuse_hangs(host: Host) -> None:
    host.configure()
    host.langfuse.script("hang*")
    host.start()
    host.write(50)
    wait_until(lambda: any("otel" in each.path for each in host.langfuse.requests), "a request that hangs")
    assert host.stop() < 30, "an answer is waited for twice as long"
    assert show("Result") == "success"
    host.langfuse.script("200*")
    host.start()
    host.wait_for_all()


def the_journal_has_priorities(host: Host) -> None:
    host.configure()
    host.langfuse.script("503*")
    host.start()
    host.write()
    wait_until(lambda: host.said("delivery.failing"), "a warning")
    os.kill(host.pid, signal.SIGHUP)
    CONFIG.write_text("nonsense\n")
    os.kill(host.pid, signal.SIGHUP)
    wait_until(lambda: host.said("config.rejected"), "an error")
    priorities = {
        entry["MESSAGE"].split()[0]: entry["PRIORITY"]
        for entry in host.entries()
        if entry.get("SYSLOG_IDENTIFIER") == "kong-ai-tracing"
    }
    assert priorities["service.ready"] == "6"
    assert priorities["delivery.failing"] == "4"
    assert priorities["config.rejected"] == "3"
    assert not any(line.startswith("<") for line in host.journal())


def a_full_disk_of_the_state_is_waited_for(host: Host) -> None:
    STATE.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(STATE))
    filler = STATE / "filler"
    try:
        host.configure("[delivery]", "free_space_floor_bytes = 0")
        host.start()
        host.write(5)
        host.wait_for_all()
        _fill(filler)
        host.write(2000)
        host.wait_for_status("the state directory cannot be written", 30)
        assert (show("ActiveState"), show("NRestarts")) == ("active", "0")
        assert host.said("store.failing")
        filler.unlink()
        host.wait_for_all()
        host.stop()
        _fill(filler)
        systemctl("start", "--no-block", UNIT)
        host.write(5)
        wait_until(lambda: "cannot be written" in show("StatusText") or host.said("full"), "a word about it")
        filler.unlink()
        host.wait_for_all(40)
        assert show("ActiveState") == "active"
    finally:
        host.stop()
        command("umount", str(STATE))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def longest_lines_stay_below_the_limit(host: Host) -> None:
    host.configure()
    host.start()
    host.write()
    host.wait_for_all()
    host.write(12, padding_bytes=15 * _MIB)
    host.wait_for_all(150)
    assert show("NRestarts") == "0", host.journal()[-5:]


def a_kill_by_the_memory_limit_loses_nothing(host: Host) -> None:
    host.drop_in("MemoryMax=96M", "MemoryHigh=infinity", "RestartSec=1", "MemorySwapMax=0")
    host.configure()
    host.start()
    host.write(5)
    host.wait_for_all()
    host.write(4, padding_bytes=15 * _MIB)
    wait_until(lambda: int(show("NRestarts")) >= 1, "a kill by the kernel")
    host.write(5)
    host.drop_in("MemoryMax=512M")
    systemctl("restart", UNIT)
    host.wait_for_all(60)


def out_of_threads_is_a_clear_end(host: Host) -> None:
    host.configure()
    host.start()
    host.write(5)
    host.wait_for_all()
    host.stop()
    host.drop_in("TasksMax=2", "RestartSec=1")
    host.write(5)
    systemctl("start", "--no-block", UNIT)
    wait_until(lambda: host.said("no thread can be started"), "a word about threads")
    systemctl("stop", UNIT)
    host.drop_in("TasksMax=64")
    systemctl("reset-failed", UNIT, check=False)
    host.start()
    host.wait_for_all()


def a_storm_of_signals_ends_in_order(host: Host) -> None:
    host.configure()
    host.langfuse.script("slow:0.3*")
    for wait in (0.0, 0.05, 0.15, 0.3, 0.6):
        systemctl("start", "--no-block", UNIT)
        time.sleep(wait)
        for number in ("INT", "HUP", "TERM", "HUP", "TERM"):
            systemctl("kill", "-s", number, UNIT, check=False)
        host.write(20)
        systemctl("stop", UNIT)
        assert show("MainPID") == "0"
        systemctl("reset-failed", UNIT, check=False)
    host.langfuse.script("200*")
    host.start()
    host.wait_for_all()


SCENARIOS: dict[str, Scenario] = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__annotations__", {}) == {"host": "Host", "return": "None"}
}


def main(results: str, *names: str) -> None:
    install()
    outcome: dict[str, str | None] = {}
    for name in names:
        began = time.monotonic()
        host = Host()
        try:
            SCENARIOS[name](host)
        except Exception:  # whatever went wrong is the result
            journal = "\n".join(host.journal()[-40:])
            outcome[name] = f"{traceback.format_exc()}\nstatus: {show('StatusText')}\n{journal}"
        else:
            outcome[name] = None
        finally:
            host.close()
        print(
            f"{name}: {'FAILED' if outcome[name] else 'ok'} in {time.monotonic() - began:.1f} s", flush=True
        )
        Path(results).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
