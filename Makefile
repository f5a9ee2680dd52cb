PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test benchmark clean

demo: .venv/installed
	$(BIN)/kdstats run protocols/digits.yaml

test: .venv/installed-test
	$(BIN)/ruff check kdstats tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

benchmark: .venv/installed
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/audits.py
	$(BIN)/python benchmarks/digits.py

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("kdstats needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(INSTALL) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info
