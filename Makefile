# Everything a person or CI does with the project. Needs Python >= 3.11 and make; `make` alone lists the targets.

PYTHONS = python3.11 python3 python3.12 python3.13 python3.14
PYTHON ?= $(firstword $(foreach python,$(PYTHONS),$(if $(shell $(python) -c $(NEW_ENOUGH) 2>/dev/null),$(python))))
NEW_ENOUGH = 'import sys; sys.version_info >= (3, 11) and print("yes")'
PIP_INSTALL = -m pip install -qq --disable-pip-version-check --no-input
UV_VERSION = 0.13.9
# With extras: for coverage[toml], which pytest-cov wants, pip takes no hash that was given for coverage alone.
PIN = .venv-pins/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
      --custom-compile-command "make pins" $(if $(UPGRADE),--upgrade)

SDKS = tests/acceptance/node
CLIENTS = tests/acceptance/clients
PORTKEY = bench/node
GROUPS = node openai0 openai1 openai2 litellm frameworks rivals
ENVIRONMENTS = $(foreach group,openai0 openai2 litellm frameworks,.venv-$(group)/.ready)

.DEFAULT_GOAL := help
.PHONY: help setup run test clients faults lint bench rivals pins clean
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

setup: .venv/.ready .venv-openai1/.ready ## Install what is pinned: .venv, and .venv-openai1 for the old OpenAI SDK.
	@:

run: .venv/.ready ## Start the gateway: against 302.AI if AI302_API_KEY is set, else the demo.
	@if [ -n "$$AI302_API_KEY" ]; then exec .venv/bin/gateway302 serve --fresh-key; else exec .venv/bin/gateway302 demo; fi

lint: .venv/.ready ## Check format, style, types and the laws of the rooms.
	.venv/bin/ruff format --check --quiet
	.venv/bin/ruff check --quiet
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# Two at a time, for most tests wait for something; neighbours stay together, for a module often has a server in common.
test: setup lint $(SDKS)/node_modules/.ready ## Lint, and run every test.
	.venv/bin/pytest --ignore $(CLIENTS) --numprocesses 2 --dist worksteal --cov --cov-report=
	.venv/bin/coverage report

clients: setup $(ENVIRONMENTS) $(SDKS)/node_modules/.ready $(CLIENTS)/node_modules/.ready ## Let all SDKs, old ones too, and frameworks draw.
	.venv/bin/pytest -m "" tests/acceptance/test_openai_sdks.py $(CLIENTS) $(CLIENTS)/frameworks.py

faults: .venv/.ready ## Kill, freeze and cut off the gateway at random: make faults ARGS="--faults 10000 --mode task".
	.venv/bin/python -m tests.faults $(ARGS)

bench: .venv/.ready ## Measure the gateway.
	.venv/bin/python -m bench

rivals: .venv/.ready .venv-rivals/.ready $(PORTKEY)/node_modules/.ready ## Measure the gateway beside LiteLLM and Portkey.
	.venv/bin/python -m bench --rivals

pins: .venv-pins/.ready ## Resolve the requirements anew; UPGRADE=1 takes newer releases too.
	$(PIN) --output-file deploy/requirements.txt pyproject.toml
	$(PIN) --output-file deploy/requirements-build.txt --group build
	$(PIN) --output-file tests/requirements.txt --constraint deploy/requirements.txt --group dev pyproject.toml
	for group in $(GROUPS); do $(PIN) --output-file tests/requirements-$$group.txt --group $$group || exit; done

clean: ## Remove what the other targets made.
	rm -rf .venv .venv-* $(SDKS)/node_modules $(CLIENTS)/node_modules $(PORTKEY)/node_modules .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find gateway tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: .venv/.pinned pyproject.toml gateway/__init__.py
	@.venv/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.pinned: tests/requirements.txt
	$(call make-venv,.venv)
	@.venv/bin/python $(PIP_INSTALL) --require-hashes --requirement tests/requirements.txt
	@touch $@

.venv-openai0/.ready .venv-openai1/.ready .venv-openai2/.ready .venv-litellm/.ready .venv-frameworks/.ready .venv-rivals/.ready: \
.venv-%/.ready: tests/requirements-%.txt
	$(call make-venv,$(@D))
	@$(@D)/bin/python $(PIP_INSTALL) --require-hashes --requirement $<
	@touch $@

.venv/.node: tests/requirements-node.txt .venv/.pinned
	@.venv/bin/python $(PIP_INSTALL) --require-hashes --requirement tests/requirements-node.txt
	@touch $@

# npm asks whichever registry this machine is set to; the lock names none.
$(SDKS)/node_modules/.ready $(CLIENTS)/node_modules/.ready $(PORTKEY)/node_modules/.ready: %/node_modules/.ready: %/package-lock.json .venv/.node
	@.venv/bin/npm ci --loglevel error --no-audit --no-fund --prefix $*
	@touch $@

.venv-pins/.ready: Makefile
	$(call make-venv,.venv-pins)
	@.venv-pins/bin/python $(PIP_INSTALL) uv==$(UV_VERSION)
	@touch $@

# Anew each time, so that what the pins no longer name is gone.
define make-venv
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or newer is needed, and none of these is it: $(PYTHONS)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: $(PYTHON) cannot make virtual environments, for it lacks ensurepip." >&2; \
	    echo "make: On Debian and Ubuntu, apt install python3-venv brings it." >&2; exit 1; }
	@echo "Installing $< into $(1) ..."
	@$(PYTHON) -m venv --clear $(1)
endef
