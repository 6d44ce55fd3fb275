"""The configuration: what is accepted, what wins, and what a bad one says."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from kong_ai_tracing.config import ConfigError, Delivery, load, load_config
from kong_ai_tracing.config.keys import KEYS, LIST_KEYS, LISTS
from kong_ai_tracing.config.loading import default_state_dir, find_config_file
from kong_ai_tracing.config.problems import Problem
from kong_ai_tracing.config.template import effective, template
from kong_ai_tracing.config.values import INVALID, Given, convert
from kong_ai_tracing.secret import Secret

LOGS = {"KONG_AI_TRACING_LOG_PATHS": "/var/log/kong-ai/ai.log"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def problems_of(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), environ or {})
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_three_lines_and_keys_in_the_environment_are_enough(tmp_path):
    """The shortest useful file works."""
    path = write(
        tmp_path,
        'log_paths = ["/var/log/kong-ai/ai.log"]\nlangfuse_enabled = true\n'
        'langfuse_endpoint = "https://langfuse.example.com"\n',
    )
    config = load_config(path, {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"})
    assert config.langfuse_public_key is not None
    assert config.langfuse_public_key.reveal() == "pk-lf-1"
    assert config.endpoint.otlp_url == "https://langfuse.example.com/api/public/otel/v1/traces"


def test_no_file_at_all_is_fine_when_the_environment_says_enough():
    """Every key may come from the environment, with the defaults of the Kong plugin for the rest."""
    config = load_config(None, {**LOGS, "KONG_AI_TRACING_DELIVERY_BATCH_MAX_BYTES": "65536"})
    assert config.log_paths == ("/var/log/kong-ai/ai.log",)
    assert config.delivery.batch_max_bytes == 65536
    assert (config.langfuse_enabled, config.langfuse_timeout) == (False, 5000)
    assert config.langfuse_endpoint == "https://cloud.langfuse.com/api/public/ingestion"
    assert (config.environment, config.log_level) == ("production", "info")


@pytest.mark.parametrize("text", ["/a.log,/b*.log", "/a.log, /b*.log", '["/a.log", "/b*.log"]'])
def test_a_list_in_the_environment_is_written_with_commas_or_as_json(text):
    """Both usual notations of a list are understood."""
    assert load_config(None, {"KONG_AI_TRACING_LOG_PATHS": text}).log_paths == ("/a.log", "/b*.log")


def test_our_environment_wins_over_the_file_and_the_file_over_langfuse_variables(tmp_path):
    """The order of the sources is fixed."""
    path = write(tmp_path, 'log_paths = ["/a"]\nlangfuse_endpoint = "https://file.example.com"\n')
    langfuse = {"LANGFUSE_BASE_URL": "https://sdk.example.com", "LANGFUSE_HOST": "https://old.example.com"}
    assert load_config(path, langfuse).langfuse_endpoint == "https://file.example.com"
    assert load_config(None, {**LOGS, **langfuse}).langfuse_endpoint == "https://sdk.example.com"
    ours = {"KONG_AI_TRACING_LANGFUSE_ENDPOINT": "https://ours.example.com", **langfuse}
    assert load_config(path, ours).langfuse_endpoint == "https://ours.example.com"


def test_an_empty_variable_counts_as_not_set():
    """Compose files pass variables that nobody filled in."""
    assert load_config(None, {**LOGS, "KONG_AI_TRACING_RELEASE": ""}).release is None


def test_all_problems_are_told_at_once_each_with_key_value_reason_and_fix(tmp_path):
    """Nobody repairs a file one error at a time."""
    found = problems_of(
        tmp_path,
        'log_paths = ["rel.log"]\nlog_level = "loud"\nlangfuse_timeout = "5s"\n'
        "[delivery]\nbatch_max_bytes = 9999999\n[tailing]\npoll_interval_seconds = nan\n",
        {"KONG_AI_TRACING_GROUPING_TRACE_IDLE_SECONDS": "soon"},
    )
    assert set(found) == {
        "log_paths",
        "log_level",
        "langfuse_timeout",
        "delivery.batch_max_bytes",
        "tailing.poll_interval_seconds",
        "grouping.trace_idle_seconds",
    }
    assert found["langfuse_timeout"] == (
        'langfuse_timeout = "5s"  (from the configuration file)\n'
        "  reason: it must be a whole number at least 100 and at most 600_000\n"
        "  fix: for example langfuse_timeout = 5000"
    )
    assert '"debug", "info", "warn", "error"' in found["log_level"]
    assert "batch_max_bytes = 1_048_576 below [delivery]" in found["delivery.batch_max_bytes"]
    assert "KONG_AI_TRACING_GROUPING_TRACE_IDLE_SECONDS=2.0" in found["grouping.trace_idle_seconds"], (
        "the fix is written for the place where the value was given"
    )


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ('log_paths = "/a/ai.log"', 'log_paths = ["/a/ai.log"]'),
        ('langfuse_enabled = "yes"', "langfuse_enabled = true"),
        ('langfuse_timeout = "7000"', "langfuse_timeout = 7000"),
        ('langfuse_timeout = "5s"', "langfuse_timeout = 5000"),
        ("langfuse_timeout = 1", "langfuse_timeout = 5000"),
        ('[privacy]\nsample_rate = "0.5"', "sample_rate = 0.5 below [privacy]"),
        ('[redaction]\nkinds = ["emails"]', 'did you mean "email"?'),
        ('[redaction]\nkinds = ["qqq"]', "name some of secrets, personal"),
    ],
)
def test_the_fix_of_a_value_is_what_was_meant(tmp_path, text, fix):
    """As far as it shows through: not an example that would do the opposite."""
    [(_, problem)] = problems_of(tmp_path, text, LOGS if "log_paths" not in text else {}).items()
    assert fix in problem


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ('log_path = ["/a"]', "did you mean log_paths?"),
        ("[delivery]\nmax_concurency = 1", "did you mean delivery.max_concurrency?"),
        ("[deliverry]\nmax_concurrency = 1", "did you mean delivery?"),
        ("batch_max_bytes = 65536", "move it below a line [delivery]"),
        ('[delivery]\nlog_level = "info"', "move it above the first line in [brackets]"),
        ("[tailing]\ntrace_idle_seconds = 1", "did you mean grouping.trace_idle_seconds?"),
        ("quux = 1", "config init"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path, text, suggestion):
    """A misspelt key never passes silently."""
    found = problems_of(tmp_path, text, LOGS)
    assert any(suggestion in problem for problem in found.values()), found


def test_an_unknown_variable_is_an_error_but_kubernetes_may_add_its_own(tmp_path):
    """Kubernetes sets KONG_AI_TRACING_PORT and others for a service of that name."""
    found = problems_of(tmp_path, "", {**LOGS, "KONG_AI_TRACING_LOG_LEVL": "info"})
    assert "did you mean KONG_AI_TRACING_LOG_LEVEL?" in found["KONG_AI_TRACING_LOG_LEVL"]
    kubernetes = {
        "KONG_AI_TRACING_PORT": "tcp://10.0.0.1:80",
        "KONG_AI_TRACING_PORT_80_TCP_ADDR": "10.0.0.1",
        "KONG_AI_TRACING_SERVICE_HOST": "10.0.0.1",
    }
    assert load_config(None, {**LOGS, **kubernetes}).log_paths


def test_enabled_without_keys_says_how_to_give_them(tmp_path):
    """The most usual first mistake has a complete answer."""
    found = problems_of(tmp_path, "langfuse_enabled = true", LOGS)
    assert set(found) == {"langfuse_public_key", "langfuse_secret_key"}
    assert "LANGFUSE_PUBLIC_KEY" in found["langfuse_public_key"]
    assert "langfuse_secret_key_file" in found["langfuse_secret_key"]


def test_commands_that_read_or_send_nothing_need_neither_logs_nor_keys(tmp_path):
    """`status` and `backfill` must not ask for what they do not use, nor read a key they cannot."""
    path = write(tmp_path, 'langfuse_enabled = true\nlangfuse_secret_key_file = "/nowhere/key"\n')
    config = load_config(path, {}, needs_logs=False, needs_keys=False)
    assert config.log_paths == ()


def test_the_secret_key_comes_from_a_file_or_a_credential(tmp_path):
    """Keys need not stand in the configuration."""
    key_file = tmp_path / "key"
    key_file.write_text("sk-lf-from-file\n")
    config = load_config(None, {**LOGS, "KONG_AI_TRACING_LANGFUSE_SECRET_KEY_FILE": str(key_file)})
    assert config.langfuse_secret_key is not None
    assert config.langfuse_secret_key.reveal() == "sk-lf-from-file"

    (tmp_path / "secrets_langfuse_secret_key").write_text("sk-lf-from-folder")
    (tmp_path / "langfuse_public_key").write_text("pk-lf-from-credential")
    loaded = load(None, {**LOGS, "CREDENTIALS_DIRECTORY": str(tmp_path), "LANGFUSE_SECRET_KEY": "sk-lf-sdk"})
    assert loaded.config.secrets == ("pk-lf-from-credential", "sk-lf-from-folder")
    assert loaded.sources["langfuse_secret_key"].endswith("secrets_langfuse_secret_key")


@pytest.mark.parametrize("content", [None, "", "\n", "schlüssel"])
def test_a_key_file_that_holds_no_key_is_named_once(tmp_path, content):
    """A broken key file is one problem, not also a missing key."""
    key_file = tmp_path / "key"
    if content is not None:
        key_file.write_text(content)
    text = (
        f'langfuse_enabled = true\nlangfuse_public_key = "pk-lf-1"\nlangfuse_secret_key_file = "{key_file}"\n'
    )
    found = problems_of(tmp_path, text, LOGS)
    assert set(found) == {"langfuse_secret_key_file"}
    assert str(key_file) in found["langfuse_secret_key_file"]


def test_a_key_and_a_key_file_in_the_same_place_contradict_each_other(tmp_path):
    """Two answers to one question are not guessed at."""
    found = problems_of(tmp_path, 'langfuse_secret_key = "sk-lf-1"\nlangfuse_secret_key_file = "/k"\n', LOGS)
    assert "keep only one" in found["langfuse_secret_key_file"]


def test_keys_are_never_printed(tmp_path):
    """Neither a configuration, nor `config show`, nor any error shows a key."""
    hidden = "d34db33f"
    environ = {**LOGS, "LANGFUSE_PUBLIC_KEY": f"pk-lf-{hidden}", "LANGFUSE_SECRET_KEY": f"sk-lf-{hidden}"}
    loaded = load(None, environ)
    assert hidden not in f"{loaded} {loaded!r} {effective(loaded)}"

    found = problems_of(
        tmp_path,
        f'langfuse_secretkey = "sk-lf-{hidden}"\nlangfuse_secret_key = ["{hidden}"]\n'
        f'langfuse_public_key = "sk-lf-{hidden}"\nlangfuse_endpoint = "https://user:{hidden}@example.com"\n'
        f'[secrets]\nmine = "{hidden}"\n',
        {**LOGS, "KONG_AI_TRACING_LANGFUSE_SECRET": f"sk-lf-{hidden}"},
    )
    assert len(found) == 6, found
    assert hidden not in "".join(found.values())


@pytest.mark.parametrize("name", ["langfuse_public_key", "langfuse_secret_key"])
@pytest.mark.parametrize("text", ["with blank", "with:colon", "schlüssel"])
def test_a_key_that_langfuse_could_not_read_is_refused(tmp_path, name, text):
    """Langfuse splits at the colon; blanks and quotes come from copying."""
    assert name in problems_of(tmp_path, f'{name} = "{text}"', LOGS)


@pytest.mark.parametrize(("given", "better"), [("Prod Env.1", "prod-env-1"), ("langfuse-prod", "prod")])
def test_an_environment_that_langfuse_would_drop_is_refused_with_a_better_one(tmp_path, given, better):
    """Langfuse files an odd name under `default` without a word."""
    assert f'"{better}"' in problems_of(tmp_path, f'environment = "{given}"', LOGS)["environment"]


def test_clear_text_http_outside_private_networks_needs_the_explicit_switch(tmp_path):
    """Prompts do not cross the internet in clear text by accident."""
    line = 'langfuse_endpoint = "http://langfuse.example.com"\n'
    assert "https://langfuse.example.com" in problems_of(tmp_path, line, LOGS)["langfuse_endpoint"]
    allowed = write(tmp_path, line + "[delivery]\nallow_insecure_http = true\n")
    assert load_config(allowed, LOGS).endpoint.is_clear_text


def test_values_must_fit_each_other(tmp_path):
    """An outbox smaller than a batch, or a hold shorter than the idle time, cannot work."""
    found = problems_of(
        tmp_path,
        "[delivery]\noutbox_max_bytes = 65536\n[grouping]\ntrace_hold_seconds = 1\n"
        '[[destination]]\nname = "a"\nlangfuse_public_key = "pk"\nlangfuse_secret_key = "sk"\n'
        "outbox_max_bytes = 70000\n",
        LOGS,
    )
    assert set(found) == {
        "delivery.outbox_max_bytes",
        "destination[1].outbox_max_bytes",
        "grouping.trace_hold_seconds",
    }


@pytest.mark.parametrize(
    "key",
    [*KEYS.values(), *(key for keys in LIST_KEYS.values() for key in keys.values())],
    ids=lambda key: key.name,
)
def test_every_key_takes_its_own_example(key):
    """What the documentation shows for a key is accepted, ranges of keys that may be left out included."""
    if key.example is None:
        return
    problems: list[Problem] = []
    value = json.loads(json.dumps(key.example, default=str))
    assert convert(key, Given(value, "a test"), problems) is not INVALID, problems


@pytest.mark.parametrize(
    ("table", "key"),
    [("destination", "outbox_max_bytes"), ("price", "input_cached"), ("price", "output_reasoning")],
)
def test_a_number_that_may_be_left_out_has_its_range(table, key):
    """A value out of range is told with the range, whether the key has a default or none."""
    problems: list[Problem] = []
    assert convert(LIST_KEYS[table][key], Given(-1, "a test"), problems) is INVALID
    assert "at least" in str(problems[0])


@pytest.mark.parametrize("content", [b"log_paths = /a", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_says_where(tmp_path, content):
    """A broken file is a problem like any other, without a traceback."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(path, LOGS)


