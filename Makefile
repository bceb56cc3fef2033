# Everything runs in .venv, made here of files whose hashes stand in requirements/. `make` alone says what there is.
PYTHON ?= python3
HASHES ?= yes
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-ja honesty loop loop-year test check coverage docs hooks lock fuzz bench bench-serve clean

help:  ## this list | この一覧
	@case "$${SODATE_LANG:-$${LC_ALL:-$${LC_MESSAGES:-$$LANG}}}" in ja*) keep='s/\t.* | /\t/';; *) keep='s/ | .*//';; esac; \
	  grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -e 's/:.*## /\t/' -e "$$keep" | expand -t 14

setup: .venv/.done  ## make .venv and install what requirements/lock.txt names by its hash | .venv を作り、requirements/lock.txt のハッシュのとおりにインストールする

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
NO_HASH := requirements/ does not have the hash of a file that pip took (see above): an index of its own, or a changed file. \
  If it is meant to be so, install by version alone: make setup HASHES=no

.venv/.done: pyproject.toml constraints.txt $(wildcard requirements/*.txt) $(wildcard sodate/*/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sodate needs Python 3.11 or newer: make setup PYTHON=python3.11"; exit 1; }
	@echo "Installing into .venv (about 6 GB with the libraries of CUDA that PyPI's torch asks for, a few minutes) …"
	@$(PYTHON) -m venv .venv
ifeq ($(HASHES),yes)
	@$(PIP) --require-hashes --no-deps --requirement requirements/lock.txt || { echo "$(NO_HASH)"; exit 1; }
	@! $(BIN)/python requirements/cuda.py || \
	  $(PIP) --require-hashes --no-deps --requirement requirements/cuda.txt || { echo "$(NO_HASH)"; exit 1; }
	@$(PIP) --no-deps --no-build-isolation --editable .
else
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
endif
	@touch $@

demo: setup  ## order mails → JSON: train SmolLM2-135M, measure it on held-out mails | 注文メールを JSON に: SmolLM2-135M を学習し、評価用のメールで測る
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh orders

demo-ja: setup  ## Japanese support replies with Gemma-3-270M | Gemma-3-270M で日本語のサポート返信
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh support-ja

honesty: setup  ## SFT → DPO → GRPO: say "I don't know" instead of inventing, measured on held-out questions | SFT → DPO → GRPO: 作り話をせず「分かりません」と言えるようにし、評価用の質問で測る
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/honesty/run.sh

loop: setup  ## three months of the loop on order mails, with scripted users | 注文メールでループの 3 か月を、スクリプトの利用者とともに動かす
	@PATH="$(CURDIR)/$(BIN):$$PATH" python examples/loop/play.py --out loop-out

loop-year: setup  ## a year of the loop on questions that change, killed twice | 変わっていく質問でループの 1 年を、途中で 2 回強制終了しながら動かす
	@PATH="$(CURDIR)/$(BIN):$$PATH" python examples/loop/play.py --out loop-year-out --population questions --months 12 \
	  --mails 12 --first 10 --held-out 25 --longest 6 --kills 2

# Two processes of one thread each: most tests are Python, and what two threads compute is tested as such.
test: setup  ## the whole test suite | テストをすべて実行する
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup  ## lint, types, import rules, docs that execute | リンター、型、構成の規則、文書の検査
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy sodate bench
	@$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py

coverage: setup  ## lines that no test runs (TESTS=tests/data for a part of the suite) | どのテストも通らない行を示す (一部だけなら TESTS=tests/data)
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest $(TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

docs: setup  ## write the generated parts of the documents again | 文書の自動生成部分を書き直す
	@$(BIN)/python docs/generate.py

hooks: setup  ## lint, types and house rules before every commit | コミット前にリンター、型、構成の規則を検査する
	@$(BIN)/pre-commit install

fuzz: setup  ## a minute of fuzzing of the parsers of what strangers make | 外から来るデータの読み取りを 1 分間ファジングする
	@$(BIN)/python -m tests.fuzz --seconds 6

lock: setup  ## requirements/*.txt again, from pyproject.toml and constraints.txt | requirements/*.txt を pyproject.toml と constraints.txt から作り直す
	@$(BIN)/python requirements/lock.py

bench: setup  ## speed and memory beside TRL, in one run | TRL と比べた速さとメモリ
	@$(BIN)/python bench/train.py

bench-serve: setup  ## what answers cost, beside llama.cpp's server and transformers serve | 返答の速さを llama.cpp のサーバー、transformers serve と比べる
	@$(BIN)/python bench/serve.py

clean:  ## remove .venv and caches (models and runs in SODATE_HOME stay) | .venv とキャッシュを消す (SODATE_HOME のモデルと実行は残す)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis sodate.egg-info
