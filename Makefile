# make demo     a virtual environment, the quickstart suite, a report
# make test     everything that CI checks
# make bench    the harness's own speed
# make footprint  what a base installation weighs, and how long the command takes to start
# make faults   what becomes of a run when something breaks, counted over a list of injected faults
# make quality  which defects the accuracy rule catches, which slowdowns the gate finds, and their false alarms

# How many tests run beside each other
BESIDE ?= 2
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test lint chromium bench footprint quality faults clean

demo: $(VENV)/.demo
	$(BIN)/harness run suites/digits

test: lint chromium
	$(BIN)/python -m pytest -n $(BESIDE) --dist loadscope -m "not alone"; beside=$$?; \
	  $(BIN)/python -m pytest -m alone && exit $$beside

# The tests of the report in a browser are skipped where there is none, and say so.
chromium:
	command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || true

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

footprint: $(BIN)/python
	$(BIN)/python tests/benchmarks/footprint.py

quality: $(VENV)/.test
	cd tests && $(abspath $(BIN))/python -W ignore -m quality.accuracy.count --reduced -o ../reports/quality/accuracy
	rm -f reports/quality/launches.jsonl.gz
	cd tests && $(abspath $(BIN))/python -m quality.latency.collect --cells attention,conv --arms null,s3,tail \
	  --launches 40 --budget 900 -o ../reports/quality/launches.jsonl.gz
	cd tests && $(abspath $(BIN))/python -m quality.latency.count ../reports/quality/launches.jsonl.gz \
	  -o ../reports/quality/latency

faults: $(VENV)/.test
	cd tests && $(abspath $(BIN))/python -W ignore -m faults.count -o ../reports/faults

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) '.[cpu]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) '.[cpu,images,text,speech,video,detection,rtx,history,ray,store,test,dev]'
	$(INSTALL) '.[browser]' || echo "playwright cannot be had here: tests in a browser are skipped"
	touch $@ $(VENV)/.demo
