"""The one-way rule: a step imports what it consumes and nothing downstream."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import kong_ai_tracing

PACKAGE = Path(kong_ai_tracing.__file__).parent

# From the first byte to the last command. A module may import only what stands before it.
ORDER = """
    errors commands threads memory ids times jsontext excerpts quantities secret endpoint listenaddress
    outcomes
    archivefiles remotestores remotefiles
    lines identity notices patterns streams copies streamtable rotationrisk missing settling
    newcomers catalog compressed writealarm files watcher
    entries matching operatorrules ruling pricing awsframes bodies eventstreams usage
    payloads sections providers
    observations labels contextsources mapping traceids places offers tracekeys
    optouts context levels timing facts readings
    rpc retries guardrails gatewayobjects
    mediatypes mediaruns media
    calls selection selectionnotes redaction redact withholding privacy protection spans tracememory traces
    tracejson shortening repair otlp
    progress batches mounts statedir storeschema storerows storesteps storefiles storestatus storerefused
    storemedia walcheck storetrouble store storesalvage storerepair pace backoff gate sending
    transports httpclient answers ingestion
    localrecords localsearch localsummary localschema localstore langfuse local
    mediaclient throttle ledger uploads outgoing company settlement deliveryhealth spilling delivery
    gathering logtime waits linereader heldcalls alone pipeline
    archivelooks archives archivepaths
    config projects signals logs assembly
    statussentence sdnotify heartbeat
    lineworker lineprocesses tree progressbar service vitals following checks statusreport status statuspage
    runaccount daemon cluster backfillaccount backfill preview check statustext topsamples topscreen top
    states refusedbodies refusedtext refused checkpoint view demolines demostory demo
    verifyreport verifytext verify
    kong kongcommand
    commandline deliveryoptions statecommands configcommands cli __main__
""".split()  # noqa: SIM905 - it reads as the way does

HEAVY = {
    *("rich", "pygments", "click"),
    *("starlette", "uvicorn", "jinja2", "prometheus_client"),
    "httpx",  # comes with Langfuse
    *("watchdog", "zstandard", "backports", "lz4", "brotli"),
    *("distributed", "dask", "fsspec", "aiohttp"),
    *("numpy", "requests", "urllib3", "yaml", "multiprocessing"),
}
"""What the daemon must not load, at least not before it is asked for something that needs it."""


def module_of(path: Path) -> str:
    """The name in ORDER under which a file counts: its top-level module or subpackage."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "kong_ai_tracing":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kong_ai_tracing."):
            names.add((node.module or "").split(".")[1])
    return names - {"__version__"}


def files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE]


def test_every_module_has_its_place_on_the_way() -> None:
    """A new module is put into the order, so that its direction is decided once."""
    assert {module_of(path) for path in files()} <= set(ORDER)


def test_imports_point_one_way() -> None:
    """No module imports anything that stands after it."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files()
        for name in imported_modules(path)
        if name != module_of(path) and ORDER.index(name) > ORDER.index(module_of(path))
    ]
    assert wrong == []


def test_no_step_reads_the_configuration() -> None:
    """Steps are handed the few values they need."""
    first_reader = ORDER.index("config")
    for path in files():
        if ORDER.index(module_of(path)) < first_reader:
            assert "config" not in imported_modules(path), path


def test_the_daemon_loads_nothing_that_it_does_not_need() -> None:
    """What serves a command, a page, an archive or another library's command line stays out of memory."""
    loaded = loaded_by("kong_ai_tracing.cli, kong_ai_tracing.daemon")
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_httpx_does_not_bring_its_command_line_program() -> None:
    """It would bring rich, pygments and click, however early or late it is loaded."""
    assert not {"httpx._main", "rich", "click", "pygments"} & loaded_by("kong_ai_tracing, httpx")


def loaded_by(imported: str) -> set[str]:
    """The modules that a new process has after it."""
    code = f"import sys, {imported}; print(*(name for name, module in sys.modules.items() if module))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())
