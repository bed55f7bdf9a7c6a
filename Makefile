# Each target prints the plain command it runs. Only Python >= 3.10 is needed beforehand.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# What pip needs a minute for, uv does in seconds. Who has no uv, or an index that uv cannot read, gets pip.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python)
.DEFAULT_GOAL := help

.PHONY: help setup demo test test-peers test-image chaos cluster-test cluster-bench sim check up bench bench-table bench-quick lock docs clean
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(READY) ## create .venv from the development lock
$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(if $(UV),$(UV) --require-hashes -r requirements-dev.lock ||) $(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## run 2,000 checkouts through a vendor outage and check the result
	$(BIN)/dispatcher demo

up: $(READY) ## start everything with the sandbox vendors and leave it running
	$(BIN)/dispatcher up --sandbox

# What these tests are about is time, or scarcity of the machine's means: neighbours would be part of the result.
ALONE := tests/chaos/test_limits.py tests/unit/templates/test_bounds.py

test: $(READY) ## all tests but the long ones of chaos, in four workers: unit, properties, simulation, contract, serve
	$(BIN)/python -m pytest -n 4 $(addprefix --ignore ,$(ALONE))
	$(BIN)/python -m pytest $(ALONE)

test-peers: $(READY) ## what leaves the process, judged by software of others, which pip, npm and apt fetch
	$(if $(UV),$(UV) --no-build-isolation -e '.[peers-check]' ||) $(PIP) --no-build-isolation -e '.[peers-check]'
	$(BIN)/python -m pytest -m peers --ignore tests/peers/test_image.py tests/peers

test-image: $(READY) ## carry out the Dockerfile's steps and serve from the result as a pod would; needs root, some minutes
	$(if $(UV),$(UV) --no-build-isolation -e '.[peers-check]' ||) $(PIP) --no-build-isolation -e '.[peers-check]'
	$(BIN)/python -m pytest -m peers tests/peers/test_image.py

chaos: $(READY) ## the faults of docs/faults.md that need processes, Redis or vendors of their own, some 20 minutes
	$(BIN)/python -m pytest -m chaos tests/chaos

cluster-test: $(READY) ## break machines of a real Ray cluster, made of Linux namespaces; needs root, some 20 minutes
	$(BIN)/python -m pytest -m cluster tests/cluster

cluster-bench: $(READY) ## measure what the loss of machines costs, as root: RUNS=3 runs each fault three times, some 40 minutes
	$(BIN)/python -m tests.cluster.bench $(if $(RUNS),--runs $(RUNS))

sim: $(READY) ## 10,000 seeds of the whole dispatcher in one process, with random faults; make sim SEED=42 replays one
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED))

check: $(READY) ## lint, format and types
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy

bench: $(READY) ## all benchmarks in brief, within 20 minutes; in full: FULL=1; one, in full: NAME=growth
	$(BIN)/python -m benchmarks $(NAME) $(if $(NAME)$(FULL),,--brief)

bench-table: $(READY) ## measure all that the table of docs/benchmarks.md shows, some 5 hours; parts: python -m benchmarks.table_run peak
	$(BIN)/python -m benchmarks.table_run

bench-quick: $(READY) ## a smoke of each benchmark, with small sizes
	$(BIN)/python -m benchmarks --quick $(NAME)

# The development lock is the runtime lock and the tools: what is tested is what runs.
COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.10 --no-header --no-annotate pyproject.toml
lock: ## renew both lock files after a change in pyproject.toml; needs uv, and keeps every version that it may keep
	$(COMPILE) --extra embedded -o requirements.lock
	$(COMPILE) --extra embedded --extra dev -c requirements.lock -o requirements-dev.lock

docs: $(READY) .venv-docs/.ready ## build the documents as a site in site/, and check that its pages fetch nothing from elsewhere
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	$(BIN)/python -m handbook.fetches site
.venv-docs/.ready: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

clean: ## remove the virtual environments and the site
	rm -rf .venv .venv-docs site
