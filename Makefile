# One target per habit, the same on a laptop and in CI. Needs Python 3.11, pip, git and make; all else is installed by `setup`
# into .venv, in exactly the versions of requirements.lock.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

# Without a home that can be written to (a bare container, an unnamed user) uv keeps its cache with the environment.
ifeq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),)
export UV_CACHE_DIR ?= $(CURDIR)/.venv/cache
endif

# uv gives up after 60 s for the bytecode of one file; a busy machine with two cores was slower.
export UV_COMPILE_BYTECODE_TIMEOUT ?= 600

.PHONY: setup demo test prepared check format conformance chaos coverage bench lock clean
.DELETE_ON_ERROR:

# With a recipe of its own, so that make doesn't say that there is nothing to be done.
setup: $(READY)
	@:

# uv itself comes from the lock, too: its block of lines is handed to pip. uv doesn't read pip's settings, so the
# address of a mirror that is configured for pip only is passed on; uv's own settings go first. It trusts what the system trusts.
# Compiled here once: where Python may not write bytecode, every process would compile all that it imports (`make demo` starts fifteen).
# Each step is announced before it runs, because the installation can take a minute; where nothing is to be done, nothing is printed.
$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@echo 'setup 1/4: creating the Python environment .venv'
	@$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	@echo 'setup 2/4: installing the installer (uv)'
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
	@echo "setup 3/4: downloading and installing $$(grep -c '^[a-z].*==' requirements.lock) packages (up to a minute or two the first time)"
	@set -e; \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true)}}}"; \
	install() { env $${index:+UV_DEFAULT_INDEX="$$index"} $(BIN)/uv pip "$$@" --quiet --system-certs --python $(BIN)/python; }; \
	install sync --compile-bytecode --require-hashes requirements.lock; \
	install install --no-deps --no-build-isolation --offline --editable .
	@echo 'setup 4/4: compiling Expunge'
	@$(BIN)/python -m compileall -q connectors service workers
	@touch $@
	@echo 'setup: done; the command is $(BIN)/expunge'

demo: setup
	@$(BIN)/expunge demo

test: setup
	@$(MAKE) --no-print-directory --jobs=2 check prepared
	@env PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist worksteal

# Beside mypy, which uses one core: preparing the assertions of all tests takes 8 s of CPU, in each of three processes
# unless their bytecode is there. It is kept, also where it otherwise isn't. A fault of a module is said by `test` itself.
prepared: setup
	@env PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --collect-only -qq > /dev/null || true

# The tests that take minutes of their own: the chaos runs over eight systems with their mutants, Salesforce killed and
# resumed, its conformance. CHAOS_SCALE=0.1 make chaos is a short run: fewer people, fewer faults, every kind of them.
chaos: setup
	@$(BIN)/pytest -n 2 --dist worksteal -m long

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# Branches of service, workers and connectors/base that `make test` takes, in all processes. make coverage TESTS=tests/unit
# measures some tests; OF=<directory> measures another checkout, set up before, with this one's coverage and settings.
# Measured code is slower, so that time-outs are longer. A test that fails doesn't keep the report from being written, but
# the target fails then. Each run has a folder of its own in .coverage-data, so that no run loses another one's data.
OF ?= .
TESTS ?= tests
coverage: setup
	@$(BIN)/uv pip install --quiet --system-certs --python $(OF)/$(BIN)/python "$$($(BIN)/python -m pip freeze | grep '^coverage==')"
	@set -e; mkdir -p .coverage-data; COVERAGE_PLACE=$$(mktemp -d "$(CURDIR)/.coverage-data/$$(date +%Y%m%d-%H%M%S)-XXXXXX"); \
	export COVERAGE_PLACE COVERAGE_RCFILE=$(CURDIR)/tests/coverage.toml PYTHONDONTWRITEBYTECODE=; cd $(OF); \
	tests=0; $(BIN)/coverage run -m pytest -n 3 --dist worksteal -o timeout=900 $(TESTS) || tests=$$?; \
	$(BIN)/coverage combine --quiet; $(BIN)/coverage json --quiet; $(BIN)/coverage report --skip-covered --sort=miss; \
	echo "coverage: data and coverage.json are in $${COVERAGE_PLACE#$(CURDIR)/}"; \
	[ "$$tests" -eq 0 ] || { echo "coverage: some tests failed"; exit "$$tests"; }

# make conformance VENDOR=zendesk; without VENDOR every connector's. An unknown VENDOR selects nothing, which fails.
conformance: setup
	@$(BIN)/pytest -m 'long or not long' tests/conformance $(if $(VENDOR),-k '$(VENDOR)')

# Measures, asserts nothing, writes bench.json. A million entries take long: BENCH_SCALE=0.01 make bench is a short run.
bench: setup
	@set -e; for file in tests/benchmarks/bench_*.py; do \
		$(BIN)/python -m "tests.benchmarks.$$(basename "$$file" .py)" --out bench.json; done

# The newest versions that pyproject.toml allows, for every platform, with what builds and installs the project itself.
# Without addresses: where packages come from is the machine's business. `make lock OPTIONS=...` goes to uv.
lock: setup
	@printf 'editables\nhatchling\nuv\n' | $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --extra dev \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header $(OPTIONS) \
		--output-file requirements.lock pyproject.toml -

# Leaves expunge-data alone: it may hold requests.
clean:
	rm -rf .venv .coverage-data .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find service workers connectors tests -name __pycache__ -type d -prune -exec rm -rf {} +
