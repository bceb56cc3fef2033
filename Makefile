# Everything runs in .venv, made here from pinned constraints.txt. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-ja honesty test check coverage docs hooks bench bench-serve clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.done  ## make .venv and install what constraints.txt pins

.venv/.done: pyproject.toml constraints.txt $(wildcard sodate/*/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sodate needs Python 3.11 or newer: make setup PYTHON=python3.11"; exit 1; }
	@echo "Installing into .venv (about 1.5 GB, a few minutes) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## order mails → JSON: train SmolLM2-135M, measure it on held-out mails
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh orders

demo-ja: setup  ## Japanese support replies with Gemma-3-270M
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh support-ja

honesty: setup  ## SFT → DPO → GRPO: say "I don't know" instead of inventing, measured on held-out questions
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/honesty/run.sh

test: setup  ## the whole test suite
	@$(BIN)/python -m pytest

check: setup  ## lint, types, import rules, docs that execute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy sodate bench
	@$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py

coverage: setup  ## lines that no test runs (TESTS=tests/data for a part of the suite)
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest $(TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

docs: setup  ## write the generated parts of the documents again
	@$(BIN)/python docs/generate.py

hooks: setup  ## lint, types and house rules before every commit
	@$(BIN)/pre-commit install

bench: setup  ## speed and memory beside TRL, in one run
	@$(BIN)/python bench/train.py

bench-serve: setup  ## what answers cost, beside llama.cpp's server and transformers serve
	@$(BIN)/python bench/serve.py

clean:  ## remove .venv and caches (models and runs in SODATE_HOME stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis sodate.egg-info
