"""The command line as a person or a script meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kong_ai_tracing.cli import app

HELP_FILE = Path(__file__).parent.parent / "docs" / "help.txt"
COMMANDS = [
    [],
    ["run"],
    ["backfill"],
    ["preview"],
    ["check"],
    ["status"],
    ["top"],
    ["refused"],
    ["refused", "list"],
    ["refused", "show"],
    ["refused", "retry"],
    ["refused", "export"],
    ["checkpoint"],
    ["checkpoint", "show"],
    ["checkpoint", "rewind"],
    ["checkpoint", "forget"],
    ["kong-config"],
    ["demo"],
    ["view"],
    ["config"],
    ["config", "show"],
    ["config", "init"],
]

GROUPS = {"config", "refused", "checkpoint"}
"""Commands that do nothing without another word."""


def invoke(*arguments: str, **environ: str):
    # A clean environment: this machine's settings must not decide a test.
    unset = dict.fromkeys((name for name in os.environ if "LANGFUSE" in name or "KONG_AI" in name), None)
    return CliRunner().invoke(
        app, arguments, prog_name="kong-ai-tracing", env={**unset, **environ}, terminal_width=100
    )


def program(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "kong_ai_tracing", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **more)


def test_the_help_texts_are_those_in_the_documentation():
    """`docs/help.txt` is what the program says. UPDATE_HELP=1 writes it anew."""
    texts = []
    for command in COMMANDS:
        result = invoke(*command, "--help")
        assert result.exit_code == 0
        texts.append(f"$ kong-ai-tracing {' '.join([*command, '--help'])}\n{result.stdout}")
    text = "\n".join(texts)
    if os.environ.get("UPDATE_HELP"):
        HELP_FILE.write_text(text)
    assert HELP_FILE.read_text() == text


def test_help_and_the_start_of_the_daemon_load_nothing_heavy():
    """A command only pays for what it uses."""
    code = (
        "import sys, kong_ai_tracing.cli;"
        "print({'httpx', 'rich', 'sqlite3', 'asyncio', 'orjson'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_the_version_is_data():
    """Scripts read it from stdout."""
    result = program("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("kong-ai-tracing ")


@pytest.mark.parametrize(
    "arguments", [["rnu"], ["run", "--twice"], ["preview", "/nowhere.log"], ["backfill"]]
)
def test_wrong_usage_exits_2_and_leaves_stdout_alone(arguments):
    """stdout is for data."""
    result = program(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [["run"], ["check"], ["status"], ["config", "show"], ["run", "--once"]])
def test_bad_configuration_exits_78_and_names_every_problem(tmp_path, command):
    """systemd does not start a broken configuration again and again."""
    path = tmp_path / "config.toml"
    path.write_text('log_paths = ["/a"]\nlog_level = "loud"\nlog_pahts = []\n')
    result = invoke(*command, "--config", str(path))
    assert result.exit_code == 78
    for word in ("log_level", "loud", "log_pahts", "did you mean log_paths?"):
        assert word in result.output


def test_config_init_writes_a_private_file_once(tmp_path):
    """An existing configuration is never overwritten by accident."""
    path = tmp_path / "new" / "config.toml"
    assert invoke("config", "init", "--config", str(path)).exit_code == 0
    assert path.stat().st_mode & 0o007 == 0
    path.write_text("# mine\n")
    again = invoke("config", "init", "--config", str(path))
    assert (again.exit_code, path.read_text()) == (1, "# mine\n")
    assert invoke("config", "init", "--config", str(path), "--force").exit_code == 0
    assert invoke("config", "init", "--config", "-").stdout == path.read_text()


def test_config_init_says_where_else_it_can_write():
    """Who tries it out is seldom root."""
    done = invoke("config", "init", "--config", "/proc/nowhere/config.toml")
    assert done.exit_code == 1
    assert "kong-ai-tracing config init --config config.toml" in done.stderr


def test_config_show_names_the_source_of_each_value_and_no_key(tmp_path):
    """What is in force, and why."""
    path = tmp_path / "config.toml"
    path.write_text('log_paths = ["/a"]\n')
    result = invoke("config", "show", "-c", str(path), KONG_AI_TRACING_LANGFUSE_SECRET_KEY="sk-lf-hush")
    assert 'log_paths = ["/a"]  # the configuration file' in result.stdout
    assert 'langfuse_secret_key = "sk-lf-********"  # KONG_AI_TRACING_LANGFUSE_SECRET_KEY' in result.stdout


def test_config_show_says_where_each_key_comes_from_and_reads_none(tmp_path):
    """A file, a credential, a variable; for every project; also when it cannot be read."""
    path, folder = tmp_path / "config.toml", tmp_path / "credentials"
    folder.mkdir()
    (folder / "langfuse_secret_key").write_text("sk-lf-hush")
    (folder / "secrets_langfuse_public_key.team-a").write_text("pk-lf-hush")
    path.write_text(
        'langfuse_enabled = true\nlog_paths = ["/a"]\n'
        '[[destination]]\nname = "team-a"\nlangfuse_secret_key_file = "/nowhere/key"\n'
    )
    environ = {"CREDENTIALS_DIRECTORY": str(folder), "LANGFUSE_PUBLIC_KEY": "pk-lf-hush"}
    result = invoke("config", "show", "-c", str(path), **environ)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert 'langfuse_public_key = "********"  # LANGFUSE_PUBLIC_KEY' in lines
    assert f'langfuse_secret_key = "********"  # {folder}/langfuse_secret_key' in lines
    of_team_a = lines[lines.index("[[destination]]  # the configuration file") :]
    assert f'langfuse_public_key = "********"  # {folder}/secrets_langfuse_public_key.team-a' in of_team_a
    assert "# langfuse_secret_key may be in /nowhere/key: No such file or directory" in of_team_a
    assert "hush" not in result.output
    for word in ("langfuse_public_key", "langfuse_secret_key"):
        assert f"# {word} is not set" in invoke("config", "show", "-c", str(path)).stdout


def test_without_a_configuration_each_message_leads_to_one(tmp_path):
    """Also `status`, which would tell to start what cannot start."""
    clean = {name: text for name, text in os.environ.items() if "LANGFUSE" not in name and "KONG" not in name}
    environ = {**clean, "KONG_AI_TRACING_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    refused = program("run", env=environ)
    assert refused.returncode == 78
    assert "kong-ai-tracing config init --config config.toml writes one" in refused.stderr
    told = program("status", env=environ)
    assert (
        "nothing has run with this state_dir yet: kong-ai-tracing check says what is missing" in told.stdout
    )
    shown = program("checkpoint", "show", env=environ)
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "no file has been read" in shown.stderr


def test_a_closed_pipe_is_quiet(tmp_path):
    """`| head` must not end in a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kong_ai_tracing", "config", "init", "--config", "-"]
    with os.fdopen(writer, "w") as closed:
        result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert result.stderr == ""


def test_the_configuration_may_be_named_by_the_environment(tmp_path):
    """Containers set variables more easily than arguments."""
    path = tmp_path / "config.toml"
    path.write_text('environment = "staging"\n')
    result = invoke("config", "show", KONG_AI_TRACING_CONFIG=str(path))
    assert result.stdout.startswith(f"# {path}\n")
    assert 'environment = "staging"' in result.stdout
