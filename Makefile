# Thin on purpose: each target is a line that a person could type. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
MARKS = not stack
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The suite starts a thousand processes: each would compile every module of ours again, a quarter of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint types style bench lock stack-test release clean
.DEFAULT_GOAL := run
SHELL := /bin/bash -o pipefail
SCRIPTS = installer.sh .ci/run .ci/release $(wildcard appliance/deploy/host_commands/* tests/stack/lab/*.sh tests/stack/lab/stand-ins/*/*.sh)

run: .venv/runtime  ## start the appliance with the example page, and print where to look
	@$(BIN)/condev demo --data-dir data

test: .venv/test  ## pass the tests, a file at a time in each worker; MARKS="stack or not browser": the stack's beside them
	@$(BIN)/python -m pytest -m "$(MARKS)" -n logical --dist loadfile --no-loadscope-reorder

lint: types style  ## what must hold before anything lands; with -j2, both halves at once
	@echo "lint: all right"

types: .venv/lint
	@$(BIN)/basedpyright --level error | tail -n 40

style: .venv/lint
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/lint-imports --no-cache > .venv/imports.log || { cat .venv/imports.log; exit 1; }
	@$(BIN)/djlint --quiet --lint appliance/web/templates appliance/alerts/templates
	@$(BIN)/shellcheck $(SCRIPTS)
	@$(BIN)/shfmt -d -i 2 -ci $(SCRIPTS)
	@$(BIN)/hadolint Dockerfile tests/stack/lab/stand-ins/*/Dockerfile
	@$(BIN)/python hatch_build.py > .venv/assets.log || { cat .venv/assets.log; exit 1; }
	@$(BIN)/python tests/sdk/sizes.py --quiet
	@$(BIN)/python tests/sdk/tools.py tsc

bench: .venv/test  ## measure what README quotes; writes benchmarks/results/
	@$(BIN)/python -m benchmarks

stack-test: .venv/test  ## the image and the installer on simulated machines; needs root and Debian's docker.io
	@$(BIN)/python -m pytest tests/stack -m stack

release: ## dist/vVERSION: the image, its signed sums, the installer; KEY=file.key of minisign
	@.ci/release $(KEY)

# Every hash of each version, so that one lock serves all architectures; resolved for the image's Python, on Linux.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
  --only-binary :all: --no-binary dkimpy --no-annotate --no-header --no-emit-index-url

lock: .venv/lint  ## write the image's lock files anew: the newest of everything that pyproject.toml allows
	@{ echo "# Runtime of the image. Written by \`make lock\`, not by hand."; $(LOCK) pyproject.toml --group image; } > requirements.lock
	@{ echo "# What the image is built with. Written by \`make lock\`, not by hand."; $(LOCK) --group image-build; } > requirements-build.lock

clean:  ## remove what the targets above made, but not data/
	rm -rf .venv dist build appliance/web/static/vendor sdk/dist sdk/node_modules examples/*/dist examples/*/node_modules

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Condev Monitor needs Python 3.11 or newer; $(PYTHON) is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv" >&2; rm -rf .venv; exit 1; }

# Installing builds the pages' scripts, the SDK and the example page, with tools that are not kept: a change of them is
# a reason to install again. Once for each target, and what has more has what has less, too.
SOURCES = $(wildcard sdk/build.mjs $(foreach place,sdk/src examples/vanilla/src,$(place)/* $(place)/*/* $(place)/*/*/*))
INSTALLED = .venv/bin/python pyproject.toml hatch_build.py appliance/web/package-lock.json sdk/package-lock.json $(SOURCES)
INSTALL = $(BIN)/python -m pip install --quiet --prefer-binary --editable

.venv/runtime: $(INSTALLED)
	@echo "Setting up (once, about a minute) …"
	@$(INSTALL) .
	@touch $@

.venv/test: $(INSTALLED)
	@echo "Setting up (once, about two minutes) …"
	@$(INSTALL) '.[test]'
	@touch .venv/runtime $@

.venv/lint: $(INSTALLED)
	@echo "Setting up (once, about two minutes) …"
	@$(INSTALL) '.[lint,test]'
	@touch .venv/runtime .venv/test $@
