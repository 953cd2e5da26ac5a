# Two commands set everything up: `make speak` and `make test`. A second run installs nothing.

PYTHON ?= python3
VENV ?= .venv
TEXT ?= Parlando is Italian for speaking. It has heard this voice for a few seconds, and reads whatever you type.
VOICE ?=
OUT ?= hello.wav

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/installed
INSTALLED_TEST := $(VENV)/installed-test

# Taken as they were typed, "$" included, and handed to the shell by the environment: any text is safe.
override TEXT := $(value TEXT)
override VOICE := $(value VOICE)
override OUT := $(value OUT)
export TEXT VOICE OUT

.PHONY: help setup speak test test-quick check format constraints clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## create .venv from constraints.txt and install Parlando

speak: $(INSTALLED)  ## speak TEXT="..." in the voice of VOICE=prompt.wav to OUT=hello.wav
	@$(BIN)/parlando speak "$$TEXT" $${VOICE:+--voice "$$VOICE"} --out "$$OUT"

test: $(INSTALLED_TEST)  ## run all tests
	$(BIN)/python -m pytest -m ""

test-quick: $(INSTALLED_TEST)  ## run all but the slow tests
	$(BIN)/python -m pytest

check: $(INSTALLED_TEST)  ## lint, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_TEST)  ## format the sources, and repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(INSTALLED_TEST)  ## pin what is installed now into constraints.txt
	$(PIP) freeze --exclude parlando | sed 's/+.*//' > constraints.txt

clean:  ## remove the environment, build outputs and caches
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, got " + sys.version.split()[0] + "; choose one: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): constraints.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@
