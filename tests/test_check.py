"""`check` as a whole: findings, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kong_ai_tracing import check, commands
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.checks.logshape import check_log_shape
from kong_ai_tracing.config import Config
from kong_ai_tracing.operatorrules import ProviderRule

FIXTURES = Path(__file__).parent / "fixtures" / "kong"


def shape(path: Path, **settings) -> dict[str, Finding]:
    found = check_log_shape(Surroundings(Config(log_paths=(str(path),), **settings), {}))
    return {finding.id: finding for finding in found}


def bytes_read() -> int:
    """By this process, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_log_with_bodies_is_fine(tmp_path):
    """Nothing is said against ai-proxy with both logging switches on."""
    log = tmp_path / "ai.log"
    log.write_bytes((FIXTURES / "ai-proxy-chat-openai.jsonl").read_bytes().splitlines()[0] + b"\n")
    assert {id_: finding.severity for id_, finding in shape(log).items()} == {"shape.ai_calls": "ok"}


def test_missing_payloads_are_told_with_the_switch_that_brings_them():
    """The most usual reason for empty traces."""
    found = shape(FIXTURES / "real-gateway" / "aichat-stats.jsonl")
    assert "logging.log_payloads=true" in found["shape.no_payloads"].fix


def test_a_log_without_ai_traffic_and_a_log_that_is_not_kongs_are_told_apart(tmp_path):
    """One needs another plugin setting, the other another path."""
    assert set(shape(FIXTURES / "non-ai-traffic.jsonl")) == {"shape.no_ai_calls"}
    access_log = tmp_path / "access.log"
    access_log.write_text('127.0.0.1 - - [23/Nov/2026] "GET / HTTP/1.1" 200 5\n')
    assert shape(access_log)["shape.not_kong"].severity == "error"


def test_what_the_operator_says_of_providers_holds_here_too():
    """Else the calls of a named server would be reported missing."""
    found = shape(FIXTURES / "non-ai-traffic.jsonl", provider=(ProviderRule(provider="acme"),))
    assert "shape.ai_calls" in found
    silent = shape(FIXTURES / "ai-proxy-chat-openai.jsonl", provider=(ProviderRule(ai=False),))
    assert set(silent) == {"shape.no_ai_calls"}


def test_an_empty_log_and_an_unfinished_line_are_no_problem(tmp_path):
    """A line in the making is not judged."""
    log = tmp_path / "ai.log"
    log.write_text('{"request":')
    assert set(shape(log)) == {"shape.empty"}


def test_only_the_end_of_the_newest_file_is_read(tmp_path):
    """A log of many gigabytes is checked at once."""
    line = (FIXTURES / "ai-proxy-chat-openai.jsonl").read_bytes().splitlines()[0]
    log = tmp_path / "ai.log"
    log.write_bytes(b"x" * (9 << 20) + b"\n" + (line + b"\n") * 300)
    assert shape(log)["shape.ai_calls"].what.endswith("200 AI calls in the last 200 lines")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([("a", "ok")], 0),
        ([("a", "warning")], 0),
        ([("log.unreadable", "error")], 3),
        ([("langfuse.unreachable", "error"), ("a", "warning")], 4),
        ([("langfuse.unreachable", "error"), ("log.unreadable", "error")], 3),
    ],
)
def test_the_exit_code_says_where_the_problem_is(findings, code):
    """Monitors read only the code."""
    assert check.exit_code([Finding(id_, severity, "") for id_, severity in findings]) == code


def test_the_whole_check_runs_and_says_the_same_in_text_and_json(tmp_path, capsys):
    """Local mode, a good log, a private state directory: no error."""
    tmp_path.chmod(0o700)
    log = tmp_path / "ai.log"
    log.write_bytes((FIXTURES / "ai-proxy-chat-openai.jsonl").read_bytes())
    config = tmp_path / "config.toml"
    config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{tmp_path}/state"\n')
    assert check.run(config, {}, offline=False, as_json=False) == 0
    text = capsys.readouterr().out
    assert "0 errors" in text
    assert "local store on this machine" in text
    assert check.run(config, {}, offline=False, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"id": "langfuse.disabled", "severity": "ok"}.items() <= document["findings"][-1].items()


