# make reproduce   every result from nothing: environment, workflow, report
# make test        the test suite
# make readme      put the table of claims and the main figure into README
# make gpu         the pixel model on a GPU, in pieces: docs/gpu.md
# make lint        ruff and mypy
# make clean       forget the results (the environment stays)

PYTHON       ?= python3
CORES        ?= all
TEST_WORKERS ?= 2

BIN       := .venv/bin
INSTALLED := .venv/.installed
LINTERS   := .venv/.installed-dev
REPORT    := results/report.html
PIP       := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# As in Snakefile: glibc keeps freed memory for the process, which spares a fifth of a small training. No number changes.
export MALLOC_MMAP_THRESHOLD_ := 33554432
export MALLOC_TRIM_THRESHOLD_ := 2147483648

.PHONY: gpu reproduce test readme lint clean
.DELETE_ON_ERROR:

reproduce: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES)
	@$(MAKE) --no-print-directory $(REPORT)

# Reached through `reproduce`, after the workflow: $(wildcard) then sees the results of this very run.
$(REPORT): $(wildcard results/*.csv results/*.md results/*/*/*) $(wildcard theory/*.rst synthetic/*.rst imagenet/*.rst)
	$(BIN)/snakemake --report $@

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup

readme: reproduce
	$(BIN)/python -m synthetic.atlas_figure results/synthetic/atlas docs/n_epsilon.svg
	$(BIN)/python -m imagenet.gpu_page --readme README.md
	$(BIN)/python -m theory.table readme README.md results/theory/verdict.json results/synthetic/*/verdict.json results/imagenet/*/verdict.json

lint: $(LINTERS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf results/synthetic results/imagenet results/theory results/runs results/smoke results/logs results/benchmarks
	rm -f results/claims.csv results/claims.md results/benchmarks-* $(REPORT)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"$(PYTHON) is Python {v.major}.{v.minor}; needed: 3.11 or newer; remedy: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv

# Editable, so that the code in this folder is the code that made the results.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $@

$(LINTERS): $(INSTALLED)
	$(PIP) -e '.[test,dev]'
	touch $@

# Python itself, as a machine with a GPU has it; the environment of .venv if there is one and PYTHON is not given.
GPU_PYTHON = $(if $(filter file default,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
DEVICE    ?= cuda
SIZE      ?= small32

gpu:
	$(GPU_PYTHON) -m imagenet.gpu run --size $(SIZE) --device $(DEVICE) $(if $(DATA),--data "$(DATA)") \
	  $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(MINUTES),--minutes $(MINUTES))
