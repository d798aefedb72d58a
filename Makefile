# `make demo` and `make test` need nothing but Python; they create the environment they use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# All extras whose tests would otherwise be skipped; here MLflow is tested with a fake client.
EXTRAS := plan,explain,ncmapss,surgery,cagrad,export,openvino,tensorboard,ray

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-exhaustive mutation lint docs benchmark clean

help:
	@echo "make demo       install, train GRACE on the built-in simulated fleet, write the report"
	@echo "make test       install, check style and types, run all tests but the exhaustive ones"
	@echo "make test-fast  the tests without those marked slow"
	@echo "make test-exhaustive  the tests marked exhaustive, which the two above skip"
	@echo "make mutation   change training and evaluation in small ways, see whether tests notice"
	@echo "make docs       build the documentation site in build/site"
	@echo "make benchmark  write docs/benchmark.md again from benchmarks/results/grid"
	@echo "make clean      remove environment, runs and caches"

# The constraints file pins torch: the newest release comes with gigabytes of CUDA libraries.
$(INSTALLED): pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e ".[dev,$(EXTRAS)]"
	@touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/grace train --dataset sim --method grace --preset fast --out runs/demo

test: $(INSTALLED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# More random cases of what `make test` checks once, and MLflow itself; weekly in CI.
test-exhaustive: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e ".[mlflow]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --exhaustive -m exhaustive

# SAMPLE mutants of each module; a second call goes on where the first stopped.
SAMPLE ?= 40
mutation: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e ".[mutation]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutate.py --sample $(SAMPLE) --out build/mutants.jsonl

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict

# Tables, sentences and figures of the benchmark, from the committed export.
benchmark: $(INSTALLED)
	$(BIN)/grace results page benchmarks/results/grid --out docs/benchmark.md

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache
