# What README, CONTRIBUTING and .ci/run call. Each target sets up .venv by itself, and again when pyproject.toml changes.
# Without an NVIDIA GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares several GB: see CONTRIBUTING.md.

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
READY := .venv/.installed-from-pyproject
# Two targets at a time keep two cores busy: the tests are two halves of about the same CPU time. A half is one process,
# so imports, small networks and the process that commands are forked from are made once in each.
MAKEFLAGS += --jobs=2
LOWEST_EXTRAS := all litert heif serve sign tensorboard video
SOURCES := edgeclf runtime export benchmarks
HALVES := test-pieces test-commands
PIECES := tests/runtime tests/export tests/benchmarks tests/edgeclf/evaluation
# Tests start hundreds of Pythons, each of which would compile all of edgeclf again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test $(HALVES) test-rest test-all test-bare test-pythons test-lowest check lint types format docs release clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       export, prove and classify; then fine-tune and compare (DATA=digits, DATA=collages, DATA=YOUR_FOLDER)"
	@echo "make test       the tests, without those marked slow or check"
	@echo "make test-rest  those marked check: of the packages, release, site, records and layers of edgeclf itself, and repeats"
	@echo "make test-all   all tests"
	@echo "make test-bare  the runtime alone: fresh environments without torch, newest and oldest versions, each Python"
	@echo "make test-pythons  the same with all tests of the runtime in each of them; minutes"
	@echo "make test-lowest  the workstation with the lowest versions that pyproject.toml allows, on Python 3.11; minutes"
	@echo "make check      ruff, mypy --strict, test and test-rest: what has to pass before a commit"
	@echo "make format     let ruff mend what it can"
	@echo "make release    wheel, sdist, their SHA256SUMS and bills of material in dist/"
	@echo "make docs       the documentation site, in site/ (Python 3.11 or newer)"
	@echo "make clean      remove .venv, caches, site/ and built distributions; bundles/ and runs/ stay"

demo: $(READY)
	$(PYTHON) -m edgeclf demo $(if $(DATA),--data $(DATA))

test: $(HALVES)

# The networks of the tests are so small that a second OpenMP thread only spins.
$(HALVES) test-rest test-all test-bare test-pythons test-lowest: export OMP_NUM_THREADS := 1

test-pieces: $(READY)
	$(PYTHON) -m pytest -m "not slow and not check" $(PIECES)

test-commands: $(READY)
	$(PYTHON) -m pytest -m "not slow and not check" $(addprefix --ignore ,$(PIECES))

test-rest: $(READY)
	$(PYTHON) -m pytest -m "check and not slow"

test-all: $(READY)
	$(PYTHON) -m pytest -m "slow or not slow"

test-bare: $(READY)
	$(PYTHON) -m pytest -m "slow or not slow" -rs tests/test_bare_install.py tests/test_other_pythons.py

test-pythons: $(READY)
	$(PYTHON) -m pytest -m "slow or not slow" -rs --whole tests/test_bare_install.py tests/test_other_pythons.py

# uv finds the lowest versions that fit together. CUDA's libraries are left to what torch itself asks for: a CPU build, nothing;
# backports-strenum to pip, since uv passes over the newest Python that a version of it is for.
test-lowest:
	$(BASE_PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --disable-pip-version-check --quiet uv
	.venv-lowest/bin/uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct --python .venv-lowest/bin/python \
	  $(addprefix --extra ,$(LOWEST_EXTRAS)) pyproject.toml | grep -vE '^(nvidia|cuda|triton|backports-strenum)' > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --disable-pip-version-check --quiet -r .venv-lowest/lowest.txt hypothesis jsonschema packaging pytest
	.venv-lowest/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	.venv-lowest/bin/python -m pytest -rs tests/runtime tests/export tests/edgeclf

check: $(HALVES) test-rest types lint

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff check --preview --select PLW1514 $(SOURCES) # text files are UTF-8 on every system
	$(PYTHON) -m ruff format --check

types: $(READY)
	$(PYTHON) -m mypy

format: $(READY)
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

docs: $(READY)
	$(PYTHON) docs/site/build.py

release: $(READY)
	$(PYTHON) -m pip install --disable-pip-version-check --quiet -e '.[release]'
	$(PYTHON) .ci/release.py

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache runtime/.ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(BASE_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --disable-pip-version-check -e '.[dev]'
	touch $@
