# make test    installs what the tests need (Debian packages and a Python environment, when allowed) and runs every test
# make lint    format and lints, warnings are errors
# make bench   criterion benches: each checks its answer, then reports throughput and share of bandwidth
# make bench-guard    fails when a kernel or the warm stream is slower than benches/records says of this kind of processor
# make bench-record   writes that record

CARGO ?= cargo
PYTHON ?= target/python/bin/python

.PHONY: all test deps lint bench bench-test bench-guard bench-record docs clean

all:
	$(CARGO) build --release

deps:
	tests/install-deps

# With the feature mpi where MPI and libclang are to be had; without it the tests that need mpirun say so and are skipped.
test: deps
	GRISTMILL_PYTHON=$(abspath $(PYTHON)) $(CARGO) test --workspace --locked $$(tests/install-deps --features)

lint:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

bench:
	$(CARGO) bench --workspace --locked

# Every bench once, answers checked, nothing timed.
bench-test:
	$(CARGO) bench --workspace --locked --benches -- --test

# Shares of the machine's own speed on both sides; what seems slower is measured again before it counts.
bench-guard:
	$(CARGO) run --release --locked -- bench --compare benches/records

bench-record:
	$(CARGO) run --release --locked -- bench --compare benches/records --record

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
