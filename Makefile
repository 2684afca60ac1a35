# The commands of the project. Owns no logic of its own: packages are .ci/packages', the build is CMake's, the tests
# are tests/run's, the VM is vm/run's.
#
#   make run         build, then run examples/quickstart.json, here or in the project's VM
#   make test        build and run all tests; the last line is "N passed, N failed, N skipped"
#   make build       build/minirun
#   make install     put it into PREFIX (/usr/local)
#   make lint fmt bench
#   make vm CMD="..." | make vm-shell
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := build
.PHONY: run test build build-all build-san build-packages install lint fmt bench vm vm-shell setup deps clean help

PREFIX ?= /usr/local
CMAKE_FLAGS ?=
# The sources of a folder are compiled as one, which makes the first build much shorter. Who changes them builds with
# CMAKE_FLAGS=-DMINIRUN_UNITY=OFF.
options := -DMINIRUN_UNITY=ON $(if $(shell command -v ccache 2>/dev/null),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

# compile FOLDER,FLAGS,TARGETS: says one line, and more only when something is wrong.
define compile
	@[ -f $(1)/build.ninja ] || { mkdir -p $(1) && cmake -S . -B $(1) -G Ninja $(options) $(2) $(CMAKE_FLAGS) \
	  >$(1)/cmake.log 2>&1 || { cat $(1)/cmake.log; exit 1; }; }
	@[ -z "$$(ninja -C $(1) -n $(3) | grep -v 'no work to do\|Entering directory')" ] || \
	  echo "minirun: building $(3) in $(1) (a few minutes the first time)"
	@ninja -C $(1) -j $$(nproc) --quiet $(3) >$(1)/ninja.log 2>&1 </dev/null || { cat $(1)/ninja.log; exit 1; }
endef

build-packages:
	@.ci/packages build

build: build-packages
	@# A build without npm has an empty page; once there is npm, make it.
	@[ -s build/probe_page.html ] || [ -e build/probe-html/npm.log ] || ! command -v npm >/dev/null || rm -f build/probe_page.html
	$(call compile,build,,minirun minirun-probe)
	@[ -s build/probe_page.html ] || echo "minirun: built without the charts of probe report --html: npm or its registry is missing"

# What the tests need of a build.
build-all: build-packages
	$(call compile,build,,minirun minirun-unit-tests minirun-faults)

# Only the unit tests run under the sanitizers: they take hostile input; the rest is system calls.
build-san: build-packages
	$(call compile,build-san,-DMINIRUN_SANITIZE=address$(comma)undefined -DCMAKE_BUILD_TYPE=None,minirun-unit-tests)

comma := ,

run: build
	@if [ "$$(id -u)" != 0 ]; then echo "minirun: make run needs root" >&2; exit 1; fi
	@if why=$$(vm/wanted); then \
	  .ci/packages vm && echo "minirun: $$why; running in the VM" && \
	  vm/run --timeout 180 -- build/minirun run --summary examples/quickstart.json; \
	else build/minirun run --summary examples/quickstart.json; fi

test:
	@.ci/packages build vm test
	@.ci/packages --unpack build/engines engines
	@tests/run $(TESTFLAGS)

install: build
	install -D -m 755 build/minirun $(DESTDIR)$(PREFIX)/bin/minirun
	install -D -m 755 build/minirun-probe $(DESTDIR)$(PREFIX)/bin/minirun-probe

lint: build
	@.ci/packages build vm test lint
	@tests/lint
	@tests/tidy

fmt:
	@.ci/packages test
	@git ls-files -z '*.cc' '*.h' '*.c' | xargs -0 clang-format-19 -i

bench: build
	@.ci/packages build bench
	@bench/run $(BENCHFLAGS)
	@bench/lifecycle $(LIFEFLAGS)
	@bench/network $(NETFLAGS)

vm: export CMD ?= echo 'usage: make vm CMD="..."'; exit 2
vm:
	@.ci/packages vm
	@vm/run -- bash -c "$$CMD"

vm-shell:
	@.ci/packages vm
	@vm/shell

setup deps:
	@.ci/packages build vm test

clean:
	rm -rf build build-san

help:
	@sed -n 's/^#   //p' Makefile
