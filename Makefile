# make demo and make test need no preparation. make help lists all targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Debian's PATH for users lacks the directories of nft and vsftpd; sudo's PATH lacks Go.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# VERSION is the only place of the version. make manifests copies it into deploy/.
VERSION  := $(shell cat VERSION)
COMMIT    = $(shell git rev-parse -q --verify HEAD 2>/dev/null || echo unknown)
MAINS    := $(patsubst %/,./%,$(sort $(dir $(wildcard plugins/*/*.go cmd/*/*.go))))
# PKGS are the packages of make test. make runtimes and make kube test the others.
PKGS      = $(shell go list ./... | grep -v /test/kube)
# MODULES are separate Go modules: what they import is no dependency of the programs.
MODULES   = hack/sbom test/deploy test/runtimes
RACEPKGS  = $(patsubst %,./%/...,$(wildcard pkg plugins cmd test/nstest))
TIMEOUT   = 40m
FUZZTIME  = 10s
# Set on the command line: make test TESTFLAGS='-v -run Narrow', make demo DEMOFLAGS=--keep
TESTFLAGS =
DEMOFLAGS =
BENCHFLAGS =
# IMAGE is the image's name without the tag, which is the version. For make push, name your registry.
IMAGE     = ghcr.io/masq-cni/masq-cni
PUSHFLAGS =

# Directories of the programs that tests run. They are built before, by the user: tests run as
# root, and would leave files that belong to root.
export MASQ_BIN   := $(CURDIR)/bin
export MASQ_PEERS := $(CURDIR)/.cache/peer
export MASQ_DIST  := $(CURDIR)/dist
export MASQ_KUBE  := $(CURDIR)/.cache/kube
export MASQ_CONTAINERD2 := $(CURDIR)/.cache/containerd2
export MASQ_POD   := $(CURDIR)/.cache/pod
export MASQ_DEPLOY := $(CURDIR)/.cache/deploy
TOOL              := $(CURDIR)/.cache/tool
BENCH             := $(CURDIR)/.cache/bench
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

TOOLS  := $(addprefix $(TOOL)/,$(shell awk '$$1 == "tool" { print $$2 }' hack/tools.list))
PEERS  := $(addprefix $(MASQ_PEERS)/,$(shell awk '$$1 == "peer" { print $$2 }' hack/tools.list))
CONTAINERD2 := $(addprefix $(MASQ_CONTAINERD2)/,$(shell awk '$$1 == "containerd2" { print $$2 }' hack/tools.list))
DEPLOY := $(addprefix $(MASQ_DEPLOY)/,$(shell awk '$$1 == "deploy" { print $$2 }' hack/tools.list))
GOTEST  = go test -count=1 -timeout=$(TIMEOUT) -exec "'$(CURDIR)/hack/as-root'"

.PHONY: help build man demo test runtimes kube image push release manifests deploy lint tidy fmt race fuzz bench slim vuln tools peers docs clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## bin/: the programs, static and stripped
	@hack/needs build
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/ \
		-ldflags '-s -w -X main.buildVersion=$(VERSION) -X main.buildCommit=$(COMMIT)' $(MAINS)

man: build ## bin/man/: the manual pages of masq-cni and masqd
	@rm -rf bin/man && mkdir bin/man
	@export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || true); \
	for program in masq-cni masqd; do bin/$$program man bin/man; done

demo: build ## a container whose path has a small MTU, step by step (root; needs no packages)
	@hack/as-root bin/masq-cni demo $(DEMOFLAGS)

test: needs-test build peers ## vet and all tests, with real packets (root)
	go vet $(PKGS)
	$(GOTEST) $(TESTFLAGS) $(PKGS)

runtimes: needs-runtimes build peers $(CONTAINERD2) ## tests with containerd 1.6 and 2, ctr and podman (root)
	CGO_ENABLED=0 go -C test/runtimes build -trimpath -o $(MASQ_POD) ./pod
	go -C test/runtimes vet ./...
	cd test/runtimes && $(GOTEST) $(TESTFLAGS) ./...

kube: needs-kube build peers image $(CONTAINERD2) ## tests with a cluster of two nodes (root; builds Kubernetes, 15 minutes)
	hack/kube-build 1.34 1.37
	CGO_ENABLED=0 go build -trimpath -o $(MASQ_KUBE)/pod ./test/kube/pod
	$(GOTEST) $(TESTFLAGS) ./test/kube/...

race: needs-race needs-test build peers ## tests of the packages with the race detector (root)
	CGO_ENABLED=1 $(GOTEST) -race $(TESTFLAGS) $(RACEPKGS)

fuzz: ## each fuzz target, for FUZZTIME
	@hack/fuzz $(FUZZTIME)

