# What a person runs is what CI runs: see README.md. Downloads and tools go to $(CACHE), everything built to target/.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TRIPLE := $(shell uname -m)-unknown-linux-gnu
TRIPLE_VARIABLE := $(shell echo $(TRIPLE) | tr a-z- A-Z_)
# Debian keeps libseccomp.a in the multiarch folder.
LIBRARIES := /usr/lib/$(shell uname -m)-linux-gnu

BIN := $(TARGET_DIR)/hull/bin
PROGRAMS := rrun rbuild rcri roci

.DEFAULT_GOAL := help
.PHONY: help build demo test test-cgroup2 conformance bench layout fuzz lint install clean packages test-packages machine-packages bench-packages

help:
	@echo 'make demo      build an image, run it detached and as a pod, and leave nothing behind: a minute after compiling'
	@echo 'make test      every test, on the programs as they are installed'
	@echo 'make test-cgroup2   tests of roci on a machine with cgroup v2 and systemd, in qemu'
	@echo 'make lint      formatting, clippy, rustdoc, dependency policy, shell scripts'
	@echo 'make conformance   public suites of other projects, see docs/conformance.md; RUNTIME= and SUITES= choose'
	@echo 'make bench     side by side with podman, crun, buildah and containerd: ratios'
	@echo 'make layout    write down which functions roci calls, in their order, for its linker'
	@echo 'make fuzz      every parser of foreign bytes, for SECONDS= each'
	@echo 'make install   PREFIX=$(PREFIX)'
	@echo 'make clean'

packages:
	@tests/scripts/packages.sh gcc libc6-dev libseccomp-dev busybox-static protobuf-compiler containernetworking-plugins iptables iproute2 procps

# Of other projects, for tests that say which they did not find: a JVM and what makes the base of its image, and engines.
test-packages:
	@tests/scripts/packages.sh --optional debootstrap default-jdk-headless docker.io podman containerd uidmap

# What runs the machine with cgroup v2, and what its disk is made with.
machine-packages:
	@tests/scripts/packages.sh --optional qemu-system-x86 seabios debootstrap e2fsprogs

bench-packages:
	@tests/scripts/packages.sh --optional crun podman buildah containerd

# Two builds, because settings are per build: roci and the demo's service static and ending at a panic, the others
# dynamic and unwinding. A position-independent roci would write 190 KB of addresses into its data at every start, which
# each monitor then keeps for the life of its pod; its heap, stack and mappings are placed at random either way.
# The linker puts what a start calls side by side (runtime/layout), by names that are mangled in the newer way, which tells
# the instances of a generic function apart.
STATIC = CARGO_TARGET_$(TRIPLE_VARIABLE)_RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static -C symbol-mangling-version=v0" \
	CARGO_TARGET_$(TRIPLE_VARIABLE)_LINKER=$(abspath runtime/layout/ordered-cc.sh) \
	LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$(LIBRARIES) $(CARGO) build --profile roci --target $(TRIPLE)

build: packages
	$(CARGO) build --release -p rrun --bin rrun -p builder --bin rbuild -p cri --bin rcri
	$(STATIC) -p runtime --bin roci -p register --bin register
	install -d $(BIN) fixtures/register/bin
	install $(TARGET_DIR)/release/rrun $(TARGET_DIR)/release/rbuild $(TARGET_DIR)/release/rcri $(TARGET_DIR)/$(TRIPLE)/roci/roci $(BIN)
	install $(TARGET_DIR)/$(TRIPLE)/roci/register fixtures/register/bin

demo: build
	$(CARGO) build -q -p tests --bin leak-check --bin cri-client
	tests/scripts/demo.sh $(BIN) $(TARGET_DIR)/debug/leak-check $(TARGET_DIR)/debug/cri-client

# A roci with fault points, and whose defences can be left out, is for tests only, and never installed. The leak check speaks even when a test failed: what was left is often why.
test: build test-packages
	$(CARGO) build -p runtime --bin roci --features fault-injection
	install -d $(TARGET_DIR)/hull/fault
	install $(TARGET_DIR)/debug/roci $(TARGET_DIR)/hull/fault
	$(CARGO) test --workspace --no-run
	$(CARGO) build -q -p tests --bin leak-check
	$(TARGET_DIR)/debug/leak-check before $(TARGET_DIR)/hull/before
	{ HULL_BIN_DIR=$(abspath $(BIN)) $(CARGO) test --workspace && \
	$(CARGO) test -p runtime --features fault-injection --test faults \
	--test attacks --test attacks_on_process --test attacks_in_motion; }; tests=$$?; \
	$(TARGET_DIR)/debug/leak-check after $(TARGET_DIR)/hull/before && exit $$tests

# The roci of an installation, on another kernel and another kind of cgroups than this machine's.
test-cgroup2: build machine-packages
	$(CARGO) run -q -p tests --bin machine -- --roci $(BIN)/roci

# What is expected is about our runtime; another one is only shown.
conformance: $(if $(RUNTIME),,build)
	$(CARGO) run -q -p tests --bin conformance -- --output $(TARGET_DIR)/hull/conformance \
	$(if $(RUNTIME),--runtime $(RUNTIME),--runtime $(BIN)/roci --expected tests/conformance/expected) $(SUITES)

bench: build bench-packages
	$(CARGO) build --release -p tests --bin bench --bin peak-of
	HULL_BIN_DIR=$(abspath $(BIN)) $(TARGET_DIR)/release/bench

# After a change of what a start calls, a new compiler or new dependencies: for the memory of roci only, what it does is the same.
layout: build
	$(CARGO) build --release -p tests --bin bench
	CARGO_PROFILE_ROCI_STRIP=none $(STATIC) -p runtime --bin roci
	HULL_BIN_DIR=$(abspath $(BIN)) $(TARGET_DIR)/release/bench functions-of $(TARGET_DIR)/$(TRIPLE)/roci/roci >$(TARGET_DIR)/hull/functions
	mv $(TARGET_DIR)/hull/functions runtime/layout/functions
	@# Cargo does not know that the linker reads the list.
	touch runtime/src/main.rs

fuzz: packages
	$(CARGO) run -p tests --bin fuzz -- --seconds $(or $(SECONDS),10)

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p runtime --all-targets --features fault-injection -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	tests/scripts/deny.sh
	tests/scripts/shell.sh

# By rename: at every moment there is a whole program, the old or the new one, and monitors of the old roci go on with it.
install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	cd $(DESTDIR)$(PREFIX)/bin && for program in $(PROGRAMS); do \
	install $(abspath $(BIN))/$$program .$$program.new && mv -f .$$program.new $$program || exit 1; done

clean:
	$(CARGO) clean
	rm -rf fixtures/register/bin
