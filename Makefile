# Two commands set up everything: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
READY := $(VENV)/.ready

.PHONY: demo test smoke tools lint docs clean

demo: $(READY)
	$(BIN)/python examples/japanese_vowels_demo.py

test: $(READY) tools lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

smoke: $(READY)
	$(BIN)/python -m pytest -m smoke

tools:
	.ci/tools

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The documentation as a site in build/docs, for reading at home: python -m http.server -d build/docs
docs: $(READY)
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# aeon is wanted for its data files alone; its dependencies would hold numba back.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '.[all,dev]'
	$(PIP) install --constraint constraints.txt --no-deps aeon
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
