# `make table1` and `make test` set themselves up: they need git, make and Python 3.11 or newer.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
ARGS ?=
READY := .venv/.ready

.PHONY: table1 test test-all lint bench docs docs-serve notebooks

table1: $(READY)
	.venv/bin/python experiments/table1.py $(ARGS)

test: $(READY)
	.venv/bin/python -m pytest -n auto --dist=loadfile -m 'not slow' $(ARGS)

test-all: $(READY)
	.venv/bin/python -m pytest -n auto --dist=loadfile $(ARGS)

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Runs every notebook from its first cell and stores what comes out in it.
notebooks: $(READY)
	.venv/bin/jupyter execute --inplace notebooks/*.ipynb

# Where JAX finds a GPU, the search too; PLACE names the folder of the measurements.
PLACE ?= $(shell .venv/bin/python -c 'import jax; print(jax.default_backend())' 2>/dev/null)
bench: $(READY)
	.venv/bin/python -m pip install --quiet --editable '.[bench]' $(addprefix --constraint ,$(CONSTRAINTS))
	mkdir -p benchmarks/results/$(PLACE)
	for script in steps runs sizes startup limits $(if $(filter-out cpu,$(PLACE)),search_at_once); do \
	  .venv/bin/python benchmarks/$$script.py --json=benchmarks/results/$(PLACE)/$$script.json || exit 1; \
	done
	.venv/bin/python benchmarks/page.py

docs: .venv/.docs
	.venv/bin/mkdocs build --strict $(ARGS)

docs-serve: .venv/.docs
	.venv/bin/mkdocs serve --dev-addr=127.0.0.1:8000 $(ARGS)

.venv/.docs: $(READY)
	.venv/bin/python -m pip install --quiet --editable '.[docs]' $(addprefix --constraint ,$(CONSTRAINTS))
	@touch .venv/.docs

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, found `$(PYTHON) --version`: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || \
	  { $(PYTHON) -m venv --clear --without-pip .venv && \
	    $(PYTHON) -m pip --python .venv/bin/python install --quiet pip; } || \
	  { echo "$(PYTHON) could not make a virtual environment: on Debian, install python3-venv"; exit 1; }
	.venv/bin/python -m pip install --quiet --editable '.[test]' $(addprefix --constraint ,$(CONSTRAINTS))
	@touch $(READY)
