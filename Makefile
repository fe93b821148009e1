GO ?= go
LINT = v2.15.0

.PHONY: build test chaos demo resume-demo fuzz lint bench help

build: ## build bin/stint
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/stint ./cmd/stint

test: ## format check, vet, unit tests, simulation, end-to-end tests; installs what it needs
	@bash scripts/test.sh

chaos: ## all scenarios of kills, hosts and storage, with real processes; as root; hours, or CYCLES=1500
	@scripts/chaos.sh

demo: build ## count the words of the Go source tree on a server and three agents
	@bash scripts/demo.sh

resume-demo: build ## stop an execution twice, take away ever more of what was there, and count what is performed again
	@bash scripts/stop-and-resume.sh

fuzz: ## fuzz every decoder and parser, FUZZTIME (30s) each
	@bash scripts/fuzz.sh $(or $(FUZZTIME),30s)

lint: bin/golangci-lint-$(LINT) ## run the linter
	bin/golangci-lint-$(LINT) run ./...

bench: build ## measure speed beside the machine's own tools
	bin/stint bench

bin/golangci-lint-$(LINT):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT)
	mv bin/golangci-lint $@

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13
