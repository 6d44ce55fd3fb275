"""What is in the Debian package, without installing it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from email import message_from_string
from pathlib import Path

import pytest
from package_files import MODULES, calls, need
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kong_ai_tracing import __version__
from kong_ai_tracing.config.template import template
from test_cli import COMMANDS

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "packaging/deb/build.sh"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_NEEDED = {"_zstd": {"3.14"}}
"""Compiled modules that a Python does without: 3.14 has a zstd of its own."""


def field(deb: Path, name: str) -> str:
    """A field of the package's control file."""
    found = subprocess.run(["dpkg-deb", "--field", deb, name], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def test_lintian_has_neither_errors_nor_warnings(deb: Path) -> None:
    """The judge of Debian's own packages; what it is told to overlook is in one commented file."""
    need("lintian")
    command = ["lintian", "--allow-root", "--fail-on=error,warning", "--info", deb.with_suffix(".changes")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_the_version_is_the_programs(deb: Path) -> None:
    """It stands in one place, the package's __init__; all others are made from it."""
    assert field(deb, "Version") == __version__
    assert deb.name == f"kong-ai-tracing_{__version__}_{field(deb, 'Architecture')}.deb"


def test_the_pythons_that_are_allowed_are_those_that_were_provided_for(deb: Path, unpacked: Path) -> None:
    """Every compiled module is there for each of them, and no newer one may be installed beside it."""
    assert "python3 (>= 3.11), python3 (<< 3.15)" in field(deb, "Depends")
    found = defaultdict(set)
    for path in (unpacked / MODULES).rglob("*.so"):
        if abi := re.fullmatch(r"(\w+)\.cpython-3(\d+)-.*\.so", path.name):
            found[abi[1]].add(f"3.{abi[2]}")
    assert len(found) > 4
    assert found == {name: set(PYTHONS) - NOT_NEEDED.get(name, set()) for name in found}


@pytest.mark.parametrize("python", PYTHONS)
def test_every_library_has_what_it_needs(unpacked: Path, python: str) -> None:
    """Our own needs and those of the libraries, as they say themselves, for this Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    there, wanted = {}, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for path in (unpacked / MODULES).glob("*.dist-info/METADATA"):
        metadata = message_from_string(path.read_text())
        there[canonicalize_name(metadata["Name"])] = metadata["Version"]
        wanted += metadata.get_all("Requires-Dist", [])
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = there.get(canonicalize_name(requirement.name))
            assert version is not None, requirement
            assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_it_runs_on_every_python(unpacked: Path, tmp_path: Path, python: str) -> None:
    """The same folder serves each: a preview needs most of the compiled libraries; the rest is imported."""
    program = python_of(python)
    (tmp_path / "ai.log").write_text(calls(2))
    script = (
        f"import sys; sys.path.insert(0, {str(unpacked / MODULES)!r}); import isal.igzip;"
        f"import {'compression' if python == '3.14' else 'backports'}.zstd;"
        f"sys.argv[1:] = ['preview', {str(tmp_path / 'ai.log')!r}, '--redacted'];"
        "from kong_ai_tracing.cli import main; main()"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "KONG_AI_TRACING_CONFIG": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    run = subprocess.run([program, "-SBsc", script], env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("gpt-4o") >= 2


def python_of(version: str) -> str:
    """An interpreter of that version."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    program = shutil.which(f"python{version}")
    tried = subprocess.run([program or "false", "-V"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"not installed: python{version}")
    return str(program)


def test_nothing_of_the_builder_is_in_it(unpacked: Path) -> None:
    """No byte code, no paths of the build, no installer's notes."""
    names = [path.name for path in unpacked.rglob("*")]
    assert not {"__pycache__", "RECORD", "INSTALLER", "direct_url.json", "tests"} & {*names}
    for path in unpacked.rglob("*"):
        if path.is_file():
            assert b"kong-ai-tracing-deb." not in path.read_bytes(), path


def test_the_configuration_is_the_one_that_config_init_writes(deb: Path, unpacked: Path) -> None:
    """An edited one survives upgrades: it is the package's only conffile."""
    conffiles = subprocess.run(
        ["dpkg-deb", "-I", deb, "conffiles"], check=True, capture_output=True, text=True
    )
    assert conffiles.stdout.split() == ["/etc/kong-ai-tracing/config.toml"]
    assert (unpacked / "etc/kong-ai-tracing/config.toml").read_text() == template()


def test_every_command_has_a_manual_page(unpacked: Path) -> None:
    """And whatis finds it by its name."""
    for command in COMMANDS:
        name = "-".join(["kong-ai-tracing", *command])
        path = unpacked / f"usr/share/man/man8/{name}.8.gz"
        page = subprocess.run(["gzip", "-dc", path], check=True, capture_output=True, text=True).stdout
        assert f'\n.TH {name.upper()} "8" ' in page
        assert f"\n.SH NAME\n{name} \\- " in page
        assert ".SH SYNOPSIS\n.B kong-ai-tracing" in page


def test_two_builds_give_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    """Elsewhere, with another umask, time zone and language, from the same commit."""
    need("dh", "help2man")
    elsewhere = tmp_path / "far" / "away"
    elsewhere.mkdir(parents=True)
    script = (
        f"umask 077; exec {BUILD} {field(deb, 'Architecture')} {ROOT}/build/wheels {tmp_path} {elsewhere}"
    )
    environ = {
        **os.environ,
        "TZ": "Pacific/Auckland",
        "LANG": "C",
        "PYTHONPATH": "/nowhere",
        "HOME": str(tmp_path),
    }
    subprocess.run(["bash", "-c", script], check=True, env=environ, capture_output=True)
    assert (tmp_path / deb.name).read_bytes() == deb.read_bytes()
