# Two commands do all set-up: `make demo` and `make test`. They need python3 (3.10 to 3.13) and a package registry.
PYTHON ?= python3
SEEDS  ?= 1
QUICK  ?=
BIN    := .venv/bin
READY  := .venv/.installed
INSTALL = $(BIN)/pip install --no-compile --quiet --disable-pip-version-check

# pip compiles nothing, so Python must keep what it compiles, whatever the environment says: torch takes it 20 seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit docs soak gpu bounds format clean

help:
	@echo 'make demo           tune a real 135M model four ways on medical text, write runs/demo/report.html'
	@echo '                    (about 20 minutes on 2 cores; QUICK=1: about 3; SEEDS=3: three runs a method)'
	@echo 'make test           format, lint, types, unit tests and one quick demo, as CI runs them'
	@echo 'make docs           the documentation as a site, site/index.html: it opens from the disk and searches without a network'
	@echo 'make gpu            on a machine with a GPU: what is claimed of one, measured, on one dated page (25 minutes)'
	@echo 'make soak           kill -9 a run at 20 random moments, resume it, compare every byte'
	@echo 'make bounds         the wheel on each Python, and the lowest versions of what judging needs (PYTHONS="python3.10 ...")'
	@echo 'make format         format the code'
	@echo 'make clean          remove the virtual environment and caches of this folder, but no run'

# pip takes one package after the other. Two of it take what is pinned; the last one looks whether anything is missing.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	-grep -v '^#' constraints.txt | xargs -P 2 -n 64 $(INSTALL) --no-deps
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/acclimate demo --seeds $(SEEDS) $(if $(QUICK),--quick)

# Types are checked while tests wait for processes.
test: $(READY)
	@$(MAKE) --no-print-directory -j 2 lint unit

lint: $(READY)
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy

unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations 30

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu.kit

soak: $(READY)
	SOAK=20 $(BIN)/pytest -s --timeout 3600 tests/training/test_soak.py

bounds: $(READY)
	tests/bounds.sh

format: $(READY)
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

clean:
	rm -rf site .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
