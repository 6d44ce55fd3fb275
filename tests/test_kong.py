"""What `kong-config` prints: readable for Kong, the same in both forms, and the one in the examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_ai_tracing.config import load_config
from kong_ai_tracing.kong.wishes import DEFAULT_PATH, MAX_BODY_BYTES
from kong_gateway import printed
from test_cli import invoke

EXAMPLES = Path(__file__).parent.parent / "kong"
PRINTED_BY = re.compile(r"^# kong-ai-tracing (kong-config .*)\n", re.MULTILINE)

VARIANTS = {
    "capture": ["--service", "openai"],
    "after-auth": ["--service", "openai", "--after-auth"],
    "both": ["--route", "chat", "--bodies", "both"],
    "ai-proxy": ["--route", "chat", "--bodies", "ai-proxy"],
    "several": ["--service", "a", "--service", "b", "--route", "c", "--service", "a"],
    "global": ["--global"],
    "old": ["--service", "openai", "--kong-version", "2.8.5"],
    "odd names": ["--service", "on", "--service", "0123", "--route", "größe~1.x", "--path", "/it's/a b.log"],
}
FILE_LOG = {"path", "reopen", "custom_fields_by_lua"}
PHASES = {"access", "body_filter", "log"}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_file_is_one_that_kong_reads(options):
    """Only members of Kong's schema, each of its type; one plugin of a name in a place."""
    found = printed(*options)
    assert found.keys() == {"_format_version", "plugins"}
    assert found["_format_version"] == ("1.1" if "2.8.5" in options else "3.0")
    places = [(plugin.get("service"), plugin.get("route"), plugin["name"]) for plugin in found["plugins"]]
    assert len(set(places)) == len(places)
    for plugin in found["plugins"]:
        assert plugin.keys() - {"service", "route"} == {"name", "tags", "config"}
        assert all(isinstance(plugin.get(kind, ""), str) for kind in ("service", "route"))
        config = plugin["config"]
        if plugin["name"] == "file-log":
            assert config.keys() == FILE_LOG
            assert config["reopen"] is True
            assert isinstance(config["custom_fields_by_lua"]["capture"], str)
        else:
            assert plugin["name"] in ("pre-function", "post-function")
            assert config.keys() <= PHASES
            assert all(isinstance(text, str) for chunks in config.values() for text in chunks)


def test_every_place_that_was_named_gets_its_plugins():
    """Services and routes, each once, with the path that was asked for."""
    plugins = printed(*VARIANTS["odd names"])["plugins"]
    logs = [plugin for plugin in plugins if plugin["name"] == "file-log"]
    assert [(log.get("service"), log.get("route")) for log in logs] == [
        ("on", None),
        ("0123", None),
        (None, "größe~1.x"),
    ]
    assert {log["config"]["path"] for log in logs} == {"/it's/a b.log"}


def test_the_limits_and_names_of_the_operator_are_in_the_lua():
    """Options that did nothing would go unnoticed."""
    log, capture = printed("--global", "--max-body-bytes", "5000", "--drop-header", "X-Mine")["plugins"]
    assert "local REQUEST_BYTES = 5000 " in capture["config"]["access"][0]
    assert "local RESPONSE_BYTES = 5000 " in capture["config"]["body_filter"][0]
    assert '"x-mine",\n}' in log["config"]["custom_fields_by_lua"]["capture"]


def test_what_reads_the_bodies_comes_after_the_plugins_that_refuse():
    """Only the line is still made before file-log."""
    plugins = {
        plugin["name"]: plugin["config"].keys() for plugin in printed(*VARIANTS["after-auth"])["plugins"]
    }
    assert plugins == {
        "file-log": FILE_LOG,
        "pre-function": {"log"},
        "post-function": {"access", "body_filter"},
    }


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_script_tells_the_admin_api_the_same(options, tmp_path):
    """Run by a shell: one call for each plugin, with what stands in the file, by an id that stays."""
    if shutil.which("jq") is None and "ai-proxy" in " ".join(options):
        pytest.skip("needs jq")
    first, second = (admin_calls(tmp_path / name, *options) for name in ("once", "again"))
    assert first == second
    plugins = printed(*options)["plugins"]
    puts = [(path, body) for method, path, body in first if method == "PUT"]
    assert len({path for path, _ in puts}) == len(plugins) == len(puts)
    for plugin, (path, body) in zip(plugins, puts, strict=True):
        named = [f"/{kind}s/" for kind in ("service", "route") if kind in plugin]
        assert path.startswith(f"{''.join(named) or '/'}")
        assert body == {name: plugin[name] for name in ("name", "tags", "config")}


