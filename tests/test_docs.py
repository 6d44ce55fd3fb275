"""The documentation says what is so: its commands, settings, tests, faults and links exist.

The tables that are made from the code are written anew with UPDATE_DOCS=1.
"""

from __future__ import annotations

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import NODEFAULT

from kong_ai_tracing import __version__
from kong_ai_tracing.config import load_config
from kong_ai_tracing.config.keys import KEYS, LIST_KEYS, LISTS, Key
from kong_ai_tracing.config.tomltext import toml
from kong_ai_tracing.matching import Match
from test_cli import COMMANDS, GROUPS, invoke

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs/configuration.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks/README.md",
    ROOT / "kong/README.md",
]
FAULTS = ROOT / "docs" / "faults.md"
PACKAGE = ROOT / "agent" / "kong_ai_tracing"

_COVERS = re.compile(r"# covers ((?:[A-Z]{3}-\d\d(?:, )?)+)")
_FAULT_ROW = re.compile(r"^\| ([A-Z]{3}-\d\d) \| (.*?) \| (.*) \|$", re.MULTILINE)
_TEST_NAME = re.compile(r"tests/(test_\w+)\.py::(test_\w+)")
_COMMAND = re.compile(r"(?:`|bin/)kong-ai-tracing ([a-z-]+)((?: [^|&#`\n]+)?)")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def check(path: Path, text: str) -> None:
    """The document must be this text; with UPDATE_DOCS=1 it becomes it."""
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(text)
    assert path.read_text() == text, f"UPDATE_DOCS=1 python -m pytest {Path(__file__).name} writes it anew"


def known_tests() -> dict[str, str]:
    """The source of every test, by `module::name`."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
                found[f"{path.stem}::{node.name}"] = "\n".join(lines)
    return found


def fenced(text: str, language: str) -> list[str]:
    """The blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


# -- the README


