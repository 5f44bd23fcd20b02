# The commands of a day. CONTRIBUTING.md says what each tests and how long it takes.
PYTHON ?= python3
BIN := .venv/bin
DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/test

.PHONY: help install run check test faults

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

install:  ## make .venv with flowerapp, its tests and its tools
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -e ".[test]"

run:  ## serve http://127.0.0.1:8000/ with worker and database in one process
	$(BIN)/python manage.py standalone

check:  ## format, lint, types, layers, migrations, the API's schema, and the rules of docs/glossary.md
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy flowerapp project tests
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(BIN)/python -m pytest -q tests/test_vocabulary.py tests/test_structure.py

test:  ## all tests that the servers at hand allow; T=tests/unit for some of them
	$(BIN)/python -m pytest $(T)

faults:  ## kill processes and servers; needs PostgreSQL and Redis. T=tests/faults/test_steps.py for some
	DATABASE_URL=$(DATABASE_URL) FLOWER_TEST_REQUIRE=1 FLOWER_TEST_FAULTS=1 $(BIN)/python -m pytest $(or $(T),tests/faults tests/standalone)