def admin_calls(directory: Path, *options: str) -> list[tuple[str, str, Any]]:
    """Method, path and body of each call that the script makes, with a curl that writes them down."""
    directory.mkdir()
    curl = directory / "curl"
    curl.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> {directory}/calls
cat > {directory}/body.$(wc -l < {directory}/calls)
case "$*" in *GET*) echo '{{"data": [{{"name": "ai-proxy", "id": "7"}}, {{"name": "cors"}}]}}' ;; esac
"""
    )
    curl.chmod(0o700)
    script = invoke("kong-config", *options, "--format", "admin")
    environ = {"PATH": f"{directory}:{os.environ['PATH']}", "KONG_ADMIN_TOKEN": "a token"}
    subprocess.run(["sh"], input=script.stdout, env=environ, text=True, check=True, capture_output=True)
    calls = []
    for number, line in enumerate((directory / "calls").read_text().splitlines(), 1):
        assert "kong-admin-token: a token" in line
        method = re.search(r"-X (\w+)", line)
        body = (directory / f"body.{number}").read_text()
        assert method
        calls.append((method[1], line.rpartition("http://localhost:8001")[2], json.loads(body or "null")))
    return calls


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_script_switches_the_logging_of_ai_proxy_on(tmp_path):
    """Both switches, of the plugin that is there; no second one is made."""
    *_, asked, changed = admin_calls(tmp_path / "calls", *VARIANTS["ai-proxy"])
    assert asked == ("GET", "/routes/chat/plugins", None)
    both = {"log_statistics": True, "log_payloads": True}
    assert changed == ("PATCH", "/plugins/7", {"config": {"logging": both}})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--service NAME"),
        (["--global", "--service", "a"], "--global"),
        (["--service", ""], "--service"),
        (["--service", "a/b"], "a/b"),
        (["--route", "a\nb"], "--route"),
        (["--global", "--path", "ai.log"], "absolute"),
        (["--global", "--path", "/var/log/"], "absolute"),
        (["--global", "--path", "/var/log/a*.log"], "refuses"),
        (["--global", "--path", "/dev/stdout"], "device"),
        (["--global", "--max-body-bytes", "10"], "--max-body-bytes"),
        (["--global", "--max-body-bytes", str(MAX_BODY_BYTES + 1)], "--max-body-bytes"),
        (["--global", "--kong-version", "latest"], "3.9"),
        (["--global", "--kong-version", "2.7"], "2.8"),
        (["--global", "--kong-version", "3.5", "--bodies", "ai-proxy"], "3.6"),
        (["--global", "--bodies", "ai-proxy", "--after-auth"], "--after-auth"),
        (["--global", "--drop-header", "a b"], "--drop-header"),
        (["--global", "--drop-header", 'x"}'], "--drop-header"),
    ],
)
def test_what_kong_would_refuse_is_refused_with_a_reason(options, words):
    """Wrong usage, nothing on stdout, and the option is named."""
    shown = invoke("kong-config", *options)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert words in " ".join(shown.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--global"], ["/var/log/kong-ai", "client_body_buffer_size", "untrusted_lua", "deck file merge"]),
        (["--global", "--kong-version", "3.7"], ["needed: nginx_http_client_body_buffer_size"]),
        (["--global", "--kong-version", "3.4"], ["request id"]),
        (["--global", "--bodies", "ai-proxy"], ["log_statistics AND logging.log_payloads"]),
        (["--global", "--format", "admin"], ["without database"]),
        (["--global", "--after-auth"], ["where you have file-log or pre-function or post-function"]),
        (["--global", "--path", "/tmp/ai.log"], ["below /var/log"]),
        (["--global", "--path", "/a b/ai.log"], ["install -d -o kong -g kong-ai-tracing -m 2750 '/a b'"]),
    ],
)
def test_what_is_left_to_do_is_said_beside_the_configuration(options, said):
    """On stderr, so that stdout stays a file."""
    shown = invoke("kong-config", *options)
    for words in said:
        assert words in shown.stderr
    assert "note:" not in shown.stdout


def test_ai_proxy_is_told_what_to_merge():
    """The file cannot hold it: a second ai-proxy would take the place of the operator's."""
    text = invoke("kong-config", *VARIANTS["ai-proxy"]).stdout
    assert "log_statistics: true" in text
    assert "log_payloads: true" in text
    patch = re.search(r"--value '(\w+):(\{.*\})'", text)
    assert patch
    assert (patch[1], json.loads(patch[2])) == ("logging", {"log_statistics": True, "log_payloads": True})
    assert [plugin["name"] for plugin in printed(*VARIANTS["ai-proxy"])["plugins"]] == ["file-log"]


