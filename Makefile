# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test slow lint types imports docs screenshots wheel clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "fran needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	@# torch first and by itself: pip then keeps this build whatever the others would accept
	$(BIN)/pip install --disable-pip-version-check $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps -e .
	touch $@

demo: install
	$(BIN)/fran demo

test: install
	$(BIN)/python -m pytest -q -n 2

slow: install
	$(BIN)/python -m pytest -q -m slow -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

# the pages as a site in build/site; a broken link, anchor or name fails
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# the pictures of docs/assets, from a demo project in build/screenshots; needs chromium
screenshots: install
	$(BIN)/python docs/screenshots.py

wheel: install
	rm -rf dist
	$(BIN)/python -m build --wheel

clean:
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache
