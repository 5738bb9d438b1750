# Everything a user or developer types; `make` alone lists it.
VENV ?= .venv
OLDEST ?= .oldest-venv
BARE ?= .bare-venv
PYTHON ?= python3
GPU_PYTHON ?= python3
BIN := $(VENV)/bin
PIP := python -m pip --quiet --disable-pip-version-check
export TOKENIZERS_PARALLELISM ?= false
export MPLBACKEND ?= Agg

.DEFAULT_GOAL := help
.PHONY: help install demo docs test test-gpu gpu test-bare test-oldest check build fix bench evaluate clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Create the virtual environment with every extra, at the tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "st_rankloss needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install -c constraints.txt --editable '.[eval,minilm,test,docs,dev]'
	touch $@

demo: install ## Train a search for related texts of documentation and compare it with BM25 and MNRL
	$(BIN)/python examples/quickstart.py --output output/quickstart

docs: install ## Build the documentation site into output/site, without network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: install ## Run the tests and the doctests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-gpu: install ## Run only the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

gpu: ## Run everything that needs a GPU, in eight minutes, with $(GPU_PYTHON) and the packages that it has
	PYTHONPATH=. $(GPU_PYTHON) -m eval.bench.gpu --output $${OUT:-output/gpu}

test-bare: ## Build the wheel, install it alone and run the README against it, then with the extra "metrics"
	rm -rf $(BARE)
	$(PYTHON) -m venv $(BARE)
	$(BARE)/bin/$(PIP) wheel --no-deps --wheel-dir $(BARE)/wheel .
	$(BARE)/bin/$(PIP) install -c constraints.txt $(BARE)/wheel/*.whl
	$(BARE)/bin/python tests/bare.py
	$(BARE)/bin/$(PIP) install -c constraints.txt "$$(echo $(BARE)/wheel/*.whl)[metrics]"
	$(BARE)/bin/python tests/bare.py --metrics

test-oldest: $(OLDEST)/.installed ## Run the tests with the oldest supported versions, on Python 3.11 (downloads 3 GB)
	$(OLDEST)/bin/python -m pytest -n 2 --dist worksteal

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "the oldest versions need Python 3.11: PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/$(PIP) install -c constraints-oldest.txt --editable '.[eval,minilm,test]'
	touch $@

check: install ## Lint, formatting, types and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet st_rankloss

build: install ## Build the wheel and the source archive in dist/, and check what an index would show of them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

fix: install ## Apply the formatter and the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Time and memory of the loss on this machine, against the direct formula, MNRL and a softmax
	$(BIN)/python -m eval.bench.performance --output output/performance

LOSSES := recipe MNRL A-NDCG ListNet InfoNCE
evaluate: install ## Tune and compare five losses on the built-in corpus, and write a report (20 minutes)
	$(BIN)/python -m eval tune --losses $(LOSSES)
	$(BIN)/python -m eval compare --losses $(LOSSES)
	$(BIN)/python -m eval report output/eval/runs.jsonl

clean: ## Remove what the targets above created
	rm -rf $(VENV) $(OLDEST) $(BARE) .ci-venv .ci-bare-venv dist output .pytest_cache .mypy_cache .ruff_cache .hypothesis
