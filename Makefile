# Needs Python 3.11 or newer, and a package index; another interpreter: make PYTHON=python3.12 …
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs bench faults tenants contracts-check clean

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' Makefile | expand -t 18

install: $(STAMP)  ## Create .venv, with `rollcall` in it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo 'Installing into $(VENV): some 560 MB, a minute or two' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[workers,export,devstack,dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## Start everything, feed the sample traffic, show what came of it, end everything
	@$(BIN)/rollcall demo

# A third of a test's time is waiting for others: three of them keep two cores busy.
test: $(STAMP)  ## Every test, in three processes
	$(BIN)/pytest -n 3 --dist loadfile

check: $(STAMP)  ## Lint, types, generated documents up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/rollcall docs --check

docs: $(STAMP)  ## Write the generated documents
	$(BIN)/rollcall docs

bench: $(STAMP)  ## Measure throughput, latency and memory into bench.json
	$(BIN)/rollcall bench --out bench.json

faults: $(STAMP)  ## Kill, stop and cut things, and count what is lost, twice or out of order
	$(BIN)/pytest tests/faults -s

tenants: $(STAMP)  ## Try every query and command across tenants
	$(BIN)/pytest tests/tenants -v

contracts-check: $(STAMP)  ## Send a command from an environment that has the contracts alone
	$(BIN)/python -m ops.contracts_check

clean:  ## Remove what make install made
	rm -rf $(VENV) *.egg-info build
