"""The package that `make test-deb` built and named; without one its tests are skipped and say so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from package_files import need


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests are for `make release-check`."""
    if not os.environ.get("RELEASE_CHECK"):
        for item in items:
            if item.get_closest_marker("release"):
                item.add_marker(pytest.mark.skip(reason="for make release-check"))


def from_environment(name: str, target: str) -> Path:
    """What a make target built."""
    if not (path := os.environ.get(name)):
        pytest.skip(f"{name} is not set: make {target} builds it and runs this test")
    return Path(path).resolve(strict=True)


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package for this machine."""
    need("dpkg-deb")
    return from_environment("DEB", "test-deb")


@pytest.fixture(scope="session")
def unpacked(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package."""
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def wheel() -> Path:
    """What `pip` and `pipx` install."""
    return from_environment("WHEEL", "release-check")
