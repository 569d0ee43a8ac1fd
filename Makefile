# Each target is a script, which makes the environment .venv first, if need be. Without make:
# `python scripts/quickstart.py`, or `py scripts\quickstart.py` on Windows.
ifeq ($(OS),Windows_NT)
PYTHON ?= python
else
PYTHON ?= python3
endif

quickstart: ; $(PYTHON) scripts/quickstart.py
test: ; $(PYTHON) scripts/test.py $(ARGS)
test-fast: ; $(PYTHON) scripts/test.py --fast $(ARGS)
test-all: ; $(PYTHON) scripts/test.py --all $(ARGS)
test-windows: ; $(PYTHON) scripts/test_windows.py $(ARGS)
coverage: ; $(PYTHON) scripts/test.py --coverage $(ARGS)
check: ; $(PYTHON) scripts/check.py $(ARGS)
check-format: ; $(PYTHON) scripts/check.py format
check-lint: ; $(PYTHON) scripts/check.py lint
check-types: ; $(PYTHON) scripts/check.py types
check-workflows: ; $(PYTHON) scripts/check.py workflows
breaks: ; $(PYTHON) scripts/breaks.py $(ARGS)
bench: ; $(PYTHON) scripts/bench.py
bench-quick: ; $(PYTHON) scripts/bench.py --quick
docs: ; $(PYTHON) scripts/docs.py
pictures: ; $(PYTHON) scripts/pictures.py
sdks: ; $(PYTHON) scripts/sdks.py
release-check: ; $(PYTHON) scripts/release_check.py $(ARGS)

.PHONY: quickstart test test-fast test-all test-windows coverage breaks bench bench-quick docs pictures sdks
.PHONY: release-check
.PHONY: check check-format check-lint check-types check-workflows