# Peers are built like the plugin: static and stripped. Only a complete run changes the page.
bench: needs-test build ## the figures of docs/benchmarks.md, compared with peers (root; 15 minutes)
	@mkdir -p $(BENCH)
	CGO_ENABLED=0 GOBIN=$(BENCH) go install -trimpath -ldflags '-s -w' \
		$$(awk '$$2 == "ptp" || $$2 == "host-local" { print $$3 }' hack/tools.list)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(BENCH)/ ./test/bench ./test/bench/floor
	@MASQ_PEERS=$(BENCH) hack/as-root $(BENCH)/bench $(BENCHFLAGS) | tee $(BENCH)/table.md
ifeq ($(BENCHFLAGS),)
	@awk -v table=$(BENCH)/table.md '/^<!-- end of the table/ { skip = 0 } !skip { print } \
		/^<!-- table/ { skip = 1; while ((getline line <table) > 0) print line }' \
		docs/benchmarks.md >$(BENCH)/page.md
	@cat $(BENCH)/page.md >docs/benchmarks.md
endif

image: needs-image ## dist/: the container image of each platform, with its SBOM
	COMMIT=$(COMMIT) hack/image $(IMAGE)

push: needs-image ## push the image to a registry: make push IMAGE=registry.example.org/masq-cni
	COMMIT=$(COMMIT) hack/image $(IMAGE) --push $(PUSHFLAGS)

release: needs-image $(MASQ_DEPLOY)/nfpm $(MASQ_DEPLOY)/helm ## dist/: packages, tarballs, chart, image, manifests and SHA256SUMS
	COMMIT=$(COMMIT) hack/release

manifests: $(DEPLOY) ## deploy/: the generated files
	cd test/deploy && go test -count=1 -run TestGenerated . -update

# The tests of the image and of the release build these, so they run as the user.
deploy: needs-deploy build release $(DEPLOY) ## tests of release, manifests, alerts and dashboard (root)
	cd test/deploy && go vet . && go test -count=1 -timeout=$(TIMEOUT) -run 'Image|Release' $(TESTFLAGS) . && $(GOTEST) -skip 'Image|Release' $(TESTFLAGS) .

lint: $(TOOL)/golangci-lint $(TOOL)/actionlint ## golangci-lint, which also checks the import order, and actionlint
	$(TOOL)/actionlint .github/workflows/*.yml
	$(TOOL)/golangci-lint run
	for module in $(MODULES); do (cd $$module && $(TOOL)/golangci-lint run); done

# test/deploy is left out: tests of Prometheus import a module that module proxies do not have.
tidy: ## check that go.mod lists exactly the imported modules
	go mod tidy -diff
	for module in $(filter-out test/deploy,$(MODULES)); do go -C $$module mod tidy -diff; done

fmt: $(TOOL)/golangci-lint ## format with gofumpt
	$(TOOL)/golangci-lint fmt

slim: build ## check the plugin's size and imports, which determine its start time
	@heavy=$$(go list -deps ./plugins/masq); \
	if grep -E '^(k8s\.io|sigs\.k8s\.io|charm\.land|github\.com/(spf13|prometheus|charmbracelet))/' <<<"$$heavy"; then \
		echo 'plugins/masq imports the above, which slow its start' >&2; exit 1; fi
	@size=$$(stat -c %s bin/masq); echo "bin/masq: $$size bytes of at most 6000000"; ((size < 6000000))

vuln: $(TOOL)/govulncheck ## known vulnerabilities, if their database can be reached
	@about=$$(timeout 60 $(TOOL)/govulncheck -version || true); \
	if grep -q '^DB updated:' <<<"$$about"; then $(TOOL)/govulncheck ./...; \
	else echo 'govulncheck: its database is not reachable from here: not checked'; fi

tools: $(TOOLS) ## .cache/tool: linters, govulncheck and benchstat, with the versions of hack/tools.list

peers: $(PEERS) ## .cache/peer: plugins of other projects, for tests and benchmarks

docs: needs-test build ## docs/: the links between pages, docs/cli.md and the table of docs/doctor.md (root)
	$(GOTEST) -run 'TestBook|TestDocumentedHelp|TestDocumentedChecks' ./test/e2e -args -update

clean: ## remove bin/, dist/ and .cache/
	rm -rf bin dist .cache

.PHONY: needs-test needs-race needs-runtimes needs-kube needs-image needs-deploy
needs-test needs-race needs-runtimes needs-kube needs-image needs-deploy: needs-%:
	@hack/needs $*

$(CURDIR)/.cache/%: hack/tools.list
	@hack/needs build
	@hack/tool $(@D) $(@F)
