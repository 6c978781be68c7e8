# Each target is one thing a person does with the checkout; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prepare build modules demo test fuzz test-faults test-arm test-vm lint bench bench-engine bench-kernels bench-memory bench-idle install
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ouroboros
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# `dev` optimises what inference needs and shares its work with the tests; `release` is what `install` takes.
PROFILE ?= dev
BIN_DIR := $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
NEXTEST_PROFILE ?= default
PREFIX ?= /usr/local
DESTDIR ?=

export PATH := $(CACHE)/tools/bin:$(PATH):$(HOME)/.cargo/bin
export ORT_DYLIB_PATH ?= $(CACHE)/onnxruntime/libonnxruntime.so
export OURO_BIN_DIR := $(BIN_DIR)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

prepare: ## install what building and testing needs and this machine lacks
	@packaging/prepare

build: prepare ## build ouro-agent, ouro-server and ouroctl (PROFILE=dev or release)
	@cargo build --locked --workspace --bins --profile $(PROFILE)

modules: build ## the sample containers as two signed modules, in target/modules
	@models/containers/pack $(TARGET_DIR)/modules

demo: modules ## a server and agents on this machine, and a request from one end to the other
	@OURO_MODULES=$(TARGET_DIR)/modules tests/demo/run

lint: prepare ## format, clippy, licences and sources of the dependencies
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@cargo deny --locked check licenses bans sources

# The whole-system tests run the binaries, which nextest alone would not build.
test: lint ## everything: lint, then all tests, those of the source tree's rules included
	@cargo build --locked --workspace --bins
	@cargo nextest run --locked --workspace --profile $(NEXTEST_PROFILE)

# The same properties as in `make test`, for longer; each says how many cases it had and how many a second.
FUZZ_SECONDS ?= 600
fuzz: prepare ## every parser of the sensors and model files against anything, for FUZZ_SECONDS (600)
	@cargo test --locked -p ouro-agent --lib --test damaged_machines --no-run
	@OURO_FUZZ_SECONDS=$$(( $(FUZZ_SECONDS) / 3 )) cargo test --locked -q -p ouro-engine --lib survives_anything -- --nocapture
	@OURO_FUZZ_SECONDS=$$(( $(FUZZ_SECONDS) / 3 )) cargo test --locked -q -p ouro-agent --lib survives_anything -- --nocapture --test-threads=1
	@OURO_FUZZ_SECONDS=$$(( $(FUZZ_SECONDS) / 3 )) cargo test --locked -q -p ouro-agent --test damaged_machines -- --nocapture --test-threads=1

# The tests of `make test` that kill and cut, with more agents and for longer; they print what was killed and how all ended.
test-faults: prepare ## kill everything at random for two minutes, cut all lines: what was acknowledged ends, nobody is blamed
	@cargo build --locked --workspace --bins
	@OURO_FAULT_AGENTS=6 OURO_FAULT_REQUESTS=300 OURO_FAULT_SECONDS=120 OURO_FAULT_SESSIONS=200 OURO_FAULT_SERVER_AWAY=8 OURO_FAULT_CUT=12 \
	    cargo test --locked -q -p ouro-tests --test faults -- --nocapture --test-threads=1

test-arm: prepare ## a static build for phones, tested under emulation (outside CI: several minutes)
	@tests/arm/run

test-vm: prepare ## real PCIe hot-plug of modules in a virtual machine (as root, outside CI: some minutes)
	@tests/vm/run

bench: prepare ## build for speed and measure
	@cargo build --locked --workspace --bins --release
	@OURO_BIN_DIR=$(TARGET_DIR)/release cargo run --locked --release -p ouro-bench

bench-memory: build ## the agent's bandwidth beside STREAM's loops, compiled and run on the same machine in the same run
	@tests/bench/memory

IDLE_SECONDS ?= 600
bench-idle: build ## an agent at rest for IDLE_SECONDS (600), beside prometheus-node-exporter
	@IDLE_SECONDS=$(IDLE_SECONDS) tests/bench/idle

# Where the units point is PREFIX; the folder that a package is made from, DESTDIR, is in no file.
INSTALL_PROFILE ?= release
INSTALL_FROM = $(TARGET_DIR)/$(if $(filter dev,$(INSTALL_PROFILE)),debug,$(INSTALL_PROFILE))
bench-engine: prepare ## measure the engine on random models of 2 GB, beside llama-bench where it is installed
	@cargo build --locked -p ouro-agent --bins --release
	@OURO_BIN_DIR=$(TARGET_DIR)/release tests/bench/engine/run

bench-kernels: ## measure the matrix kernels alone, from the caches and from memory
	@cargo test --locked -q -p ouro-engine --lib --release kernels::speed -- --ignored --nocapture

install: prepare ## build for speed and install into $(DESTDIR)$(PREFIX)
	@cargo build --locked --workspace --bins --profile $(INSTALL_PROFILE)
	@for bin in ouro-agent ouro-server ouroctl; do install -D -m 0755 $(INSTALL_FROM)/$$bin $(DESTDIR)$(PREFIX)/bin/$$bin; done
	@for unit in ouro-agent ouro-server; do \
	    install -D -m 0644 systemd/$$unit.service $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service; \
	    sed -i 's,/usr/bin/,$(PREFIX)/bin/,' $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service; done
	@install -D -m 0644 systemd/90-ouroboros-modules.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/90-ouroboros-modules.rules
	@install -D -m 0644 systemd/ouroboros.sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/ouroboros.conf
	@echo "installed in $(DESTDIR)$(PREFIX); docs/operations.md says how to start it"
