# Every command of the contract. `make setup` needs Python 3.11+ and the package registries only.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
V := .venv/bin
ARGS ?=

.PHONY: help setup run demo test lint audit bench bench-detection loadtest faults peers lock clean console
help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 24

# The stamp makes every other target set itself up once, and again when the pinned dependencies change.
.venv/.setup: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12 setup")'
	test -x $(V)/python || $(PYTHON) -m venv .venv
	$(V)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(V)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.setup console ## create .venv, install pinned dependencies, build the console, compile the kernels
	$(V)/python -m kernels.warmup
	@for p in victoria-metrics prometheus prometheus-alertmanager chromium gcc openssl; do \
	  command -v $$p >/dev/null || echo "optional: Debian package $$p is not installed; the tests that need it will skip"; done

console:
	@if [ -f gateway/web/console/package.json ]; then $(V)/python deploy/build_console.py; fi

run: .venv/.setup ## start the gateway with embedded defaults, watching its own host and itself
	@$(V)/python -m kernels.warmup
	$(V)/gateway run $(ARGS)

demo: .venv/.setup ## the same, with a sample fleet in which faults are injected
	@$(V)/python -m kernels.warmup
	$(V)/gateway demo $(ARGS)

# Three processes for two cores: tests with real programs wait more than they compute. Their files come first
# (tests/conftest.py), whatever the number of their tests.
test: .venv/.setup ## the whole test suite
	$(V)/python -m kernels.warmup
	$(V)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/.setup ## ruff, mypy strict, import-linter, bandit, pins of the dependencies and what is known of them
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy
	$(V)/lint-imports --no-logo
	$(V)/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml gateway kernels proto
	$(V)/python deploy/check_lock.py
	-@$(MAKE) --no-print-directory .audit/$(AUDIT_VERSION)
	$(V)/python deploy/audit.py .audit/bin/pip-audit --if-reached

# A virtual environment of its own: pip-audit's dependencies are none of the gateway's.
AUDIT_VERSION := 2.10.1
.audit/$(AUDIT_VERSION):
	$(PYTHON) -m venv --clear .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==$(AUDIT_VERSION)
	touch $@

audit: .venv/.setup .audit/$(AUDIT_VERSION) ## known vulnerabilities of the pinned dependencies; fails where the advisory service does not answer
	$(V)/python deploy/audit.py .audit/bin/pip-audit

bench: .venv/.setup ## kernel and pipeline benchmarks, one JSON line per figure
	$(V)/python -m bench $(ARGS)

bench-detection: .venv/.setup ## the protocol of docs/detection.md over the labelled recordings
	$(V)/python -m bench.detection $(ARGS)

loadtest: .venv/.setup ## load and fault scenarios with a ledger verdict
	$(V)/python -m loadtest $(ARGS)

faults: .venv/.setup ## the fault scenarios alone
	$(V)/python -m loadtest faults $(ARGS)

peers: .venv/.setup ## the same work on vmagent and the OpenTelemetry Collector, side by side
	$(V)/python -m loadtest build-peers
	$(V)/python -m loadtest peers $(ARGS)

lock: ## pin the dependencies anew
	$(V)/uv pip compile --quiet --universal --all-extras --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 pyproject.toml requirements-build.in -o requirements.lock

clean:
	rm -rf .venv .audit .kernel-cache build ./*.egg-info
