# `make start` runs everything on this machine, `make test` tests it. Everything is installed into .venv, in the versions
# of the lock files. PYTHON selects the interpreter, ARGS are options of pytest.
BIN := .venv/bin
EXAMPLES := hello forms prime my_service approval documents durable

.PHONY: help setup dev start test test-all test-unit test-latest test-containers rounds check browser servers bench docs lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

setup:  ## install the package into .venv
	@scripts/setup

dev:  ## install the package, and what tests and checks need
	@scripts/setup dev

start: setup  ## run the examples on Ray Serve, a spooler and the panel; Ctrl-C ends it
	@$(BIN)/koco start --app-dir examples $(foreach app,$(EXAMPLES),--app $(app).app:fast_app)

browser: dev
	@scripts/browser > /dev/null || { echo "no Chromium: browser tests are skipped" >&2; test "$$CI" != true; }

servers: dev
	@scripts/servers > /dev/null || { echo "some servers are missing: their tests are skipped" >&2; test "$$CI" != true; }

test: $(if $(filter-out 0,$(LATEST)),test-latest,test-all)  ## run every test; LATEST=1: see test-latest; ARGS="-k name": options of pytest

test-all: dev browser servers
	@$(BIN)/python -m pytest --durations=20 --durations-min=3 $(ARGS)

test-unit: dev  ## run the tests that need no services
	@$(BIN)/python -m pytest tests/unit $(ARGS)

test-latest:  ## run the unit tests and the installed wheel with the newest versions that pyproject.toml admits
	@scripts/setup latest
	@.venv-latest/bin/python -m pytest tests/unit $(ARGS)
	@.venv-latest/bin/python -m pytest tests/wheel -m wheel

test-containers: dev  ## build the image and test the Compose stack
	@scripts/test-containers

ROUNDS ?= 50
rounds: dev servers  ## kill a part of a durable run's world, ROUNDS=50 times
	@ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -q -s tests/acceptance/faults/test_temporal_rounds.py

check: dev  ## format, lint, types, layers, generated docs
	@$(BIN)/ruff format --check --quiet . || { echo "run: ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }
	@$(BIN)/python docs/generate.py --check

docs: dev  ## write the generated references
	@$(BIN)/python docs/generate.py

bench: dev  ## measure a running stack and print the table of benchmarks/README.md
	@$(BIN)/python benchmarks/run.py

lock:  ## write the lock files after a change of pyproject.toml; UPGRADE=1 takes the newest versions
	@scripts/lock $(if $(filter-out 0,$(UPGRADE)),--upgrade)

clean:  ## remove caches and the environment (not data)
	rm -rf .venv .venv-latest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .lint-imports.log dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
