"""Fetch the wheels of requirements.lock for every supported Python of one architecture.

    wheels.py requirements.lock ARCHITECTURE FOLDER

Done once for each state of the lock; building needs no network from then on.
"""

import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from packaging.markers import Marker, default_environment

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = 28
"""Debian 12 has 2.36; what the package says it needs on arm64 is this one."""

_MARKER = re.compile(r"^\S+ ; (.*?) \\$")


def fetch(lock: Path, architecture: str, folder: Path) -> None:
    """Leaves a folder alone that was filled for this lock."""
    digest = sha256(lock.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    stamp = folder / ".lock"
    if stamp.exists() and stamp.read_text() == digest:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    for python in PYTHONS:
        _download(lock, python, _MACHINES[architecture], folder)
    stamp.write_text(digest)


def _download(lock: Path, python: str, machine: str, folder: Path) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(5, _GLIBC + 1)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write(wanted_by(lock.read_text(), python))
        wanted.flush()
        subprocess.run(  # noqa: S603 - nothing of it comes from outside
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq"),
                *("--retries=10", "--timeout=60", "--no-deps"),
                *("--only-binary=:all:", "--require-hashes", f"--python-version={python}"),
                *("--implementation=cp", *platforms, f"--platform=manylinux2014_{machine}"),
                *(f"--dest={folder}", f"--requirement={wanted.name}"),
            ],
            check=True,
        )


def wanted_by(lock: str, python: str) -> str:
    """What of the lock is for that Python. pip itself would look at the one that it runs in."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    kept: list[str] = []
    wanted = True
    for line in lock.splitlines():
        if not line.startswith(" "):
            marker = _MARKER.match(line)
            wanted = marker is None or Marker(marker[1]).evaluate(environment)
        if wanted:
            kept.append(re.sub(r" ; .* \\$", r" \\", line))
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    fetch(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
