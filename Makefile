# make demo    real Swift on loopback, a photo watermarked on its storage node      make test    the tests
# make bench   the benchmarks                                                       make clean   forget what was set up
# make python-guest    CPython with Pillow as a program, from source: minutes the first time; `make test` needs it
#
# Every target does its own set-up: a virtual environment in .venv with exactly what constraints.txt pins, then the
# guests, built from source. Both are kept, so a second run sets up nothing.

PYTHON ?= python3
# In a shell that has .venv activated, python3 is that environment's own: it cannot make itself anew.
PYTHON := $(shell $(PYTHON) -c 'import os, sys; print(sys._base_executable if os.path.realpath(sys.prefix) == os.path.realpath("$(CURDIR)/.venv") else sys.executable)' 2>/dev/null || echo $(PYTHON))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test bench lint wheel-check reproducible setup guests python-guest clean

demo: setup
	@$(BIN)/python -m insitu demo

# Two at a time, a file stays together: its fixtures, a Swift among them, are started once.
test: setup python-guest
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,max,rounds $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel-check: setup
	$(BIN)/python tests/check_wheel.py

reproducible: setup
	$(BIN)/python tests/check_reproducible.py

setup: $(READY) guests

# build.py keeps its results by the digest of everything that goes in: it is the one that knows what is stale.
guests: $(READY)
	@$(BIN)/python guests/build.py

# Its own cache, and an installed wheel: with nothing to do it takes a fifth of a second.
python-guest: $(READY)
	@$(BIN)/python guests/build.py --python

# pip is told which environment to fill, so that a Python without ensurepip will do.
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("insitu needs Python 3.11 or newer, and %s is %d.%d; try: make PYTHON=python3.11" % (sys.executable, v[0], v[1]))'
	@echo "setting up $(VENV) (the first time takes a minute or two)" >&2
	@$(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

clean:
	rm -rf $(VENV) demo-out build dist .benchmarks insitu/programs/*.wasm insitu/programs/*.toml
