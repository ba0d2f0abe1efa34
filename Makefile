# The whole interface of this repository. `make` alone says what there is.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DEBUG := $(TARGET)/debug
RELEASE := $(TARGET)/release

.DEFAULT_GOAL := help
.PHONY: help rust install build check demo test chaos faults bench compare lint fmt deny clean-run

help: ## Say what there is
	@echo "Snodo: make <target>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

rust:
	@command -v $(firstword $(CARGO)) >/dev/null 2>&1 || { \
	  echo "Rust is missing: Snodo needs Rust 1.95 or newer and a C compiler." >&2; \
	  echo "Install it as https://rust-lang.org/tools/install says, then run make again." >&2; \
	  exit 1; }

install: ## Install RabbitMQ, PostgreSQL, promtool and PyJWT from Debian's packages, where they are missing
	tests/install-debian.sh rabbitmq postgresql promtool pyjwt

# Always the whole workspace: so every development build has the same features, and nothing is built twice.
build: rust ## Build every program for development
	$(CARGO) build --workspace --bins --locked

check: build ## Check the routes, schemas and configuration of this house
	$(DEBUG)/snodo check

demo: rust ## Play the story: private broker, sandbox, bus; stays up on a terminal
	tests/install-debian.sh rabbitmq
	$(CARGO) build --workspace --bins --locked
	$(DEBUG)/snodo-demo

test: rust install ## Run everything: unit, contract, integration, simulation, some chaos and faults
	$(CARGO) build --workspace --bins --tests --locked
	$(CARGO) test --workspace --locked
	$(DEBUG)/snodo-chaos --short
	$(DEBUG)/snodo-faults --short

chaos: rust install build ## Kill bus and broker under load, and at each crash point (about 20 minutes)
	$(DEBUG)/snodo-chaos

faults: rust install build ## Do what the fault matrix says, row by row (half an hour); F=F03,F11 for some
	$(DEBUG)/snodo-faults $(if $(F),--only $(F))

# Two builds, so that the measured `snodo` has no crash points: the feature `faults` comes with the tests.
bench: rust install ## Measure against the bare relay, in one run (release build)
	$(CARGO) build --release --locked -p snodo --bin snodo
	$(CARGO) build --release --locked -p snodo-tests --bin snodo-bench --no-default-features
	$(RELEASE)/snodo-bench

compare: rust ## Measure this build and the one in BEFORE=folder in turns, in one run; RUNS=fast TURNS=15 for one of the runs, so often
	$(CARGO) build --release --locked -p snodo --bin snodo
	$(CARGO) build --release --locked -p snodo-tests --bin snodo-bench --no-default-features
	$(RELEASE)/snodo-bench compare "$(BEFORE)" $(RUNS) $(TURNS)

lint: rust ## Formatting and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt: rust ## Format the code
	$(CARGO) fmt --all

deny: rust ## Check advisories, licences and sources of dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null 2>&1 || { \
	  echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny check

clean-run: ## Delete what runs left below the target folder (not what was built)
	rm -rf "$(TARGET)/run" "$(TARGET)/chaos.json" "$(TARGET)/faults.json" "$(TARGET)/bench.json"