def test_a_bad_configuration_is_findings_too(tmp_path, capsys):
    """Programs get JSON even then."""
    config = tmp_path / "config.toml"
    config.write_text('log_level = "loud"\n')
    assert check.run(config, {}, offline=True, as_json=True) == 78
    document = json.loads(capsys.readouterr().out)
    assert {finding["id"] for finding in document["findings"]} == {"config.invalid"}


def test_a_key_in_a_configuration_that_everybody_can_read_is_told(open_folder):
    """The key is worth more than the file."""
    config = open_folder / "config.toml"
    config.write_text('log_paths = ["/a"]\nlangfuse_secret_key = "sk-lf-hush"\n')
    loaded = check.load(config, {})
    for mode, expected in ((0o644, ["config.valid", "config.secret_readable"]), (0o640, ["config.valid"])):
        config.chmod(mode)
        found = list(check.check_configuration(Surroundings(loaded.config, {}, loaded.path)))
        assert [finding.id for finding in found] == expected
        assert "hush" not in str(found)


def test_without_any_configuration_the_next_step_is_to_write_one(tmp_path, capsys):
    """`config init` asks nothing; this is where a new user hears of it."""
    assert check.run(None, {"KONG_AI_TRACING_CONFIG": ""}, offline=True, as_json=False) == 78
    assert "next: kong-ai-tracing config init --config config.toml" in capsys.readouterr().out
    missing = tmp_path / "nowhere.toml"
    assert check.run(missing, {}, offline=True, as_json=True) == 78
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["what"] == f"--config = {missing}"


def test_each_check_leads_one_step_nearer_to_the_first_trace(tmp_path, capsys):
    """No folder, no log, no call, no daemon: one thing at a time."""
    log = tmp_path / "kong" / "ai.log"
    config = tmp_path / "config.toml"
    config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{tmp_path}/state"\n')
    commands.use_config(config)

    def next_step() -> str:
        check.run(config, {}, offline=True, as_json=False)
        return capsys.readouterr().out.splitlines()[-1]

    assert next_step() == "next: mend the errors from top to bottom, then check again"
    log.parent.mkdir(mode=0o700)
    assert next_step() == "next: send an AI call through Kong, then check again"
    log.write_bytes((FIXTURES / "ai-proxy-chat-openai.jsonl").read_bytes())
    preview = f"kong-ai-tracing preview {log} --config {config}"
    assert next_step().startswith(f"next: kong-ai-tracing run --config {config}; {preview} ")


def test_what_is_fine_is_one_line_and_what_is_not_has_reason_fix_and_command():
    """People read the marks at the left."""
    fine = Finding("a", "ok", "all is well", "because", "do that", "rm x")
    bad = Finding("b", "error", "it is broken", "because", "do that", "rm x")
    assert check.as_text([fine]).splitlines()[:2] == [
        "ok       all is well",
        "         to change it: do that",
    ]
    assert check.as_text([bad]).splitlines()[:4] == [
        "ERROR    it is broken",
        "         why: because",
        "         fix: do that",
        "         run: rm x",
    ]


def test_a_healthy_host_gets_no_warning_and_its_long_log_is_not_read_through(tmp_path, capsys):
    """Everything at once, through the real front door."""
    tmp_path.chmod(0o700)
    log = tmp_path / "ai.log"
    line = (FIXTURES / "ai-proxy-chat-openai.jsonl").read_bytes().splitlines()[0] + b"\n"
    log.write_bytes(line * 20_000)
    (tmp_path / "ai.log.1").touch(mode=0o600)  # it is rotated
    config = tmp_path / "config.toml"
    config.write_text(f'log_paths = ["{log}"]\nstate_dir = "{tmp_path}/state"\n')
    before = bytes_read()
    assert check.run(config, {}, offline=False, as_json=True) == 0
    assert bytes_read() - before < 10 << 20 < log.stat().st_size
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {one["id"] for one in found if one["severity"] != "ok"} <= {"log.in_tmp"}
