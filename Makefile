# One command each; `make help` lists them. Everything is set up on first use: Python 3.11+ and a package registry are all that is needed.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Where a stack keeps its state; another directory is another stack, which can run beside the first.
C2D_HOME ?= .local
JOB ?= statistics
VENV := .venv
PY := $(VENV)/bin/python
export C2D_HOME ENV_FILE

.PHONY: help demo demo-market up down status test bench lint clean venv venv-dev
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  JOB=statistics|join|failing (demo)   ENV_FILE=my.env (up, demo)   C2D_HOME=dir: another stack beside this one"
	@echo "  C2D_PORT=8080, C2D_POSTGRES_PORT, C2D_RUNNER_PORT, C2D_DATA_PORT: ports, instead of free ones"
	@echo "  C2D_CLUSTER=kubernetes KUBECONFIG=file: jobs run on that cluster instead of this machine"

# The first Python that is new enough builds the virtual environment; it needs nothing but its standard library for that.
define with_python
	@for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	  if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	    exec $$p local/venv.py $(VENV) $(1); fi; done; \
	echo "Python 3.11, 3.12, 3.13 or 3.14 is needed and none was found; install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1
endef

venv:
	$(call with_python,)
venv-dev:
	$(call with_python,dev)

demo: venv ## a real job from start to end on this machine
	@$(PY) -m local.demo $(JOB)
demo-market: venv-dev ## data published, bought and computed on by the unmodified Ocean client, on a chain of its own (needs Node.js 18)
	@$(PY) -m local.market.demo
up: venv ## start the stack and leave it running; .local/env tells how to reach it
	@$(PY) -m local.stack up
down: venv ## stop the stack; its data stay
	@$(PY) -m local.stack down
status: venv ## what runs, since when, where
	@$(PY) -m local.stack status
test: venv-dev ## unit tests, and end-to-end tests on this machine (on a cluster too, with C2D_CLUSTER=kubernetes)
	@$(PY) -m tests.programs
	@$(PY) -m pytest $(ARGS)
bench: venv-dev ## what a job costs beside a bare chain of the same pods, and how fast bytes move
	@$(PY) -m tests.bench $(ARGS)
lint: venv-dev ## ruff, mypy
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy
clean: ## stop the stack and remove its data and the virtual environment
	@if [ -x $(PY) ]; then for home in $(C2D_HOME)/market $(C2D_HOME); do if [ -e $$home/secrets.json ] || [ $$home = $(C2D_HOME) ]; then C2D_HOME=$$home $(PY) -m local.stack clean; fi; done; fi
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
