# Every target works from a bare Python >= 3.11; the first run installs, later runs start at once.
#   make figures [PROFILE=smoke|laptop|gpu|paper] [WORKERS=2]    make test    make docs    make site    make lab
#   make bench    make soak    make clean
# An environment that is active is used, unless it is conda's base; else one is made here.
ACTIVE := $(or $(VIRTUAL_ENV),$(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX)))
VENV ?= $(or $(ACTIVE),.venv)
PYTHON ?=
PROFILE ?= smoke
WORKERS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.lmcnb-ready
DOCS := $(VENV)/.lmcnb-docs
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.PHONY: setup figures test docs site lab bench soak clean
.DEFAULT_GOAL := figures

setup: $(READY)

# Two processes of one thread use two cores better than one process of two; a GPU serves one.
figures: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/lmcnb run --profile $(PROFILE) -j $(WORKERS)
	$(BIN)/lmcnb report

# One thread: workers that each start a thread a core slow each other down. What the notebooks need is computed before they
# run, as workers divide it better; nbval compares the cells marked NBVAL_CHECK_OUTPUT, whose numbers are the same on every
# machine. Compiled, whatever the environment says: else every worker would compile the tests and the package anew.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal
ifneq ($(NOTEBOOKS),)
	OMP_NUM_THREADS=1 $(BIN)/lmcnb compute -j $(WORKERS)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 JUPYTER_DEFAULT_PROVISIONER_NAME=lmcnb-forked \
	  $(BIN)/pytest -n $(WORKERS) --dist loadfile --nbval-lax --nbval-cell-timeout=600 $(NOTEBOOKS)
endif

# The reference, from the docstrings: open docs/_build/html/index.html, with or without a network.
docs: $(DOCS)
	$(BIN)/sphinx-build -q -b html docs docs/_build/html

# All of it as one site in report/, to read from disk or to put on any server: every notebook, as it was executed last or
# else as it is committed, the explorer, the board, the pages in docs/, and the reference.
site: docs
	$(BIN)/lmcnb report --all --reference docs/_build/html

$(DOCS): pyproject.toml | $(READY)
	$(BIN)/python -m pip install -q -e '.[docs]'
	@touch $@

lab: $(READY)
	$(BIN)/jupyter lab notebooks

bench: $(READY)
	$(BIN)/lmcnb bench

# Kills, damage, bad settings, full disks, hostile files, by the hundred and thousand: half an hour or more.
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow
	OMP_NUM_THREADS=1 $(BIN)/python -m soak

# Leaves the environment and the store, which are dear to make again.
clean:
	rm -rf executed report docs/_build figures/smoke figures/custom build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# By uv, which takes a quarter of pip's time; by pip where uv, which does not read pip's settings, finds no packages.
# Compiled: where PYTHONDONTWRITEBYTECODE is set, each of a hundred processes would compile torch again, for ten seconds.
$(READY): pyproject.toml
	@test -x $(BIN)/python || { \
	  for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	    "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	      && exec "$$python" -m venv $(VENV); \
	  done; \
	  echo 'No Python >= 3.11 with venv found. Install one (Debian: python3 and python3-venv), or name it:' >&2; \
	  echo '  make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)' >&2; \
	  exit 1; }
	{ $(BIN)/python -m pip install -q uv && $(BIN)/python -m uv pip install --compile-bytecode --python $(BIN)/python \
	  -e '.[test]'; } || $(BIN)/python -m pip install -e '.[test]'
	@touch $@
