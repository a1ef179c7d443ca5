# Every target sets up what it needs. A machine needs Python and a package registry, nothing else. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The folder with a stack's state. Stacks in different folders can run at the same time.
C2D_HOME ?= .local
JOB ?= statistics
VENV := .venv
PY := $(VENV)/bin/python
export C2D_HOME ENV_FILE

.PHONY: help demo demo-market up down status test coverage bench lint lock clean venv venv-dev
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  JOB=statistics|join|failing   the job of make demo"
	@echo "  ARGS='tests/unit -x'          arguments for pytest (test, coverage), the benchmark (bench) or uv (lock)"
	@echo "  ENV_FILE=my.env               settings for the stack (up, demo)"
	@echo "  C2D_HOME=folder               another stack, which can run beside the first"
	@echo "  C2D_PORT, C2D_POSTGRES_PORT, C2D_RUNNER_PORT, C2D_DATA_PORT    fixed ports instead of free ones"
	@echo "  C2D_CLUSTER=kubernetes KUBECONFIG=file    run the jobs on that cluster"

demo: venv ## run a real job on this machine, from start to end
	@$(PY) -m local.demo $(JOB)
demo-market: venv-dev ## publish data on a local chain, buy it with Ocean's own client and compute on it (needs Node.js 18)
	@$(PY) -m local.market.demo
up: venv ## start the stack and leave it running; .local/env has its addresses and passwords
	@$(PY) -m local.stack up
down: venv ## stop the stack and keep its data
	@$(PY) -m local.stack down
status: venv ## show what is running, since when, and where
	@$(PY) -m local.stack status
test: venv-dev ## run all tests on this machine; with C2D_CLUSTER=kubernetes, on a cluster as well
	@$(PY) -m tests.programs
	@$(PY) -m pytest $(ARGS)
coverage: ## run the tests and report which lines they covered
	@$(MAKE) --no-print-directory test ARGS="--cov $(ARGS)"
bench: venv-dev ## measure what a job costs beside the same pods without Airflow, and how fast data moves
	@$(PY) -m tests.bench $(ARGS)
lint: venv-dev ## check style, types and the imports between packages
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports --no-logo
lock: venv ## write requirements.lock after a change of requirements.txt; ARGS=--upgrade takes the newest versions
	@$(PY) -m local.uv pip compile --quiet --universal --generate-hashes --python-version=3.$(firstword $(PYTHON_MINORS)) $(ARGS) \
	  --output-file=requirements.lock requirements.txt
clean: ## stop the stack; delete its data and the virtual environment
	@if [ -x $(PY) ]; then for home in $(C2D_HOME)/market $(C2D_HOME); do if [ -e $$home/secrets.json ] || [ $$home = $(C2D_HOME) ]; then C2D_HOME=$$home $(PY) -m local.stack clean; fi; done; fi
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage

# The virtual environment. Make repeats an install when its requirements are newer than its stamp file.
# `requires-python` of pyproject.toml as two minor versions: the first that works and the first that does not.
PYTHON_MINORS = $(shell sed -n "s/^requires-python = .>=3\.\([0-9]*\),<3\.\([0-9]*\).*/\1 \2/p" pyproject.toml)
INSTALL := $(PY) -m local.uv pip install --quiet
UNREACHABLE := { echo "The packages could not be installed (reason above). Is the package registry reachable? 'pip config list' shows its address." >&2; exit 1; }

venv: $(VENV)/installed
venv-dev: $(VENV)/installed-dev

$(VENV)/bin/uv:
	@set -- $(PYTHON_MINORS); last=$$(($$2 - 1)); \
	for python in $(or $(PYTHON),python3 $$(seq -f python3.%g $$1 $$last)); do \
	  if $$python -c "import sys; sys.exit(not (3, $$1) <= sys.version_info[:2] <= (3, $$last))" 2>/dev/null; then \
	    echo "Creating $(VENV) with $$($$python --version) ..." >&2; \
	    $$python -m venv --clear $(VENV) || { rm -rf $(VENV); \
	      echo "$$python cannot create a virtual environment (reason above). On Debian: apt install python3-venv" >&2; exit 1; }; \
	    $(VENV)/bin/pip install --quiet "$$(grep '^uv==' local/requirements.txt)" || $(UNREACHABLE); exit; \
	  fi; \
	done; \
	echo "Python 3.$$1 to 3.$$last is needed and was not found. Install it, or name it: make PYTHON=/path/to/python3.$$last $(MAKECMDGOALS)" >&2; exit 1

$(VENV)/installed: requirements.lock local/requirements.txt pyproject.toml | $(VENV)/bin/uv
	@echo "Installing packages ..." >&2
	@$(INSTALL) --require-hashes -r requirements.lock && $(INSTALL) -r local/requirements.txt -e . || $(UNREACHABLE)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@$(INSTALL) -r requirements-dev.txt || $(UNREACHABLE)
	@touch $@
