# heatlens: `make demo` shows what it does, `make test` proves that it works.
# On Windows and macOS the cargo commands below do as well.

CARGO ?= cargo
# The report that the demo writes, and where.
DEMO_OUTPUT ?= demo-output

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test setup doctor bench accuracy evaluation format lint docs check

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: setup ## the whole of it on the pictures that come with it, with a report
	$(CARGO) run --release -- demo -o $(DEMO_OUTPUT)

test: setup format lint docs check ## format, lints, documentation and every test

setup: ## install software Vulkan if this machine has no adapter
	@sh .ci/setup.sh

doctor: setup ## list adapters and run every kernel once
	$(CARGO) run --release -- doctor

bench: setup ## the kernels against naive ones (docs/benchmarks.md)
	$(CARGO) bench --benches

accuracy: setup ## measure the errors of docs/accuracy.md
	HEATLENS_ACCURACY=1 $(CARGO) test --release --test models --test image

evaluation: setup ## run the commands of docs/evaluation.md and write what they print
	HEATLENS_EVALUATION=1 $(CARGO) test --release --test evaluation

format: ## is the code formatted?
	@echo '== format'
	$(CARGO) fmt --check

lint: ## no warning of rustc or clippy
	@echo '== lint'
	$(CARGO) clippy --release --all-targets -- -D warnings

docs: ## no warning of rustdoc
	@echo '== docs'
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --no-deps

check: ## every test
	@echo '== tests'
	$(CARGO) test --release