def test_a_byte_order_mark_is_no_problem(tmp_path):
    """Some editors put one in front."""
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbflog_paths = ["/a"]')
    assert load_config(path, {}).log_paths == ("/a",)


def test_a_named_file_that_is_missing_is_an_error_but_no_file_is_not(tmp_path):
    """Whoever names a file means it."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nowhere.toml", LOGS)
    named = {"KONG_AI_TRACING_CONFIG": str(tmp_path / "other.toml")}
    assert find_config_file(named) == tmp_path / "other.toml"
    with pytest.raises(ConfigError, match=r"other\.toml"):
        load_config(None, {**LOGS, **named})


def test_the_state_directory_follows_systemd_then_the_system_then_the_user(tmp_path, monkeypatch):
    """Each way of starting finds a directory of its own."""
    assert default_state_dir({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_state_dir({}, system_dir=tmp_path) == tmp_path
    missing = tmp_path / "missing"
    assert default_state_dir({"XDG_STATE_HOME": "/x"}, missing) == Path("/x/kong-ai-tracing")
    assert default_state_dir({"HOME": "/h"}, missing) == Path("/h/.local/state/kong-ai-tracing")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state_dir({}, missing) == missing


def test_the_template_is_valid_and_holds_every_key_with_its_default(tmp_path):
    """`config init` writes a file that works, and taking any '#' away changes nothing."""
    text = template()
    assert load_config(write(tmp_path, text), {}).log_paths == ("/var/log/kong-ai/ai.log",)
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and (line[1:2].isalpha() or line[1:2] == "[") else line
        for line in text.splitlines()
    )
    document = tomllib.loads(uncommented)
    flat = {
        f"{table}.{key}" if table else key
        for table, keys in [("", document), *((t, v) for t, v in document.items() if isinstance(v, dict))]
        for key, value in keys.items()
        if not isinstance(value, dict) and key not in LISTS
    }
    assert flat == set(KEYS)
    assert {name: set(document[name][0]) for name in LISTS} == {n: set(keys) for n, keys in LIST_KEYS.items()}
    assert document["delivery"] == {name: getattr(Delivery(), name) for name in Delivery.__struct_fields__}, (
        "what is written is the default"
    )


def test_what_config_show_prints_is_a_configuration_again(tmp_path):
    """The effective configuration can be kept as a file."""
    loaded = load(
        None, {**LOGS, "KONG_AI_TRACING_RELEASE": 'a "quoted" one', "KONG_AI_TRACING_STATE_DIR": "/s"}
    )
    text = effective(loaded)
    assert 'release = "a \\"quoted\\" one"  # KONG_AI_TRACING_RELEASE' in text
    assert load_config(write(tmp_path, text), {}) == loaded.config


def test_every_key_has_a_description_and_a_variable_of_its_own():
    """The list of settings is the documentation."""
    assert all(key.meta.description for key in KEYS.values())
    assert len({key.variable for key in KEYS.values()}) == len(KEYS)


def test_the_example_in_the_documentation_works(tmp_path):
    """What a reader copies is accepted."""
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"}
    assert load_config(write(tmp_path, example), keys).langfuse_enabled


PROJECT = """
log_paths = ["/l"]
[[destination]]
name = "team-a"
service = "a-*"
langfuse_public_key = "pk-lf-a"
langfuse_secret_key = "sk-lf-a"
[[destination]]
name = "team-b"
service = ["b", "c"]
"""


def test_a_table_may_stand_several_times(tmp_path):
    """Each is read by itself; one text is as good as a list of one."""
    config = load_config(write(tmp_path, PROJECT), {}, needs_keys=False)
    assert [(each.name, each.service) for each in config.destination] == [
        ("team-a", ("a-*",)),
        ("team-b", ("b", "c")),
    ]
    assert "sk-lf-a" in config.secrets


def test_such_tables_may_come_from_the_environment():
    """As JSON, because a variable has no tables."""
    config = load_config(None, {**LOGS, "KONG_AI_TRACING_RULE": '[{"route": "r", "content": "hashed"}]'})
    assert [(rule.route, rule.content) for rule in config.rule] == [(("r",), "hashed")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[[destination]]\nname = "a"', "destination[1].langfuse_public_key"),
        ('[[destination]]\nname = "a"\nlangfuse_endpoint = "ftp://x"', "destination[1].langfuse_endpoint"),
        (
            '[[destination]]\nname = "a"\nlangfuse_public_key = "sk-lf-1"',
            "destination[1].langfuse_public_key",
        ),
        ('[[destination]]\nname = "a"\n[[destination]]\nname = "a"', "destination[2].name"),
        ('[[rule]]\nenvironment = "Prod"', "rule[1].environment"),
        ('[[provider]]\ndialect = "chatt"', "provider[1].dialect"),
    ],
)
def test_such_tables_keep_to_the_same_rules_as_the_top_level(tmp_path, text, key):
    """Keys, addresses and labels are held to the same rules, whoever has them."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, 'log_paths = ["/l"]\n' + text), {})
    assert key in [problem.key for problem in caught.value.problems]


