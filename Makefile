# Every target sets itself up: a virtual environment in .venv, made once and reused.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One for the site, without torch, for the library is read and not imported.
DOCS := .venv-docs

# Tests that use real data look here; they say why they skip where it is absent.
ifneq ($(wildcard ../shared/data),)
export LEARN2MIX_DATA ?= $(abspath ../shared/data)
endif

# What is compiled is kept, also where the environment says otherwise: tests start Python some thirty times.
export PYTHONDONTWRITEBYTECODE :=

# Tests run side by side in as many processes, each on one core. No test asks for what was logged, and to keep it takes a
# millisecond a test.
WORKERS ?= 2
PYTEST := -m pytest -q -rfEs -n $(WORKERS) --dist worksteal -p no:logging
CORE := not slow and not gpu and not heavy
QUICKLY := --ignore=tests/experiments --hypothesis-profile=fast

.PHONY: test pytest fast core oldest demo lint benchmark benchmark-check docs clean

# Lint and tests side by side, for lint keeps one core busy for half a minute.
test: $(READY)
	$(MAKE) -j 2 lint pytest

pytest: $(READY)
	$(BIN)/python $(PYTEST) --durations=10 -m "not slow and not gpu"

# The library alone, in a minute: no processes, pages, notebooks, experiments or long runs, and fewer examples of each
# property.
fast: $(READY)
	$(BIN)/python $(PYTEST) $(QUICKLY) -m "$(CORE) and not long" tests learn2mix

# With the long runs, in any environment; less the doctests, for older versions write some numbers in another way.
core:
	$(BIN)/python $(PYTEST) $(QUICKLY) -m "$(CORE)" tests

# The same on the oldest versions that pyproject.toml allows of what the library is built on: see noxfile.py.
oldest: $(READY)
	$(BIN)/nox -s oldest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python -m experiments demo

# The site, in site/: strictly, and offline once its packages are there; site/index.html opens as a file.
docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

# What mixing costs: tables on stdout, stored, and in docs/performance.md; 5 minutes. Peers are optional:
# `.venv/bin/pip install -e ".[benchmark-peers]"`.
benchmark: $(READY)
	$(BIN)/python -m benchmarks

# Whether a ratio to what takes turns with it is worse than the stored one; 2 minutes.
benchmark-check: $(READY)
	$(BIN)/python -m benchmarks check

# torch and torchvision in one command, so that pip picks a pair that fits; the import proves it.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torchvision" 2>/dev/null || $(BIN)/python -m pip install -q torch torchvision
	$(BIN)/python -m pip install -q -e ".[dev]"
	$(BIN)/python -c "import torchvision"
	touch $(READY)

$(DOCS)/.ready: pyproject.toml
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	awk '/^docs = \[/ {on = 1} on {print} on && /\]$$/ {exit}' pyproject.toml | grep -o '"[^"]*"' | tr -d '"' \
	    > $(DOCS)/packages.txt
	$(DOCS)/bin/python -m pip install -q -r $(DOCS)/packages.txt
	touch $(DOCS)/.ready

clean:
	rm -rf $(VENV) $(DOCS) .nox runs site
