# Everything a person or CI does with this checkout. Needs make and Python 3.11 or newer with venv;
# all the rest goes into .venv from the hash-locked lists.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' agent/kong_ai_tracing/__init__.py)
DEB_ARCHITECTURE := $(shell dpkg --print-architecture 2>/dev/null)
DEB_ARCHITECTURES ?= $(DEB_ARCHITECTURE)
DEB := dist/kong-ai-tracing_$(VERSION)_$(DEB_ARCHITECTURE).deb
WHEEL := dist/kong_ai_tracing-$(VERSION)-py3-none-any.whl

.DEFAULT_GOAL := help
.PHONY: test-service help demo test fuzz storm storms soak kill-matrix check lint format bench bench-redaction bench-view bench-cluster screenshots deb wheel test-deb release-check \
	setup setup-dev lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: setup ## tail a made-up Kong log and show its traces; no account, no network
	$(BIN)/kong-ai-tracing demo

test: setup-dev ## run the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

storm: setup-dev ## kill it at random for some minutes, under rotation and outages; print what was lost
	$(BIN)/python tests/storm.py $(STORM_ARGS)
	$(BIN)/python tests/storm.py --shared $(STORM_ARGS)

storms: setup-dev ## the same with a second project, reloads, a full outbox, other forms, a backfill beside it; and with deletions
	for extra in second,reload,config,forms cap,reload drop,config past,config,forms; do \
		$(BIN)/python tests/storm.py --with $$extra $(STORM_ARGS) || exit 1; done
	for how in "" --shared "--with reload,cap,second" "--with reload,disk" "--stops --with reload" "--stops --shared --with reload"; do \
		$(BIN)/python tests/storm_deletions.py $$how $(DELETIONS_ARGS) || exit 1; done

soak: setup-dev ## let it run for an hour (SOAK_MINUTES) under rotation, bursts and outages; print what it took
	$(BIN)/python tests/soak.py --minutes $(or $(SOAK_MINUTES),60)

kill-matrix: setup-dev ## kill it at every named point of its way, at several passings of each
	KILL_MATRIX_TIMES=1,2,3,5,8 $(BIN)/python -m pytest -q tests/test_kill_matrix.py

fuzz: setup-dev ## look for bodies that break a reader, for some minutes, guided by coverage
	$(PIP) --require-hashes -r requirements-fuzz.lock
	PYTHONPATH=tests $(BIN)/python tests/fuzz_readers.py -max_total_time=$(or $(FUZZ_SECONDS),240)

check: lint test ## format, lint, strict types, tests

lint: setup-dev ## the static part of check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup-dev ## put the code into its form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: setup-dev ## measure throughput beside a plain script
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

bench-redaction: setup-dev ## measure what redaction costs, what it misses and what it takes for a secret wrongly
	$(BIN)/python benchmarks/redaction.py $(BENCH_ARGS)

bench-view: setup-dev ## measure how quickly the viewer answers over a million calls; takes a quarter of an hour
	$(BIN)/python benchmarks/view.py $(BENCH_ARGS)

bench-cluster: setup-dev ## measure what workers of a Dask cluster on this machine bring a backfill
	PYTHONPATH=tests $(BIN)/python benchmarks/cluster.py $(BENCH_ARGS)

screenshots: setup-dev ## make the pictures of the viewer anew; wants chromium
	PYTHONPATH=tests:tests/view $(BIN)/python tests/view/screenshots.py

setup: $(VENV)/.installed ## install into .venv

setup-dev: $(VENV)/.installed-dev ## the same with the tools for developing

$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

lock: ## resolve the four lists anew, as of today
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/uv/bin/$(LOCK) --universal --upgrade --extra view -o requirements.lock pyproject.toml
	build/uv/bin/$(LOCK) --upgrade -o requirements-build.lock --group build
	build/uv/bin/$(LOCK) --upgrade -o requirements-dev.lock -c requirements.lock --extra view pyproject.toml --group dev
	build/uv/bin/$(LOCK) --upgrade -o requirements-fuzz.lock --group fuzz

test-service: setup-dev ## boot a Debian with systemd and try the service in it; SCENARIOS=all for the rest
	SERVICE_SCENARIOS=$(or $(SCENARIOS),quick) $(BIN)/python -m pytest -q -rs tests/test_systemd.py

deb: setup ## build the Debian package of what is committed
	@mkdir -p build/wheels dist
	@for architecture in $(DEB_ARCHITECTURES); do \
		$(BIN)/python packaging/deb/wheels.py requirements.lock $$architecture build/wheels/$$architecture && \
		packaging/deb/build.sh $$architecture build/wheels dist || exit 1; \
	done

wheel: setup ## build the wheel of what is committed
	rm -rf build/wheel
	mkdir -p build/wheel dist
	git archive HEAD | tar -x -C build/wheel
	cd build/wheel && ../../$(BIN)/python -m hatchling build -t wheel -d ../../dist

test-deb: setup-dev deb ## build the Debian package and try it on a booted Debian 12; wants root
	DEB=$(DEB) $(BIN)/python -m pytest tests/packaging

release-check: setup-dev wheel ## the same on Debian 12 and 13, for both architectures, and the wheel
	$(MAKE) deb DEB_ARCHITECTURES="amd64 arm64"
	RELEASE_CHECK=1 DEB=$(DEB) WHEEL=$(WHEEL) $(BIN)/python -m pytest tests/packaging

clean: ## remove what was built, not .venv
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
