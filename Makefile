# slipform: `make up` raises an installation on this machine, `make test` checks everything. The work is done by
# tools/ and by meson; this file only names it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export MAKECMDGOALS

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: ## install what is missing on this machine
	@tools/setup

build: ## compile into build/
	@tools/setup build
	@tools/compile build

up: ## install what is missing, build, raise dev-0 and deploy examples/hello
	@tools/setup build run
	@tools/compile build
	@tools/initramfs
	@tools/up

down: ## stop dev-0; its state stays
	@tools/down

test: ## every test; ends with `N passed, N failed`
	@tools/setup build run test
	@tools/compile build
	@tools/initramfs
	@tools/test

test-cluster: ## tests that raise an installation of several operators (dev-1)
	@tools/setup build run test
	@tools/compile build
	@tools/initramfs
	@tools/test cluster

sim-long: ## the simulator over 10,000 seeds, on all cores
	@tools/setup build test
	@tools/compile build
	@build/tests/sim/sim --seeds 10000 --jobs $$(nproc)

sim-mutants: ## break a rule of the core, see whether the simulator finds it; each of tests/sim/mutants
	@tools/setup build test
	@tools/sim-mutants

check: ## formatting, walls between rooms, clang-tidy
	@tools/setup build test
	@CC=clang tools/compile build/clang
	@tools/check

bench: ## figures into build/bench.json
	@tools/setup build run test bench
	@tools/compile build
	@tools/initramfs
	@bench/run

uninstall: ## stop dev-0 and remove its state, keep the cache of the set-up
	@tools/uninstall

.PHONY: help setup build up down test test-cluster sim-long sim-mutants check bench uninstall
