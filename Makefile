# `make demo` and `make test` work from a fresh clone on a machine with Python 3.11 to 3.13, make and pip; `make help` lists all.
#
#   make demo PYTHON=python3.12            another Python for .venv
#   make demo DEMO_ARGS="--set train.stages.0.steps=100"
#   make test TEST_ARGS="tests/unit -k psnr"

.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
DEMO_ARGS ?=
TEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The stamp is written when everything is installed, the mark stands while something is being installed.
STAMP := $(VENV)/.installed
MARK := $(VENV)/.installing

# The constraints pin every package. They say torch==2.13.0 and not a range because pip then takes, on machines without a GPU,
# the build without CUDA that is published under that version; a range would fetch another one, and gigabytes with it.
INSTALL := -m pip install --no-compile --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[dev]'

# A job is a dozen processes that import much. Uncompiled, each starts three times as slowly: where PYTHONDONTWRITEBYTECODE is set,
# as in many containers, it would stay so for ever. What they import is compiled here, with all cores, the rest of 25,000 files when
# it is imported first.
unexport PYTHONDONTWRITEBYTECODE
COMPILE := -m compileall -qq -j 0 -x '/tests?/'
COMPILED := ray torch pandas numpy pyarrow pydantic

.PHONY: help setup demo test test-slow check docs format clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: $(STAMP) ## create .venv and install everything into it (the targets below do so where it is missing)

demo: $(STAMP) ## train on the sample photographs for a few minutes, and show what came of it
	@$(BIN)/ipt-platform data sample
	@$(BIN)/ipt-platform submit jobs/quickstart.yaml $(DEMO_ARGS)

# Two processes, which share out the files; a file's tests run in one of them. A thread each: two would wait for each other.
test: $(STAMP) ## all tests but the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist loadfile $(TEST_ARGS)

# The files that have slow tests: to read all the others would take a minute.
SLOW = $(shell grep -rl 'mark\.slow' tests --include='test_*.py')

# In two processes too, as tests/conftest.py shares them out: those that depend on speed in one of them.
test-slow: $(STAMP) ## the slow tests: kills, restarts, long runs
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadscope $(or $(TEST_ARGS),$(SLOW))

check: $(STAMP) ## format, lint and types
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m pyright

docs: $(STAMP) ## the documentation site, in docs/_build/html
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --doctree-dir docs/_build/read docs docs/_build/html
	@echo "docs/_build/html/index.html"

format: $(STAMP) ## format the code, and mend what the linter can mend
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

clean: ## remove .venv and caches; runs and data sets stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis docs/_build

# A checkout that was moved or copied brings along an environment that still points to the old place.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "error: expected Python 3.11, 3.12 or 3.13 as '$(PYTHON)', found: $$($(PYTHON) --version 2>&1 || true)" >&2; \
	  echo "Install one and name it: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.12" >&2; exit 2; }
	@# What was left half-installed, or no longer runs, is made anew; pip would believe that it is whole.
	@if [ -e $(MARK) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "creating $(VENV) with $$($(PYTHON) --version)"; \
	  if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	    $(PYTHON) -m venv --clear $(VENV); \
	  elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -m venv --clear --without-pip $(VENV); \
	    $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-input pip; \
	  else \
	    echo "error: '$(PYTHON)' has neither ensurepip nor pip, so nothing can be installed." >&2; \
	    echo "Install its venv package (on Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 2; \
	  fi; \
	fi
	@touch $(MARK)
	@echo "installing ipt-platform into $(VENV) from constraints.txt; the first time this takes some minutes"
	@$(BIN)/python $(INSTALL)
	@# torch has files for other versions of Python, which cannot be compiled and are not imported.
	@$(BIN)/python $(COMPILE) $(COMPILED:%=$(VENV)/lib/python3*/site-packages/%) || true
	@rm $(MARK)
	@echo "$(CURDIR)" > $@

FORCE:
