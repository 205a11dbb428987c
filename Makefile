# learnd: `make run` starts the service, `make test` runs the whole default test suite.
# Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_PROCESSES ?= $(shell echo $$(($$(nproc) + 2)))

# Modules are compiled once, whatever the environment says: the service and its tests start many processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup install run test lint browser cases learn soak bench proof systemd monitoring few-shot-policy lock clean

help:             ## Say what can be made.
	@sed -n 's/^\([a-z-]*\): .*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(STAMP)   ## Make .venv with the locked versions.

# The versions of the lock, and torch exactly: left to another package's range, pip would take the newest CUDA build.
# torch and two halves of the rest are unpacked side by side. The lock lists what the CPU build needs; the second install
# of torch adds what a build for GPUs needs besides.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
PIP_INSTALL_LISTED := $(PIP_INSTALL) --no-deps --requirement /dev/stdin
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	torch="$$(grep '^torch==' requirements.lock)"; \
	$(PIP_INSTALL) --no-deps "$$torch" & unpacked=$$!; \
	awk 'NR % 2 == 0 && !/^torch==/' requirements.lock | $(PIP_INSTALL_LISTED) & first_half=$$!; \
	awk 'NR % 2 == 1 && !/^torch==/' requirements.lock | $(PIP_INSTALL_LISTED) && \
	wait $$first_half && wait $$unpacked && $(PIP_INSTALL) "$$torch"
	$(PIP_INSTALL) --no-deps --editable .
	$(BIN)/pip check --quiet
	@touch $(STAMP)

# The folder that ARGS or the environment names, as an option for the commands that go with the service.
DATA_DIR_OPTION := $$(printf '%s' "$$ARGS" | grep -oE -e "--data-dir[= ](\"[^\"]*\"|'[^']*'|[^ ]+)" || \
	printf '%s' "$${LEARND_DATA_DIR:+--data-dir $$LEARND_DATA_DIR}")

run: $(STAMP)     ## Start the service; an empty data folder gets six families (ARGS="--data-dir FOLDER --listen HOST:PORT").
	@option="$(DATA_DIR_OPTION)"; option="$${option:+ $$option}"; \
	echo; \
	echo "  learnd starts; Ctrl-C stops it, and it goes on where it was. In another terminal:"; \
	echo; \
	echo "    $(BIN)/learnd status$$option    what it does, how each family stands   (--watch)"; \
	echo "    $(BIN)/learnd curves$$option    learning curves, after a minute or two (--png FILE)"; \
	echo "    $(BIN)/learnd config show$$option    settings, and the data folder"; \
	echo; \
	echo "  A page, metrics and health are at the url of the log line \"ready\", by default http://127.0.0.1:9464/."; \
	echo
	@$(BIN)/learnd run $(ARGS)

install:          ## Install learnd as a service: sudo make install (ARGS="--user", "--dry-run", …).
	$(PYTHON) -B -m agent.service $(ARGS)

# Two processes more than there are cores, because many tests wait for other processes. A group (`xdist_group`) shares a
# live service; groups start first, and all other tests go to whichever process is free.
test: $(STAMP)    ## Run the default test suite in parallel (TEST_PROCESSES=N sets the number of processes).
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup $(ARGS)

lint: $(STAMP)    ## Run the static checks: ruff, mypy, import-linter.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

browser: $(STAMP) ## Run all tests of the page in headless Chromium (apt install chromium).
	$(BIN)/python -m pytest -m "slow or not slow" tests/browser $(ARGS)

cases: $(STAMP)   ## Run the small inputs that once gave a wrong outcome (CASES=FOLDER for others of the same names).
	CASES="$(CASES)" $(BIN)/python -m pytest -m slow --timeout 600 tests/cases $(ARGS)

learn: $(STAMP)   ## Run the learning tests and the ten-minute check of a fresh service.
	$(BIN)/python -m pytest -m slow tests/learning tests/agent/learners $(ARGS)

soak: $(STAMP)    ## Run the crash and memory soak against a live service (about 40 minutes).
	$(BIN)/python -m pytest -m slow tests/soak tests/integration tests/memory tests/envs tests/agent/daemon tests/agent/cli tests/agent/trainer $(ARGS)

bench: $(STAMP)   ## Run the benchmarks.
	$(BIN)/python -m benchmarks $(ARGS)

proof: $(STAMP)   ## Run the tests with the real Prometheus and Alertmanager (apt install prometheus prometheus-alertmanager).
	$(BIN)/python -m pytest -m slow tests/monitoring $(ARGS)

systemd: $(STAMP) ## Run learnd in a systemd that is booted for it, as root (apt install systemd-container).
	$(BIN)/python -m pytest -m slow -s tests/booted $(ARGS)

monitoring: $(STAMP)  ## Write what is made by code: the manual's table of metrics, the dashboards.
	$(BIN)/python -m monitoring

few-shot-policy: $(STAMP)  ## Train few-shot-policy.safetensors on the Omniglot images in LEARND_OMNIGLOT.
	$(BIN)/learnd few-shot train $(ARGS)

lock: $(STAMP)    ## Write requirements.lock from .venv.
	$(BIN)/pip freeze --exclude-editable --all | grep -v '^pip==' | sed 's/^torch==\([0-9.]*\)+.*/torch==\1/' > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:            ## Remove .venv and every cache.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info build dist
