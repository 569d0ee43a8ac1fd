ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif

quickstart: .venv/ready ; $(BIN)/python scripts/quickstart.py
test: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python -m pytest -n auto $(ARGS)
test-fast: .venv/ready ; $(BIN)/python -m pytest -n auto --ignore=tests/e2e --ignore=tests/reliability $(ARGS)
test-all: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python -m pytest -n auto -m "" $(ARGS)
coverage: ; $(MAKE) test-fast ARGS="--cov --cov-report=term:skip-covered $(ARGS)"
.PHONY: test-fast test-all coverage
check: check-format check-lint check-types check-workflows
check-format: .venv/ready ; $(BIN)/ruff format --check .
check-lint: .venv/ready ; $(BIN)/ruff check .
check-types: .venv/ready ; $(BIN)/mypy && $(BIN)/mypy --platform win32 $(foreach program,$(wildcard examples/*/__main__.py),&& $(BIN)/mypy $(dir $(program)))
check-workflows: .venv/ready ; $(BIN)/python scripts/actionlint.py
.PHONY: check check-format check-lint check-types check-workflows
test-windows: .venv/ready ; $(BIN)/python scripts/test_windows.py $(ARGS)
breaks: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python scripts/breaks.py $(ARGS)
bench: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python scripts/bench.py
bench-quick: .venv/ready ; $(BIN)/python scripts/pulumi_cli.py $(BIN)/python scripts/bench.py --quick
.venv/ready: pyproject.toml scripts/environment.py ; $(PYTHON) scripts/environment.py

.PHONY: quickstart test check breaks bench bench-quick
