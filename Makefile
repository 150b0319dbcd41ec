# Every target sets up what it needs: Debian packages (through apt, as root or with sudo, only when
# some are missing) and pinned downloads in $MILLRACE_CACHE (default ~/.cache/millrace). Nothing
# else is installed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# Objects compiled in one clone serve the next one.
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 30
PYTEST_ARGS ?=
SANITIZERS = $(CURDIR)/tests/sanitizers

# $(call configure,preset): quick when nothing changed, and says something only when it fails.
configure = log=$$(cmake --preset $(1) 2>&1) || { printf '%s\n' "$$log" >&2; exit 1; }
compile = cmake --build --preset $(1) -j $(JOBS)
unit = ctest --preset $(1) -j $(JOBS)
system = tools/pytest.sh $(PYTEST_ARGS)

.PHONY: help
help:  ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
	  sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: setup
setup:  ## Install missing Debian packages and the pinned libraries
	@tools/setup/packages.sh build
	@tools/setup/deps.sh

.PHONY: setup-clang
setup-clang: setup
	@tools/setup/packages.sh clang

.PHONY: build
build: setup  ## Build build/millrace (release)
	@$(call configure,release)
	@$(call compile,release)

.PHONY: setup-kafka
setup-kafka:
	@tools/setup/packages.sh kafka
	@tools/setup/kafka.sh >/dev/null

.PHONY: test
test: build setup-kafka  ## Unit tests, fuzz corpora, house rules and system tests
	@$(call unit,release)
	@$(call system)

.PHONY: kafka-up
kafka-up: setup-kafka  ## Start a Kafka broker here (KAFKA_VERSION, KAFKA_PORT, NODES=3)
	@tools/kafka/up

.PHONY: kafka-down
kafka-down:  ## Stop what kafka-up started; the data stays in build/kafka
	@tools/kafka/down

.PHONY: demo
demo: build  ## Run everything on this machine with two real data sets (no broker needed)
	@build/millrace demo

.PHONY: bench
bench: bench-local bench-kafka  ## Measure on the local log and on Kafka; JSON in bench/out/

.PHONY: bench-local
bench-local: build  ## The half of it that needs no broker
	@bench/run

.PHONY: bench-kafka
bench-kafka: build setup-kafka  ## The other half, beside a bare copy (BROKERS: of a running cluster)
	@$(call compile,release) --target millrace_bare_copy
	@bench/kafka

.PHONY: fuzz
fuzz: setup-clang  ## Fuzz each target for FUZZ_SECONDS (30); new inputs stay in build-fuzz/corpus/
	@$(call configure,fuzz)
	@cmake --build --preset fuzz -j $(JOBS) --target millrace_fuzzers
	@tools/fuzz.sh build-fuzz $(FUZZ_SECONDS)

.PHONY: test-asan
test-asan: setup setup-kafka  ## Unit tests and a kill test under AddressSanitizer and UBSan
	@tools/setup/deps.sh address
	@$(call configure,asan)
	@$(call compile,asan)
	@$(call unit,asan)
	@MILLRACE_BINARY=build-asan/millrace LSAN_OPTIONS=suppressions=$(SANITIZERS)/lsan.supp \
	  $(call system) -m sanitizers --small

.PHONY: test-tsan
test-tsan: setup setup-kafka  ## Unit tests and a kill test under ThreadSanitizer
	@tools/setup/deps.sh thread
	@$(call configure,tsan)
	@$(call compile,tsan)
	@$(call unit,tsan)
	@MILLRACE_BINARY=build-tsan/millrace TSAN_OPTIONS=suppressions=$(SANITIZERS)/tsan.supp \
	  $(call system) -m sanitizers --small

.PHONY: lint
lint: setup-clang  ## Check formatting, then clang-tidy over src/
	@git ls-files -z 'src/*.h' 'src/*.cc' 'tests/*.cc' | xargs -0 clang-format-14 --dry-run --Werror
	@$(call configure,release)
	@git ls-files 'src/*.cc' | xargs -P $(JOBS) -n 1 clang-tidy-14 -p build --quiet

.PHONY: format
format: setup-clang  ## Format the C++ sources in place
	@git ls-files -z 'src/*.h' 'src/*.cc' 'tests/*.cc' | xargs -0 clang-format-14 -i

.PHONY: clean
clean: kafka-down  ## Remove the build folders (the cache stays)
	rm -rf build build-debug build-asan build-tsan build-fuzz
