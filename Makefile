# Everything happens in .venv and .airflow inside the checkout; `make clean` removes them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test airflow check clean

demo: $(VENV)/package ## run the whole life of a batch in a real Airflow, against a local Respan
	$(BIN)/python dev/demo.py

test: $(VENV)/tests ## run the whole test suite
	$(BIN)/python -m pytest

airflow: $(VENV)/package ## a whole Airflow with its UI, beside a local Respan, until Ctrl-C
	@exec $(BIN)/python dev/local_airflow.py

check: $(VENV)/lint ## lint and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .airflow .hypothesis

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

$(VENV)/lint: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@
