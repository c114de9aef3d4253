# make demo     a virtual environment, the quickstart suite, a report
# make test     everything that CI checks
# make bench    the harness's own speed
# make quality  which defects the accuracy rule catches, and whether it fails healthy runs

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test lint bench quality clean

demo: $(VENV)/.demo
	$(BIN)/harness run suites/digits

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

quality: $(VENV)/.test
	cd tests && $(abspath $(BIN))/python -W ignore -m quality.accuracy.count --reduced -o ../reports/quality

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) '.[cpu]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) '.[cpu,rtx,history,test,dev]'
	touch $@ $(VENV)/.demo
