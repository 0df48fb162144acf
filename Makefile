# `make run` and `make test` do everything by themselves on a machine with Python 3.11 or newer.
# The environment is .venv; delete it (or `make clean`) to start over.
#
#   PYTHON=/path/to/python3   another interpreter than the one that is found
#   ARGS="-k queue -x"        more arguments for test, demo and bench

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
LOCK := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

# On a terminal the program gets Ctrl-C alone, so that make ends with the program's own exit code.
FOREGROUND := if [ -t 0 ]; then set -m; fi;

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev setup-bench run demo test check format bench lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: $(VENV)/.ready ## environment for run and demo
setup-dev: $(VENV)/.ready-dev ## environment for test and check
setup-bench: $(VENV)/.ready-bench ## environment for bench: with the queues that ours is compared to

run: setup ## start the service; the page and the terminal say what to do next
	@$(FOREGROUND) $(BIN)/beacon run; exit $$?

demo: setup ## the service against a simulated WhatsApp
	@$(FOREGROUND) $(BIN)/beacon demo $(ARGS); exit $$?

test: setup-dev ## all tests
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup-dev ## format, lint, types, imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup-bench ## measure; the last line is one JSON object
	@$(BIN)/python -m tests.bench --json $(ARGS)

lock: setup-dev ## write requirements*.txt anew from pyproject.toml
	@$(LOCK) pyproject.toml --extra demo --group build -o requirements.txt
	@$(LOCK) pyproject.toml --extra demo --group build --group dev -c requirements.txt -o requirements-dev.txt
	@$(LOCK) --group bench -c requirements-dev.txt -o requirements-bench.txt

clean: ## remove the environment and caches, never data
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Stamps: a second call does nothing until a requirement changes.
$(VENV)/.ready: $(VENV)/.created requirements.txt pyproject.toml
	@echo "Installing what Beacon needs ..."
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	@echo "Installing what its tests need ..."
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-dev requirements-bench.txt
	@echo "Installing what it is compared to ..."
	@$(PIP) --require-hashes -r requirements-bench.txt
	@touch $@

$(VENV)/.created:
	@sh .ci/find-python $(PYTHON) > /dev/null
	@echo "Creating $(VENV) ..."
	@"$$(sh .ci/find-python $(PYTHON))" -m venv $(VENV)
	@touch $@
