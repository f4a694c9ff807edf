# Every target sets itself up: a virtual environment in .venv, made once and reused.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests that use real data look here; they say why they skip where it is absent.
ifneq ($(wildcard ../shared/data),)
export LEARN2MIX_DATA ?= $(abspath ../shared/data)
endif

.PHONY: test demo lint benchmark clean

test: lint
	$(BIN)/python -m pytest -q -m "not slow and not gpu"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python -m experiments demo

benchmark: $(READY)
	$(BIN)/python -m pytest -q -p no:cacheprovider benchmarks

# torch and torchvision in one command, so that pip picks a pair that fits; the import proves it.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torchvision" 2>/dev/null || $(BIN)/python -m pip install -q torch torchvision
	$(BIN)/python -m pip install -q -e ".[dev]"
	$(BIN)/python -c "import torchvision"
	touch $(READY)

clean:
	rm -rf $(VENV) runs
