"""A booted Debian in which the package is installed and removed, and what a script in it has seen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from package_files import need

BOX = [Path(__file__).parent / "systemd-box", "-p", "acl"]
"""With the packages that the tests of the unit need, so that both share one base system."""
PRELUDE = r"""
set -euo pipefail
say() { printf '%s=%s\n' "$1" "$2" >&3; }
wait_for() {
    for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.2; done
    echo "never: $*" >&2; return 1
}
# field "['outbox']['spans']": a value of `status --json`
field() {
    { kong-ai-tracing status --json || true; } | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"
}
field_is() { [ "$(field "$1")" = "$2" ]; }
property() { systemctl show kong-ai-tracing -p "$1" --value; }
ready() { journalctl --unit kong-ai-tracing _PID="$(property MainPID)" --grep service.ready; }
apt_install() { apt-get -q -o Acquire::Retries=5 -o APT::Sandbox::User=root \
    -o Dpkg::Options::=--force-confold install -y --no-install-recommends --allow-downgrades "$@"; }
# Kong's folder, as `check` says that it should be
kong_log() { useradd --create-home kong; install -d -o kong -g kong-ai-tracing -m 2750 /var/log/kong-ai; }
kong_writes() {
    setpriv --reuid kong --regid kong --clear-groups sh -c 'cat >>/var/log/kong-ai/ai.log'
}
all_files() { find / -xdev -path /box -prune -o -print | sort; }
exec 3>/box/shared/facts
exec 1>&2
"""


@cache
def why_not(suite: str) -> str:
    """What keeps a Debian from booting on this machine; mostly nothing. Builds the base system once."""
    tried = subprocess.run([*BOX, "-s", suite, "--", "true"], capture_output=True, text=True, check=False)
    return tried.stderr if tried.returncode else ""


class Box:
    """Runs one script; `shared` is a folder that the script sees as /box/shared."""

    def __init__(self, suite: str, shared: Path) -> None:
        need("systemd-nspawn", "mmdebstrap", "nsenter")
        if os.geteuid() != 0:
            pytest.skip("a booted Debian needs root")
        if reason := why_not(suite):
            pytest.skip(f"systemd does not boot here: {reason}")
        self.suite, self.shared = suite, shared

    def start(self, script: str, *debs: Path) -> subprocess.Popen[str]:
        """The packages are in /box; the script installs them."""
        command = [*BOX, "-s", self.suite, "-t", "900", "-n", "-b", f"{self.shared}:/box/shared", *debs, "--"]
        return subprocess.Popen(
            [*command, "bash", "-c", PRELUDE + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def facts(self, script: str, *debs: Path, meanwhile: Callable[[], None] | None = None) -> dict[str, str]:
        """What the script said with `say`. It must succeed."""
        with self.start(script, *debs) as running:
            if meanwhile is not None:
                meanwhile()
            output, _ = running.communicate(timeout=1200)
        assert running.returncode == 0, output
        facts = (self.shared / "facts").read_text()
        return dict(line.split("=", 1) for line in facts.splitlines())
