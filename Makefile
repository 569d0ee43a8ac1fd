ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif

quickstart: .venv/ready ; $(BIN)/python scripts/quickstart.py
test: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python -m pytest -n auto $(ARGS)
check: .venv/ready ; $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/mypy --platform win32 $(foreach program,$(wildcard examples/*/__main__.py),&& $(BIN)/mypy $(dir $(program))) && $(BIN)/python scripts/actionlint.py
bench: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python scripts/bench.py
bench-quick: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python scripts/bench.py --quick
.venv/ready: pyproject.toml scripts/environment.py ; $(PYTHON) scripts/environment.py

.PHONY: quickstart test check bench bench-quick