# -- the examples


@pytest.mark.parametrize("name", ["openai.yml", "ai-proxy.yml"])
def test_the_examples_end_with_what_the_command_prints(name):
    """UPDATE_KONG=1 writes them anew."""
    path = EXAMPLES / name
    text = path.read_text()
    command = PRINTED_BY.search(text)
    assert command
    shown = invoke(*shlex.split(command[1])).stdout
    wanted = text[: command.end()] + shown.partition("\nplugins:\n")[2]
    if os.environ.get("UPDATE_KONG"):
        path.write_text(wanted)
    assert path.read_text() == wanted
    found = yaml.safe_load(wanted)
    services = {service["name"] for service in found["services"]}
    assert {plugin["service"] for plugin in found["plugins"]} == services


def test_ai_proxy_logs_with_both_switches_in_the_example():
    """Without one there is nothing, without the other no prompt."""
    plugins = yaml.safe_load((EXAMPLES / "ai-proxy.yml").read_text())["plugins"]
    [proxy] = [plugin for plugin in plugins if plugin["name"] == "ai-proxy"]
    assert proxy["config"]["logging"] == {"log_statistics": True, "log_payloads": True}


def containers() -> dict[str, dict[str, dict[str, Any]]]:
    """Environment, mounts (by the place) and command of the containers of both examples."""
    composed = yaml.safe_load((EXAMPLES / "docker-compose.yml").read_text())["services"]
    manifest = yaml.safe_load((EXAMPLES / "kubernetes.yml").read_text())
    compose = {
        name: {
            "environ": service.get("environment", {}),
            "mounts": {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]},
            "command": [word.replace("$$", "$") for word in service.get("command", [])],
        }
        for name, service in composed.items()
    }
    pod = {
        container["name"]: {
            "environ": {entry["name"]: entry["value"] for entry in container.get("env", [])},
            "mounts": {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]},
            "command": container.get("command", []) + container.get("args", []),
        }
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    return {"compose": compose, "kubernetes": pod}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_containers_share_the_log_that_kong_writes(where):
    """One volume, one path, and settings that are some."""
    found = containers()[where]
    folder = str(Path(DEFAULT_PATH).parent)
    assert len({found[name]["mounts"][folder] for name in ("kong", "tracing", "rotation")}) == 1
    environ = {
        name: value
        for name, value in found["tracing"]["environ"].items()
        if name.startswith("KONG_AI_TRACING_")
    }
    keys = {
        "LANGFUSE_BASE_URL": "https://langfuse.example.com",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
        "LANGFUSE_SECRET_KEY": "sk-lf-1",
    }
    config = load_config(Path(os.devnull), environ | keys)
    assert config.log_paths == (DEFAULT_PATH,)
    assert config.langfuse_enabled
    assert any(Path(config.state_dir).is_relative_to(place) for place in found["tracing"]["mounts"])


def first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def test_the_rotation_of_the_examples_keeps_three_generations(tmp_path):
    """It moves what is large, and only then."""
    compose, pod = (containers()[where]["rotation"]["command"] for where in ("compose", "kubernetes"))
    assert compose == pod
    sleep = tmp_path / "sleep"
    sleep.write_text("#!/bin/sh\n[ ! -e end ] && touch end\n")
    sleep.chmod(0o700)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for number in range(5):
        with (tmp_path / "ai.log").open("wb") as log:
            log.write(b"%d" % number)
            log.truncate(110 << 20)
        (tmp_path / "end").unlink(missing_ok=True)
        subprocess.run(compose, cwd=tmp_path, env=environ, check=False, timeout=10)
    kept = {path.name: first_byte(path) for path in tmp_path.glob("ai.log*")}
    assert kept == {"ai.log.1": b"4", "ai.log.2": b"3", "ai.log.3": b"2"}
    (tmp_path / "ai.log").write_bytes(b"small")
    (tmp_path / "end").unlink()
    subprocess.run(compose, cwd=tmp_path, env=environ, check=False, timeout=10)
    assert (tmp_path / "ai.log").read_bytes() == b"small"
