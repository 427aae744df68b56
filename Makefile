# `make demo` and `make test` are all that a fresh machine with Python 3.11 or newer needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip, but with one line for each step in place of hundreds.
INSTALL := $(BIN)/python .ci/install --constraint constraints.txt

# .env takes the repository's place from PWD, and `make -C` leaves the caller's there.
export PWD := $(CURDIR)
# Packages that build from source are built with the versions tested.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo dev check test test-exhaustive wheel format docs reference bench bench-quick screenshots lock clean

help: ## lists these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## makes seven sample shards and materializes every asset over them
	$(BIN)/laion demo

# `dg dev`, which Dagster recommends in its place, needs thirty more packages, and runs the same.
dev: $(VENV)/installed ## opens the Dagster web UI at http://127.0.0.1:3000
	PYTHONWARNINGS='ignore:Function `dev_command` is superseded' $(BIN)/dagster dev

check: lint ## linters, types and the quick tests: for the time between two edits
	$(BIN)/pytest --ignore laion_assets_tests/integration -m 'not slow and not integration and not exhaustive'

test: lint ## linters, types and the tests
	$(BIN)/pytest

test-exhaustive: $(VENV)/installed-bench ## the tests that repeat others with more rounds, and the benchmarks, small
	$(BIN)/pytest -m exhaustive

.PHONY: lint
lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

wheel: ## builds the wheel, installs it into an empty environment and runs the demo elsewhere
	PYTHON=$(PYTHON) .ci/wheel

format: $(VENV)/installed-dev ## formats the code and mends what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-docs ## builds docs/ as a web site in site/; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

reference: $(VENV)/installed-dev ## writes docs/reference/ from the code
	$(BIN)/python -m docs.generate_reference

# 7 shards of this size make the 12,096,835 rows of the 2022 site; a quick run: ROWS=2000 SHARDS=2 ROUNDS=1.
ROWS ?= 1728119
SHARDS ?= 7
ROUNDS ?= 3

bench: $(VENV)/installed-bench ## measures the speed beside other ways, and writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.compare --rows $(ROWS) --shards $(SHARDS) --rounds $(ROUNDS)

bench-quick: $(VENV)/installed-bench ## measures ratios and a few searches in two minutes, and writes benchmarks/quick.json
	$(BIN)/python -m benchmarks.quick

screenshots: $(VENV)/installed-dev ## takes the pictures of the README from the history of `make demo`
	$(BIN)/python -m benchmarks.screenshots

lock: $(VENV)/installed-dev ## pins the newest versions that pyproject.toml allows in constraints.txt
	$(INSTALL) uv
	$(BIN)/uv pip compile pyproject.toml --extra clip --extra dev --extra bench --extra docs --universal --python-version 3.11 \
		--upgrade --no-header --no-annotate --quiet --output-file constraints.txt

clean: ## removes the virtual environment and all that runs wrote to data/
	rm -rf $(VENV)
	find data -mindepth 1 -maxdepth 1 ! -name README.md ! -name curation.toml ! -name sheets -exec rm -rf {} +

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Making a virtual environment in $(VENV) ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable '.[clip]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(INSTALL) --editable '.[clip,dev]'
# Its client alone, for a test: the package would bring torch and an old pandas.
	@$(INSTALL) --no-deps clip-retrieval==2.45.0
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed-dev
	@$(INSTALL) --editable '.[clip,dev,bench]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(INSTALL) --editable '.[clip,docs]'
	@touch $@
