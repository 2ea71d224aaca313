# Berth's commands. `make` lists them.
#
# Each does its own set-up: on a bare Debian or Ubuntu machine with Go and make, as root, they
# install and start what is missing; elsewhere they say what it is.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run tools test upgrade test-fast fuzz engines smoke chaos fleet bench lint fmt build setup migrate up down clean

GOLANGCI_VERSION := v2.15.0
LINTER := bin/golangci-lint-$(GOLANGCI_VERSION)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED ?= 0

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup build ## run everything in one process on http://127.0.0.1:8080 (BERTH_* settings apply)
	@exec bin/berth dev

build: ## build bin/berth, a static binary
	@mkdir -p bin
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/berth ./cmd/berth

setup: ## make sure that a Docker engine and the engine images are there
	@scripts/docker.sh
	@scripts/images.sh

tools: # what tests use besides: a C compiler, a browser, Node.js, MariaDB's clients, OpenSSH's server, engines of their own
	@scripts/cc.sh
	@scripts/chromium.sh
	@scripts/node.sh
	@scripts/mariadb.sh
	@scripts/sshd.sh
	@scripts/engine.sh

test: setup build tools ## all tests, with the race detector, against real Docker, MySQL, Redis and a browser
	@scripts/test.sh

test-fast: ## what needs no Docker, MySQL, Redis, browser or root, in under two minutes
	@scripts/test.sh fast

fuzz: ## feed every decoder of outside bytes made-up input, FUZZ_TIME (30s) each (FUZZ_ONLY: an expression of targets)
	@FUZZ_TIME=$(or $(FUZZ_TIME),30s) FUZZ_ONLY='$(FUZZ_ONLY)' scripts/fuzz.sh

engines: setup build tools ## what Berth needs of a Docker engine, on this machine's and on newer ones (ENGINES: trixie sid)
	@failed=0; scripts/engine-checks.sh whole || failed=1; \
	for suite in $(or $(ENGINES),trixie sid); do scripts/second-engine.sh $$suite scripts/engine-checks.sh whole || failed=1; done; exit $$failed

upgrade: setup ## replace the processes of an earlier release (RELEASE, a commit) one by one, with jobs in flight
	RELEASE=$(or $(RELEASE),f1ce3e8) scripts/upgrade.sh

smoke: setup build ## the whole way of a MySQL and a Redis, with real clients (BERTH_URL: on a server that runs)
	BERTH_BIN=$(CURDIR)/bin/berth go test -count=1 -v -timeout 15m -run "TestSmoke" ./internal/smoke

chaos: setup ## break things on purpose for CHAOS_MINUTES (10) from CHAOS_SEED (in CHAOS_WORLDS of each kind), and count what is lost
	@scripts/engine.sh
	@BERTH_TEST_PACE=$${BERTH_TEST_PACE:-$$(go run ./internal/testenv/pace)} \
	CHAOS_MINUTES=$(or $(CHAOS_MINUTES),10) CHAOS_SEED=$(CHAOS_SEED) CHAOS_WORLDS=$(CHAOS_WORLDS) go test -count=1 -v -timeout 0 -parallel 5 ./internal/chaos

fleet: setup build ## a pool of several real hosts, with more wanted than there is room for, and all that can be away meanwhile
	BERTH_BIN=$(CURDIR)/bin/berth BERTH_FLEET_LONG=1 go test -count=1 -v -timeout 90m -parallel 4 ./internal/fleet

bench: setup build ## how fast it is, beside what else does it (BENCH_PARTS, BENCH_RUNS, BENCH_JOBS, BENCH_WORKERS, BENCH_INSTANCES, BENCH_BEFORE: see docs/performance.md)
	go build -o bin/bench ./internal/bench
	@exec bin/bench -bin bin/berth -parts "$(BENCH_PARTS)" -runs $(or $(BENCH_RUNS),7) -jobs $(or $(BENCH_JOBS),4000) -workers "$(BENCH_WORKERS)" -instances $(or $(BENCH_INSTANCES),1400) -before "$(BENCH_BEFORE)" -json $(or $(BENCH_JSON),bench.json)

lint: $(LINTER) ## what the linters say (.golangci.yml)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted; run make fmt:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go vet -tags chaos,upgrade ./cmd/berth ./internal/upgrade
	$(LINTER) run --allow-parallel-runners ./...

$(LINTER):
	@mkdir -p bin
	GOBIN=$(CURDIR)/bin/.linter go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/.linter/golangci-lint $@

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

migrate: build ## bring the schema of BERTH_DATABASE_URL up to date
	bin/berth migrate

up: setup build ## run the production shape: mysql, redis, api and workers (WORKERS=1)
	@scripts/env.sh
	scripts/image-berth.sh
	scripts/compose.sh up -d --scale worker=$(or $(WORKERS),1)

down: ## stop it; its data stays
	scripts/compose.sh down

clean: ## remove what was built (not .berth, not .env)
	rm -rf bin
