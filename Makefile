# bayesmv: every target sets up what it needs. `make help` lists them.
VENV := .venv
PY := $(VENV)/bin/python
# Small linear algebra runs faster on one thread; chains use the other cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all bench bench-parts lint types format docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml .ci/find-python.sh
	@python=$$(sh .ci/find-python.sh) && echo "using $$($$python --version) at $$python" && $$python -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv with bayesmv and all it needs

demo: install  ## the main job on the shipped data: REML beside the posterior
	$(VENV)/bin/bayesmv compare models/canty_us.toml
	$(PY) examples/published.py

# Two processes; a file's tests stay in one of them, so that what they share is made once.
PARALLEL := -n 2 --dist loadfile

test: install  ## the fast tests (five CPU minutes at most)
	$(PY) -m pytest $(PARALLEL)

test-all: install  ## every test, also the statistical ones
	$(PY) -m pytest $(PARALLEL) -m "slow or not slow"

bench: install  ## time to the answer, in CPU seconds, beside R programs where installed; BENCH_LARGE=1 for 100,000 animals
	$(PY) -m pytest tests/benchmarks/test_bench_answer.py tests/benchmarks/test_bench_families.py -q --benchmark-enable --benchmark-only --benchmark-quiet

bench-parts: install  ## the parts: likelihoods, tables, pedigrees, in CPU time
	$(PY) -m pytest tests/benchmarks --ignore tests/benchmarks/test_bench_answer.py --ignore tests/benchmarks/test_bench_families.py --benchmark-enable --benchmark-only --benchmark-timer=time.process_time --benchmark-columns=min,median,rounds

docs: install  ## the manual with its tutorials executed, in docs/_build/html; some ten minutes, then a minute
	$(PY) -m pip install --quiet --editable '.[docs]'
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html

lint: install  ## ruff, lint and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: install  ## mypy, strict
	$(VENV)/bin/mypy

format: install  ## let ruff mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist docs/_build