def test_the_readme_opens_with_two_commands_that_exist():
    """Whoever has just cloned the repository types these two."""
    opening = README.read_text().split("```")[1]
    assert re.findall(r"^make (\S+)", opening, re.MULTILINE) == ["demo", "test"]
    assert "`git`, `make`, `python3` and `python3-venv`" in README.read_text().split("```")[2]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_in_the_documentation_exists(document):
    """A command in a document can be typed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= targets


def test_the_three_lines_of_the_readme_are_a_configuration(tmp_path):
    """What a reader copies is accepted, with the keys in the environment as the README exports them."""
    [example] = fenced(README.read_text(), "toml")
    assert len(example.splitlines()) == 3
    path = tmp_path / "config.toml"
    path.write_text(example)
    [exports] = re.findall(r"^export (.*)", README.read_text(), re.MULTILINE)
    config = load_config(path, dict(pair.split("=", 1) for pair in exports.split()))
    assert config.langfuse_enabled
    assert config.endpoint.otlp_url == "https://langfuse.example.com/api/public/otel/v1/traces"


def test_the_tables_of_settings_are_those_of_the_program():
    """Every key with its default and its reason, and no other. UPDATE_DOCS=1 writes them anew."""
    head = ["| key | default | what it is for |", "|---|---|---|"]
    keys = [*head, *map(setting, KEYS.values())]
    lists: list[str] = []
    for name, table in LISTS.items():
        own = [key for key in LIST_KEYS[name].values() if key.key not in Match.__struct_fields__]
        lists += [f"### [[{name}]]", "", " ".join((table.__doc__ or "").split()), "", *head]
        lists += [*map(setting, own), ""]
    fields = [LIST_KEYS["rule"][name] for name in Match.__struct_fields__]
    lists += ["### Which calls", "", f"{LISTS_WITH_PLACE} are for the calls that all of these keys fit:", ""]
    lists += [*head, *map(setting, fields)]
    text = between(CONFIGURATION.read_text(), "keys", "\n".join(keys))
    check(CONFIGURATION, between(text, "lists", "\n".join(lists)))


LISTS_WITH_PLACE = ", ".join(f"`[[{name}]]`" for name, keys in LIST_KEYS.items() if "service" in keys)


def setting(key: Key) -> str:
    """A row of the table."""
    default = "required" if key.default is NODEFAULT else f"`{toml(key.default)}`"
    name = key.key if key.in_list else key.name
    return f"| `{name}` | {'not set' if key.default is None else default} | {key.meta.description} |"


def between(text: str, mark: str, new: str) -> str:
    """The text with something else between two marks."""
    before, _, rest = text.partition(f"<!-- {mark}:begin -->")
    after = rest.partition(f"<!-- {mark}:end -->")[2]
    return f"{before}<!-- {mark}:begin -->\n\n{new}\n\n<!-- {mark}:end -->{after}"


def test_the_example_of_the_configuration_is_one(tmp_path):
    """What a reader copies is accepted."""
    [example] = fenced(CONFIGURATION.read_text(), "toml")
    (tmp_path / "config.toml").write_text(example.replace("/etc/kong-ai-tracing/secrets", str(tmp_path)))
    (tmp_path / "team-a").write_text("sk-lf-a")
    environ = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"}
    assert load_config(tmp_path / "config.toml", environ).destination[0].workspace == ("team-a",)


# -- commands


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """Name (with its subcommand) and the rest of each command of ours in a document."""
    for name, rest in _COMMAND.findall(text):
        sub, _, more = rest.strip().partition(" ")
        yield (f"{name} {sub}", more) if [name, sub] in COMMANDS else (name, rest)
    for row in re.findall(r"^\| (`.*?`) \| ", text, re.MULTILINE):
        for words in re.findall(r"`([a-z-]+(?: [a-z]+)?)( .*?)?`", row):
            if words[0].split()[0] in {command[0] for command in COMMANDS if command}:
                yield words


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/cli.md", "docs/delivery.md", "docs/operations.md", "CHANGELOG.md", "kong/README.md"],
)
def test_every_command_in_the_documentation_works(name):
    """Commands exist, and so do the options that stand with them."""
    found = list(commands_in((ROOT / name).read_text().replace("\\|", "|")))
    for command, rest in found:
        help_text = invoke(*command.split(), "--help")
        assert help_text.exit_code == 0, command
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text.stdout, f"{command} {option}"
    if name in ("README.md", "docs/cli.md"):
        mentioned = {command for command, _ in found}
        assert {" ".join(command) for command in COMMANDS if command} - mentioned <= GROUPS


# -- delivery and faults


def test_every_test_named_in_the_documentation_exists():
    """A promise without its test is only a wish."""
    known = known_tests()
    promises = (ROOT / "docs" / "delivery.md").read_text()
    named = ["::".join(pair) for pair in _TEST_NAME.findall(promises)]
    assert [name for name in named if name not in known] == []


def test_every_promise_names_a_test():
    """Each numbered sentence has one, and the numbers are in order."""
    promises = (ROOT / "docs" / "delivery.md").read_text().split("## Bounds")[0]
    sentences = re.split(r"^(\d+)\. ", promises, flags=re.MULTILINE)[1:]
    assert [int(number) for number in sentences[::2]] == list(range(1, len(sentences) // 2 + 1))
    assert [text for text in sentences[1::2] if not _TEST_NAME.search(text)] == []


def test_the_table_of_faults_names_the_tests_that_provoke_them():
    """Every `# covers` in a test is a fault of the table. UPDATE_DOCS=1 writes the last column anew."""
    covering = defaultdict(list)
    for name, source in known_tests().items():
        for ids in _COVERS.findall(source):
            for fault in ids.split(", "):
                covering[fault].append(name)
    text = FAULTS.read_text()
    ids = [row[0] for row in _FAULT_ROW.findall(text)]
    assert len(ids) == len(set(ids))
    assert set(covering) - set(ids) == set()

    def row(match: re.Match[str]) -> str:
        tests = ", ".join(f"`{name}`" for name in dict.fromkeys(covering[match[1]])) or "-"
        return f"| {match[1]} | {match[2]} | {tests} |"

    check(FAULTS, _FAULT_ROW.sub(row, text))


def test_every_setting_named_in_the_documentation_exists():
    """`delivery.outbox_max_bytes` and its like are keys."""
    tables = "|".join({key.table for key in KEYS.values() if key.table})
    for document in DOCUMENTS:
        for name in re.findall(rf"`((?:{tables})\.[a-z_]+)", document.read_text()):
            assert name in KEYS or (PACKAGE / name.replace(".py", "")).with_suffix(".py").exists(), (
                document.name,
                name,
            )


# -- the rest


def test_the_changelog_knows_this_version():
    """The newest section is that of the program."""
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == __version__


def test_the_architecture_names_every_module():
    """A new module has its line; one that is gone leaves."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("## The steps")[1].split("\n\nImports")[0]
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([a-z]+(?:\.py|/))`", cell)}
    assert named == modules | packages


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document):
    """Files and headings; addresses elsewhere are not asked."""
    for target, heading in _LINK.findall(document.read_text()):
        if target.startswith("http"):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in slugs, f"{target}#{heading}"
