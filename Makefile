# One virtual environment, .venv, built from the locks by plain pip and built anew when they change.
# PYTHON chooses the interpreter (3.11 or newer); otherwise the first one that will do is taken.

SHELL = /bin/sh
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-virtualenv
# Quick tests wait for processes: three at once keep two cores busy.
WORKERS = 3
SEED =
ARGS =
# Tests start a thousand processes; none of them shall have to compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-slow campaign bench lint format lock clean

help:
	@echo 'make run        load once with config.yaml (own environment, nothing else needed)'
	@echo 'make test       the quick tests, under five minutes'
	@echo 'make test-slow  killed processes and soaks'
	@echo 'make campaign   the long kill campaign (SEED=n repeats one) and 20 minutes of soak'
	@echo 'make bench      speed and memory, beside ioos_qc and plain COPY; DLT=1 also dlt'
	@echo 'make lint       ruff, mypy, import-linter'
	@echo 'make lock       resolve the dependencies again (needs uv)'
	@echo 'make clean      remove the environment and caches; state/ stays'

run: $(VENV)/installed
	@$(BIN)/loader run $(ARGS)

test: $(VENV)/tested
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) $(ARGS)

test-slow: $(VENV)/tested
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile $(ARGS)

campaign: $(VENV)/tested
	$(BIN)/python -m tests.acceptance.campaign $(if $(SEED),--seed $(SEED)) $(ARGS)
	$(BIN)/python -m tests.acceptance.soak --minutes 20

bench: $(VENV)/tested
	DLT=$(DLT) $(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The interpreter is started, not only looked for: a launcher of that name may lead nowhere.
$(VENV)/installed: requirements.lock
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'No Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3.12 run' >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version) ..."; \
	"$$found" -m venv --clear $(VENV)
	@$(PIP) --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/tested: $(VENV)/installed requirements-dev.lock
	@echo 'Adding the tools for tests ...'
	@$(PIP) --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate pyproject.toml --group build
lock:
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev --constraint requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
