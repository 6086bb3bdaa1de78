# make test    installs what the tests need (Debian packages and a Python environment, when allowed) and runs every test
# make lint    format and lints, warnings are errors
# make bench   criterion benches: each checks its answer, then reports throughput and share of bandwidth
# make bench-guard    fails when a kernel or the warm stream is slower than benches/records says of this kind of processor
# make bench-record   writes that record

CARGO ?= cargo
PYTHON ?= target/python/bin/python

.PHONY: all test deps lint bench bench-test bench-guard bench-record docs clean kill-test bits-table plan-check ranks-check net-test mpich-test arm-check arm-test

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

# A hundred runs killed at random moments and resumed on other numbers of ranks: the same bits every time.
kill-test:
	GRISTMILL_KILLS=100 $(CARGO) test --locked $$(tests/install-deps --features) --test suite -- killed --nocapture

# Threads 1, 2, 5 x ranks 1 to 4 x solvers x killed and resumed: one hash for each training.
bits-table:
	GRISTMILL_TABLE=full $(CARGO) test --locked $$(tests/install-deps --features) --test suite -- table:: --nocapture

# The cost model of `gristmill plan` beside real runs on 1, 2 and 4 ranks of this machine.
plan-check:
	$(CARGO) build --release --locked --features mpi
	tests/plan-check

# Two ranks of one thread against two threads, and a checkpoint a second against none, as ratios; and what one checkpoint takes.
ranks-check:
	$(CARGO) build --release --locked --features mpi
	tests/ranks-check

# Four ranks in four network namespaces, links of 1 Gbit/s and 0.1 ms: needs root, iproute2 and Open MPI. With PER_NODE=2 two ranks share
# a namespace and its memory, and the bytes of rings of nodes are counted.
net-test:
	$(CARGO) build --release --locked --features mpi
	$(CARGO) build --release --locked --features mpi -p mpi-launch --example allreduce
	tests/net-test

# The kernels compiled for 64-bit ARM, where rustup can get its standard library.
arm-check:
	tests/arm-test --check

# The kernels' tests on 64-bit ARM, and models that must have the bits that they have here, under qemu: some fifteen minutes.
arm-test:
	tests/arm-test

# The tests of ranks with MPICH, beside an Open MPI: built in target/mpich.
mpich-test:
	tests/mpich-test
