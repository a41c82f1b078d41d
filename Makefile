# The commands of this repository. `make help` lists them.

PYTHON ?= python3
# What `make soak` simulates.
SEEDS ?= 10000
FIRST ?= 1
HOURS ?=
VENV := .venv
BIN := $(VENV)/bin

# Stamps: what is installed into the venv, newer than the files that say what that should be.
BASE := $(VENV)/.installed
TESTS := $(VENV)/.installed-test
PEERS := $(VENV)/.installed-bench
CHECKS := $(VENV)/.installed-check

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.DEFAULT_GOAL := help
.PHONY: help cluster test test-fast check soak coverage mutants fuzz mutate chaos bench screenshots manual fix clean

help: ## list what make can do
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

cluster: $(BASE) ## run three nodes here until Ctrl-C, and show what to try
	@$(BIN)/python -m kvraft.cli.cluster

# Four processes, each with whole files: most of the time is spent waiting for nodes that start, elect and end.
test: $(TESTS) ## run all tests; ARGS="tests/raft -k vote" for some
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 4 --dist loadfile --no-loadscope-reorder)

test-fast: $(TESTS) ## run the tests that need neither processes nor long loops, within a minute
	$(BIN)/python -m pytest -m fast --numprocesses 2

check: $(CHECKS) ## style, formatting, types, import contracts; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(BASE) ## simulate clusters under faults for long: SEEDS=10000, or HOURS=8; FIRST=1 names the first seed
	$(BIN)/python -m kvraft.simulation $(if $(HOURS),--hours $(HOURS) --seed $(FIRST),--seeds $(FIRST)..$(shell expr $(FIRST) + $(SEEDS) - 1)) --keep-going

coverage: $(BASE) ## list which lines and branches of the core no simulated run has reached: SEEDS=40
	$(BIN)/python -m kvraft.simulation --coverage --seconds 8 --seeds $(FIRST)..$(shell expr $(FIRST) + $(if $(filter 10000,$(SEEDS)),40,$(SEEDS)) - 1)

mutants: $(BASE) ## break kvraft in many small ways, and see that the simulator notices each; ARGS="--list" tells them
	$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(TESTS) ## a hundred thousand generated streams of RESP, ten times as many as the tests: STREAMS=100000
	KVRAFT_FUZZ_STREAMS=$(or $(STREAMS),100000) $(BIN)/python -m pytest tests/server/resp/test_fuzz.py

mutate: $(TESTS) ## draw small changes of the core, and report which the simulator notices; ARGS="--sample 40 --seed 1"
	$(BIN)/python -m tests.mutants.generated $(ARGS)

chaos: $(BASE) ## ten minutes of harm to real nodes, and a verdict; SECONDS=60, SEED=7, ARGS="--nodes 5"
	@$(BIN)/python -m kvraft.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: $(PEERS) ## compare with etcd, ZooKeeper, Redis and PySyncObj, some minutes; ARGS="failover", ARGS="throughput --full --rounds 20"
	@$(BIN)/python -m benchmarks.compare $(ARGS)

screenshots: $(TESTS) ## take the pictures of the live page in docs/images anew; needs Chromium
	$(BIN)/python -m tests.e2e.screenshots

manual: $(BASE) ## write the man page docs/kvraft.1 anew, from what the command says of itself
	$(BIN)/python -m kvraft.cli.manual > docs/kvraft.1.new && mv docs/kvraft.1.new docs/kvraft.1

fix: $(CHECKS) ## repair style and formatting where that can be done safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the venv and what the tools remember; never the nodes' data
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f twisted/plugins/dropin.cache
	find kvraft tests twisted benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A venv that is older than pyproject.toml is made anew, so that nothing stays in it that is no longer asked for.
$(BASE): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null || echo missing); \
	  echo "kvraft needs Python 3.11 or newer, and $(PYTHON) is $$found." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV), and installing kvraft into it"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

$(TESTS): $(BASE)
	@echo "installing what the tests need"
	@$(INSTALL) '.[test]'
	@touch $@

# A peer that cannot be installed is skipped by the benchmark, with a word.
$(PEERS): $(BASE) benchmarks/requirements.txt
	@echo "installing what the benchmarks compare with"
	@-$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

$(CHECKS): $(TESTS)
	@echo "installing what the checks need"
	@$(INSTALL) '.[test,check]'
	@touch $@
