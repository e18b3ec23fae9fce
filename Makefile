# What README, CONTRIBUTING and .ci/run call. Each target sets up .venv by itself, and again when pyproject.toml changes.
# Without an NVIDIA GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares several GB: see CONTRIBUTING.md.

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
READY := .venv/.installed-from-pyproject
# Two processes at a time, of about the same length: two cores are done sooner, and in one that has loaded every engine
# before, training died of a segmentation fault (cause not found). So training comes first in its own.
FIRST_HALF := tests/training tests/benchmarks tests/cli tests/export/test_planted_faults.py
TESTS := $(MAKE) --no-print-directory --jobs 2 test-training test-others

.PHONY: help demo test test-training test-others test-all test-bare check format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       export, prove and classify; then fine-tune and compare (DATA=digits, DATA=YOUR_FOLDER)"
	@echo "make test       the tests, without the slow ones"
	@echo "make test-all   all tests"
	@echo "make test-bare  the runtime alone: fresh environments without torch, newest and oldest versions"
	@echo "make check      ruff, mypy --strict, tests: what has to pass before a commit"
	@echo "make format     let ruff mend what it can"
	@echo "make clean      remove .venv, caches and built distributions; bundles/ and runs/ stay"

demo: $(READY)
	$(PYTHON) -m edgeclf demo $(if $(DATA),--data $(DATA))

test: $(READY)
	$(TESTS)

test-training: $(READY)
	$(PYTHON) -m pytest $(FIRST_HALF)

test-others: $(READY)
	$(PYTHON) -m pytest $(addprefix --ignore ,$(FIRST_HALF))

test-all: $(READY)
	$(PYTHON) -m pytest -m "slow or not slow"

test-bare: $(READY)
	$(PYTHON) -m pytest -m "slow or not slow" -rs tests/test_bare_install.py

check: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(TESTS)

format: $(READY)
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache runtime/.ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(BASE_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --disable-pip-version-check -e '.[dev]'
	touch $@
