# Two commands on a fresh machine with Python >= 3.10: `make demo` and `make test`. Each sets up .venv by itself.
# Windows without make: see "For developers" in README.md for the same steps in PowerShell.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
PYTHON = py -3
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
# Test processes side by side; each uses one thread so that two of them fill a two-core machine.
JOBS ?= 2

.PHONY: demo test golden bench screenshots clean

demo: .venv/.ready
	$(BIN)/python -m SpineMotionToolsLib.demo --out demo

test: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist load

golden: .venv/.ready
	$(BIN)/python -m Testing.golden Testing/golden/cases

bench: .venv/.ready
	$(BIN)/python -m benchmarks

screenshots: .venv/.ready
	$(BIN)/python Docs/tools/make_screenshots.py

# A half-made environment is never taken for a finished one: .ready is written last.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv || (echo "Creating a virtual environment failed; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[test]"
	$(BIN)/python -c "open('.venv/.ready', 'w').close()"

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(d, ignore_errors=True) for d in ('.venv', 'demo', 'build', '.pytest_cache')]"