def test_the_keys_of_a_project_come_from_its_own_file_or_credential(tmp_path):
    """A credential carries the project's name, so that no project gets another one's key."""
    (tmp_path / "langfuse_secret_key.team-b").write_text("sk-lf-b\n")
    (tmp_path / "langfuse_public_key.team-b").write_text("pk-lf-b\n")
    config = load_config(write(tmp_path, PROJECT), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    second = config.destination[1]
    assert (second.langfuse_public_key, second.langfuse_secret_key) == (Secret("pk-lf-b"), Secret("sk-lf-b"))


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('[[rule]]\ncontent = "al"', "rule[1].content", '"full", "metadata", "hashed"'),
        ('[[rule]]\ncontnt = "full"', "rule[1].contnt", "content"),
        ('[rule]\ncontent = "full"', "rule", "[[rule]]"),
        ("[[price]]\ninput = 1", "price[1].model", "it must be given"),
        ('[[price]]\nmodel = "m"\ninput = -1', "price[1].input", "at least 0"),
        ('[[destination]]\nname = "A b"', "destination[1].name", "form"),
        ('[[destination]]\nservice = "x"', "destination[1].name", "it must be given"),
        ('[[provider]]\nservice = 1\nprovider = "x"', "provider[1].service", "a text or a list"),
    ],
)
def test_what_is_wrong_in_such_a_table_is_said_with_its_number(tmp_path, text, key, hint):
    """Key, value, reason and fix, as for every other setting."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, 'log_paths = ["/l"]\n' + text), {}, needs_keys=False)
    found = [problem for problem in caught.value.problems if problem.key == key]
    assert found, str(caught.value)
    assert hint in str(found[0])


def test_a_mapping_may_come_from_the_environment_too(tmp_path):
    """As a list with commas; an empty JSON list turns a field off."""
    environ = {
        "KONG_AI_TRACING_MAPPING_USER_ID": "kong,default",
        "KONG_AI_TRACING_MAPPING_ENVIRONMENT": "[]",
    }
    mapping = load_config(None, {**LOGS, **environ}).mapping
    assert (mapping.user_id, mapping.environment, mapping.tags) == (("kong", "default"), (), ("default",))


def test_a_word_of_a_mapping_that_names_no_place_is_refused(tmp_path):
    """Each one is told with its key, the reason and a way to write it."""
    text = (
        '[mapping]\nuser_id = ["x-user-id", "default"]\nmetadata = ["header x-api-key"]\nsession = ["kong"]'
    )
    problems = problems_of(tmp_path, text)
    assert 'write "header x-user-id"' in problems["mapping.user_id"]
    assert "password" in problems["mapping.metadata"]
    assert "mapping.session_id" in problems["mapping.session"]
