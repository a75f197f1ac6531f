# Everything runs in .venv, made from the pinned and hashed requirement files. Any Python from 3.11 on will do.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
FAULTS ?= 1000
MINUTES ?= 60
EXAMPLES ?= 2000
SEED := $(or $(SEED),$(shell date +%s))
RESTARTS ?= 1000
EXECUTIONS ?= 10000000
PROCESSES ?= 2
ENGINES := $(notdir $(basename $(wildcard tests/comparison/requirements/*.txt)))
JUDGES := $(notdir $(basename $(wildcard tests/judges/requirements/*.txt)))

.PHONY: help demo wheel test long nightly properties chaos soak comparison mutation fuzz judges engines audit check bench lint types imports lock clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: .venv/runtime  ## a whole trading day against the built-in broker simulator, in about two minutes (ARGS="--json")
	@$(BIN)/observer demo $(ARGS)

wheel: .venv/runtime  ## a wheel in dist, which runs without this checkout (OPERATIONS.md, "Install")
	@rm -rf build dist
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build && ls dist/*.whl

test: .venv/development  ## all tests of the default run (three at a time: a third of their time is waiting; SHUFFLE=7: the files in another order)
	@$(BIN)/python -m compileall -q -j 2 -x /test_ observer bus workers tests  # or each of the three compiles all
	$(BIN)/pytest -n 3 --dist worksteal -m "not slow" $(if $(SHUFFLE),--shuffle $(SHUFFLE))

long: .venv/development  ## after `make test`: slow tests that are worth it each time, and a bounded campaign; at most 20 minutes
	$(BIN)/pytest -n 3 --dist worksteal -m "slow and not nightly" $(if $(SHUFFLE),--shuffle $(SHUFFLE))
	$(BIN)/python -m tests.chaos.campaign --faults 300

nightly: judges  ## all tests in a random order, all judges, random faults, examples, bytes and mutants; hours (SEED=...)
	@echo "seed $(SEED)"
	$(MAKE) test SHUFFLE=$(SEED)
	$(MAKE) chaos SEED=$(SEED)
	$(MAKE) fuzz
	$(MAKE) mutation ARGS="--seed $(SEED)"

properties: .venv/development  ## random examples for every property; prints the failing seed (EXAMPLES=2000 SEED=...)
	@echo "$(EXAMPLES) examples a property, seed $(SEED)"
	@OBSERVER_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 2 --dist worksteal --timeout 36000 -m "hypothesis and not slow" \
	  --hypothesis-profile=search --hypothesis-seed=$(SEED) $(ARGS) || { status=$$?; \
	  echo "To repeat all: make properties EXAMPLES=$(EXAMPLES) SEED=$(SEED)"; \
	  echo "To repeat one test: the same with ARGS=TEST, as the summary above names it"; exit $$status; }

chaos: .venv/development  ## random faults on both databases, and a longer search through what can go wrong (FAULTS=1000)
	$(BIN)/python -m tests.chaos.campaign --faults $(FAULTS)
	$(BIN)/pytest -m slow
	$(MAKE) properties EXAMPLES=5000

soak: .venv/development  ## compressed days in a row; fails on growing memory, kept descriptors, a wrong count (MINUTES=60)
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

comparison: .venv/development  ## our supervisor beside supervisord and circus, as a table (RESTARTS=1000)
	$(BIN)/python -m tests.comparison.compare --restarts $(RESTARTS)

mutation: .venv/development  ## mutants of the files that hold the promises: 90 % killed of each; hours (ARGS="bus/delivery.py --minutes 20")
	$(BIN)/python -m tests.mutants $(ARGS)

fuzz: .venv/fuzz  ## mutated bytes into every decoder of outside bytes, guided by coverage; some 25 minutes (EXECUTIONS=10000000)
	$(BIN)/python -m tests.fuzz.campaign --executions $(EXECUTIONS) --processes $(PROCESSES) $(ARGS)

judges: $(JUDGES:%=.venv/judges/%/installed)  ## public clients of the broker against the simulator, as a table; each in an environment of its own
	$(BIN)/python -m tests.judges.judging
	$(BIN)/python -m tests.judges.samples_judging

engines: $(ENGINES:%=.venv/engines/%/installed)  ## engines that read the lake unmodified: five questions, the same answers (Spark needs Java 17)
	$(BIN)/python -m tests.comparison.engines $(ARGS)

check: lint types imports test  ## lint, types, import rules and tests

bench: .venv/runtime  ## speed and size on this machine, each beside its bare limit or its goal; some half an hour
	@for what in ingest commit latency backup restart footprint frames sweep stream selection gaps recovery master etf day slots lake tape; do \
	  $(BIN)/python -m tests.bench $$what; done

lint: .venv/development  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/development  ## mypy, strict
	$(BIN)/mypy

imports: .venv/development  ## the directions between the rooms
	$(BIN)/lint-imports

audit: .venv/development  ## compare the pinned packages with the published advisories (says so where none can be asked)
	@$(BIN)/python -m tests.house.audit

lock:  ## pin the newest releases with their hashes (needs uv)
	uv pip compile pyproject.toml --extra install --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --quiet --upgrade --output-file requirements.txt
	uv pip compile pyproject.toml --extra install --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet --upgrade --constraints requirements.txt --output-file requirements-dev.txt

	uv pip compile --group fuzz --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --quiet --upgrade --output-file tests/fuzz/requirements.txt
	@for name in $(JUDGES); do uv pip compile --group judge-$$name --universal --python-version 3.11 --generate-hashes \
	  --only-binary :all: --no-header --no-annotate --quiet --upgrade \
	  --output-file tests/judges/requirements/$$name.txt; done
	@for name in $(ENGINES); do uv pip compile --group engine-$$name --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet --upgrade --output-file tests/comparison/requirements/$$name.txt; done

clean:  ## remove the environment, caches and what demos left
	rm -rf .venv build dist demo mutants fuzz-findings .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.venv/runtime: requirements.txt pyproject.toml
	@echo "Installing the pinned and hashed packages into .venv: about a minute, once." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable .
	@touch $@

.venv/development: requirements-dev.txt .venv/runtime
	@echo "Installing the pinned and hashed packages of the tests into .venv: about a minute, once." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@

# Without atheris (it has wheels for Linux on x86-64 alone) the mutations are made at random.
.venv/fuzz: tests/fuzz/requirements.txt .venv/development
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/fuzz/requirements.txt
	@touch $@

.venv/judges/%/installed: tests/judges/requirements/%.txt .venv/development
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  --requirement $<
	@touch $@

.venv/engines/%/installed: tests/comparison/requirements/%.txt .venv/development
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@
