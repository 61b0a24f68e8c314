# make install | run | test | check | bench — on Debian 12 with python3, python3-venv and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv
STAMPS := $(VENV)/.made
# In their order: they share nothing but the machine, and whoever reads a failure wants to see it again.
WHOLE_PROGRAMS := -p no:randomly tests/process tests/fault tests/e2e

.DEFAULT_GOAL := help
.PHONY: help install run test check lint bench compiled soak sbom audit-deps texts lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMPS)/run  ## make .venv with everything locked; the program is .venv/bin/gateway

run: install  ## start the demo: a portal, the gateway in front of it, three users
	@$(BIN)/gateway demo

test: $(STAMPS)/bench  ## everything: unit, contract, process, end-to-end and fault tests
	@tests/install-packages
	$(BIN)/python -m pytest -n 2 tests/unit tests/contract tests/deploy $(PYTEST_ARGS)
	$(BIN)/python -m pytest $(WHOLE_PROGRAMS) $(PYTEST_ARGS) \
	  || { echo "what failed is tried once more, in its order and alone; both outcomes are above and below" >&2; \
	       $(BIN)/python -m pytest --last-failed --last-failed-no-failures=none $(WHOLE_PROGRAMS) $(PYTEST_ARGS); }

check: lint  ## lint and the unit tests: a few minutes
	$(BIN)/python -m pytest -n 2 -q tests/unit

lint: $(STAMPS)/dev  ## format, style, types, import rings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p gateway
	$(BIN)/mypy --explicit-package-bases tests tools
	$(BIN)/lint-imports --no-cache

bench: $(STAMPS)/bench  ## CPU per request beside nginx, HAProxy, Envoy, Caddy, Traefik, Apache
	@tests/install-packages
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

compiled: $(STAMPS)/dev  ## the same program, its hot path compiled (needs a C compiler): build/compiled/bin/gateway
	rm -rf build/compiled build/source build/wheel
	mkdir -p build/source  # the compiler leaves its work beside the source, where it would win over what is edited later
	cp -r gateway config pyproject.toml README.md LICENSE build/source
	HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel build/source
	$(BIN)/python -m venv build/compiled
	build/compiled/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.txt
	build/compiled/bin/python -m pip install --quiet --disable-pip-version-check --no-deps build/wheel/*.whl

SOAK_SECONDS ?= 3600
soak: $(STAMPS)/dev  ## 1,000 kills of every process under load, as many of the audit daemon at each step of its work, thousands of power cuts, an hour of 10,000 records a second: hours
	GATEWAY_SOAK=1 $(BIN)/python -m pytest -s tests/fault/test_kill.py tests/unit/ledger/test_kill_points.py tests/unit/ledger/test_reboot.py
	$(BIN)/python -m tests.bench.audit_rate --seconds $(SOAK_SECONDS) --demand

sbom: $(STAMPS)/dev  ## CycloneDX bill of materials of what ships: dist/sbom.cdx.json
	$(BIN)/python -m tools.bill_of_materials requirements/run.txt dist/sbom.cdx.json

audit-deps: $(STAMPS)/dev  ## known vulnerabilities of the locked dependencies
	$(BIN)/python -m tools.audit_dependencies requirements/run.txt

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

texts: $(STAMPS)/dev  ## collect what people read into gateway/pages/locale and compile its languages
	$(BIN)/python -m tools.collect_texts

lock: $(STAMPS)/dev  ## resolve pyproject.toml anew into requirements/*.txt
	$(LOCK) pyproject.toml --group build -o requirements/run.txt
	$(LOCK) pyproject.toml --group build --group dev -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) --group bench -o requirements/bench.txt

clean:  ## remove the environment, caches and what was built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp is newer than the lists it was made from, so that a second `make install` does nothing.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "the gateway needs Python 3.11 or newer; try: make PYTHON=python3.12 install" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: requirements/run.txt pyproject.toml | $(STAMPS)/venv
	$(PIP) install --require-hashes --only-binary :all: -r requirements/run.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/run
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(STAMPS)/bench: requirements/bench.txt $(STAMPS)/dev
	$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@
