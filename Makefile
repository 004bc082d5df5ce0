# Everything happens in .venv, .airflow, .matrix, .benchmark, .hypothesis, .pytest_cache and docs/_build inside the checkout;
# `make clean` removes them. `make airflow` also creates dags, for the user's own DAGs, which is never removed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make test`, for two cores, as many tests wait; with more cores: make test PROCESSES=auto
PROCESSES ?= 6

.PHONY: help demo airflow check lint package test test-store test-matrix test-deployment test-deployment-short test-form benchmark \
  benchmark-triggerer docs clean

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-24s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/package ## run the whole life of a batch in a real Airflow, against a local Respan
	$(BIN)/python -m dev.demo

test-form: $(VENV)/form ## the connection form and the list of DAGs in a real browser: Debian's chromium
	@command -v chromium >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } || { \
	  echo "chromium is needed, and could not be installed. As root: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest tests/form

airflow: $(VENV)/package ## a whole Airflow with its UI, the examples and the DAGs in dags/, beside a local Respan, until Ctrl-C
	@exec $(BIN)/python -m dev.local_airflow

check: lint package docs test ## everything but the older Airflows

lint: $(VENV)/lint ## style, types, and which package may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

package: $(VENV)/build ## build it, look into what was built, and try the lowest versions that are allowed
	$(BIN)/python -m pytest -m built

test: $(VENV)/tests ## run the whole test suite, and see that it reaches the code
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m 'not built and not store' -n $(PROCESSES) --durations=15
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-store: $(VENV)/store ## landing in S3, against a local one
	$(BIN)/python -m pytest -m store

test-matrix: $(VENV)/build ## try the wheel on each supported Airflow, or on some: make test-matrix AIRFLOW='2.11 3.0'
	$(BIN)/python -m dev.matrix $(AIRFLOW)

test-deployment: $(VENV)/deployment ## a whole Airflow under fire: many waits, much goes wrong, nothing gets lost
	$(BIN)/python -m dev.deployment
	$(BIN)/python -m dev.deployment --executor CeleryExecutor --waits 30

test-deployment-short: $(VENV)/deployment ## the same in a few minutes: one kill -9, one outage
	$(BIN)/python -m dev.deployment --short --waits 20

benchmark: .benchmark/ready ## thousands of waits, ours and other providers'; less: make benchmark BENCHMARK=--quick
	.benchmark/bin/python -m dev.benchmark $(BENCHMARK)

benchmark-triggerer: $(VENV)/deployment ## many deferred tasks in a real triggerer
	$(BIN)/python -m dev.benchmark.triggerer $(BENCHMARK)

docs: $(VENV)/docs ## build the documentation into docs/_build; warnings and broken links are errors
	$(BIN)/python -m sphinx --builder html --fresh-env --write-all --fail-on-warning --keep-going --nitpicky --quiet \
	  docs docs/_build
	@echo "The documentation is in docs/_build/index.html"

clean: ## remove everything that the targets above have made
	rm -rf $(VENV) .airflow .matrix .benchmark .hypothesis .pytest_cache docs/_build

$(VENV)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/package: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/tests: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/store: $(VENV)/tests
	$(BIN)/python -m pip install --quiet --group store
	@touch $@

$(VENV)/build: $(VENV)/tests
	$(BIN)/python -m pip install --quiet --group build
	@touch $@

$(VENV)/deployment: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group deployment
	@touch $@

$(VENV)/docs: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

$(VENV)/form: $(VENV)/tests
	$(BIN)/python -m pip install --quiet --group form
	@touch $@

# The other providers stay out of our environment, and all that is measured is in one.
.benchmark/ready: $(VENV)/pip pyproject.toml
	$(BIN)/python -m venv .benchmark
	$(BIN)/python -m pip --python .benchmark install --quiet --upgrade --editable . --group benchmark
	@touch $@

$(VENV)/lint: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@
