# `make start` runs everything on this machine, `make test` tests it. Everything lives in .venv.
BIN := .venv/bin
EXAMPLES := hello forms prime my_service approval documents durable

.PHONY: help setup dev start test test-unit test-containers rounds check browser servers bench docs lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

setup:  ## the environment with the package
	@scripts/setup

dev:  ## the environment with what tests and checks need
	@scripts/setup dev

start: setup  ## run the examples on Ray Serve, a spooler and the panel; Ctrl-C ends it
	@$(BIN)/koco start --app-dir examples $(foreach app,$(EXAMPLES),--app $(app).app:fast_app)

browser: dev
	@scripts/browser > /dev/null || { echo "no Chromium: browser tests are skipped" >&2; test "$$CI" != true; }

servers: dev
	@scripts/servers > /dev/null || { echo "some servers are missing: their tests are skipped" >&2; test "$$CI" != true; }

test: dev browser servers  ## every test
	@$(BIN)/python -m pytest --durations=20 --durations-min=3

test-unit: dev  ## tests without services
	@$(BIN)/python -m pytest tests/unit

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

lock:  ## renew what the container image is made of; UPGRADE=1 takes the newest versions
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean:  ## remove caches and the environment (not data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .lint-imports.log dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
