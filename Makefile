# Everything that a contributor does, on a machine with Python 3.11+ and make. `make` alone lists the targets.

.DEFAULT_GOAL := help
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
UV    ?= uv
LOCK  := pip compile --quiet --universal --python-version 3.11 --generate-hashes \
         --no-emit-index-url --no-emit-find-links --no-header --no-annotate $(if $(UPGRADE),--upgrade)
# Words that mean "no", so that KEEP=0 does not keep.
OFF   := 0 no false off

.PHONY: help venv demo test lint format bench env up down lock clean distclean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## Create .venv with the locked versions (the others do it when it is due)

# The stamp is written last, so an interrupted install is done again, and a finished one costs nothing.
$(STAMP): requirements/dev.txt pyproject.toml scripts/find_python.sh
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  python=$$(sh scripts/find_python.sh) && "$$python" -m venv --clear $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "Installing the locked packages into $(VENV) (once; about a minute) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Run the demo experiment on an embedded stack; KEEP=1 leaves the stack up
	@$(BIN)/python -m orchestrator demo $(if $(filter-out $(OFF),$(KEEP)),--keep) $(ARGS)

test: $(STAMP) ## Run all tests; ARGS="-k merge -x" goes to pytest
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Ruff, mypy --strict, the import contracts, codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell

format: $(STAMP) ## Let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Run every benchmark with --quick
	@for script in benchmarks/[a-z]*.py; do \
	  echo "== $$script"; $(BIN)/python "$$script" --quick || exit 1; \
	done

env: ## Write .env with new random passwords for docker compose (never overwrites one)
	@python=$$(sh scripts/find_python.sh) || exit 1; "$$python" scripts/compose_env.py

up: $(STAMP) ## Start the embedded Postgres and Valkey
	@$(BIN)/forkyard up

down: $(STAMP) ## Stop the embedded Postgres and Valkey
	@$(BIN)/forkyard down

lock: ## Renew requirements/*.txt from pyproject.toml (needs uv); UPGRADE=1 takes the newest versions
	@$(UV) $(LOCK) --extra dev pyproject.toml -o requirements/dev.txt
	@$(UV) $(LOCK) -c requirements/dev.txt --extra all pyproject.toml -o requirements/runtime.txt
	@$(UV) $(LOCK) -c requirements/dev.txt requirements/build.in -o requirements/build.txt

clean: ## Remove caches and build output (keeps .venv and the embedded stack's data)
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache benchmarks/out
	@find orchestrator workers tests scripts benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv as well
	@rm -rf $(VENV)
