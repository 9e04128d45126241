# The front door: `make help` tells what there is. CMake does the building, tools/run_tests.py the testing.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all
MAKEFLAGS += --no-print-directory
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
MODEL ?=
BENCH_OUT ?= build/bench.json
SECONDS := 60

# The Python environment with CMake, Ninja, cffi and the like: made when the first recipe asks for it.
ENV = $(eval ENV := $(shell tools/setup_env.py build))$(or $(ENV),$(error The Python environment could not be made))
IN_ENV = PATH="$(ENV)/bin:$$PATH"
RUN_TESTS = tools/run_tests.py --jobs $(JOBS)

.PHONY: all help system release debug test test-all fuzz asan tsan demo bench check tidy coverage format lock install clean

## Building

all: release ## set up what is missing, then build build/release/libmoeq.so
	@echo "built build/release/libmoeq.so; the command is tools/moeq; next: make demo, make test, make help"

release debug: system ## the library in build/release, or in build/debug with checks of handles
	@tools/build.py $@ --target moeq --jobs $(JOBS)

install: release ## install library, header, CMake package and moeq.pc [PREFIX=/usr/local]
	@$(IN_ENV) cmake --install build/release --prefix "$(PREFIX)"

system:
	@tools/setup.sh

## Testing

test: system ## run everything that this machine can run; the last line counts
	@$(RUN_TESTS)

test-all: ## the same with the long suites: every 32-bit float, thread sanitizer, emulated 64-bit ARM
	@tools/setup.sh arm64
	@$(RUN_TESTS) --all

fuzz: system ## libFuzzer on the readers of headers, JSON, patterns and checkpoints [SECONDS=60]
	@$(IN_ENV) tools/fuzz.py --seconds $(SECONDS)

asan tsan: system ## the C++ suites under address+undefined or thread sanitizer
	@$(RUN_TESTS) --only $@

check: system ## generated files, versions, formatting; ruff, mypy, shellcheck and clang-tidy
	@$(RUN_TESTS) --only checks --format

tidy: release ## clang-tidy on src/, with the checks that follow paths: three minutes
	@tools/tidy.py --check --deep --jobs $(JOBS)

coverage: system ## lines and branches of src/ that the C++ suites reach, with GCC: half an hour
	@tools/coverage.py --jobs $(JOBS)

## Trying and working

demo: release ## a checkpoint before and after, in numbers [MODEL=dir]
	@$(IN_ENV) PYTHONPATH=bindings/python MOEQ_LIBRARY="$(CURDIR)/build/release/libmoeq.so" \
	    python examples/demo $(if $(MODEL),--model "$(MODEL)")

bench: release ## times and shares of what memory can do, a few minutes [BENCH_OUT=build/bench.json]
	@$(IN_ENV) cmake -DMOEQ_BUILD_BENCH=ON build/release > build/bench-configure.log
	@$(IN_ENV) cmake --build build/release --parallel $(JOBS) --target moeq_bench
	@peers=$$(tools/setup_env.py --path test); [ -e "$$peers/.complete" ] || peers="$(ENV)"; \
	    "$$peers/bin/python" -B bench/run.py --driver build/release/bench/moeq_bench --out "$(BENCH_OUT)"

format: system ## format the C and C++ sources, and the Python package with its tests
	@tools/format.sh
	@tools/lint.py --fix

lock: ## choose the versions in tools/requirements/*.txt anew
	@tools/setup_env.py --lock

clean: ## remove build/; environments stay in ~/.cache/moeq
	rm -rf build

help: ## this list
	@awk 'BEGIN { FS = ":[^#]*## " } \
	    /^## / { printf "\n%s\n", substr($$0, 4) } \
	    /^[a-z][a-z -]*:.*## / { gsub(/ /, ", ", $$1); sub(/^all$$/, "", $$1); printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
