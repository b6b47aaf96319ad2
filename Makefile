# `make setup` makes .venv once; everything else runs in it. PYTHON chooses the interpreter it is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup quickstart lint test test-slow benchmark clean

help:
	@echo "make setup       install ovpnet and its tools into $(VENV), at the versions of constraints.txt"
	@echo "make quickstart  train a small study, print its verdict, draw its report (store/, report/)"
	@echo "make lint        ruff, mypy, import-linter"
	@echo "make test        lint, then every test that is not slow, on two cores"
	@echo "make test-slow   the slow tests"
	@echo "make benchmark   the engines beside a naive loop, torch.compile and JAX, and sweeps on SLURM (most of an hour)"
	@echo "make clean       remove $(VENV) and the tools' caches; never a store or a report"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard ovpnet/native/*.cpp ovpnet/native/*.h)
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here. On Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "ovpnet needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: setup
	$(BIN)/ovpnet train -m experiment=quickstart store=store
	$(BIN)/ovpnet analysis verdict --store store
	$(BIN)/ovpnet analysis report --store store --out report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadgroup

benchmark: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.engine --check
	$(BIN)/python -m benchmarks.engine --write-docs
	$(BIN)/python -m benchmarks.linearity --write-docs
	$(BIN)/python -m benchmarks.cost_model --write-docs
	$(BIN)/python -m benchmarks.dual_engine
	$(BIN)/python -m benchmarks.tracking
	$(BIN)/python -m benchmarks.planner --write-docs
	$(BIN)/python -m benchmarks.queue --write-docs
	$(BIN)/python -m benchmarks.analysis --write-docs
	$(BIN)/python -m benchmarks.bisect --write-docs
	$(BIN)/python -m benchmarks.calibration --write-docs
	$(BIN)/python -m benchmarks.settling --write-docs
	$(BIN)/python -m benchmarks.launch --peer-runs 100 --write-docs

test-slow: setup
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
