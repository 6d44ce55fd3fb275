"""The package where no systemd runs: an image that is being built, and Debian's own judge of installing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_files import need

pytestmark = pytest.mark.release


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An unpacked Debian with little but apt and what the package depends on."""
    need("mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("an unpacked Debian needs root")
    folder = tmp_path_factory.mktemp("roots") / request.param
    sources = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    )
    places = {line for line in sources.stdout.splitlines() if "security" not in line}
    mirror = [f"deb {place.split()[0]} {request.param} {place.split()[1]}" for place in sorted(places)]
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        "--include=python3,systemd",
        request.param,
        folder,
        *mirror,
    ]
    subprocess.run(command, check=True)
    yield folder
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def test_it_installs_and_goes_where_no_systemd_runs(deb: Path, root: Path) -> None:
    """As in the build of an image: enabled for the first boot, nothing started, nothing asked."""
    (root / deb.name).write_bytes(deb.read_bytes())
    inside(root, f"apt-get -q -o APT::Sandbox::User=root install -y --no-install-recommends /{deb.name}")
    assert inside(root, "kong-ai-tracing --version").startswith("kong-ai-tracing ")
    assert (root / "etc/systemd/system/multi-user.target.wants/kong-ai-tracing.service").is_symlink()
    assert "kong-ai-tracing:" in (root / "etc/passwd").read_text()
    inside(root, "apt-get -q purge -y kong-ai-tracing")
    assert not (root / "usr/lib/kong-ai-tracing").exists()
    assert not (root / "etc/kong-ai-tracing").exists()


def test_piuparts_finds_nothing_left_behind(deb: Path, root: Path) -> None:
    """It installs, upgrades, removes and purges, and compares the files before and after."""
    need("piuparts")
    command = ["piuparts", "--existing-chroot", root, "--keep-sources-list", "--no-eatmydata", deb]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-4000:]


def inside(root: Path, command: str) -> str:
    """Run in the root; gives what it said."""
    environ = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
    }
    run = subprocess.run(
        ["chroot", root, "sh", "-ec", command], env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
