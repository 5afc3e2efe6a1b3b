# make results [STUDY=quickstart] [CORES=4]     the whole study, then its tables; all cores that this
#                                               process may use, unless CORES says how many
# make bench                                    speed beside the peers, into results/bench
# make test                                     the tests
# make test-quick                               those that take no long, in under two minutes
# make check                                    tests, ruff, mypy, snakefmt, snakemake --lint
# TORCH=cpu takes torch from PyTorch's CPU index; otherwise from the configured registry, which
# gives a GPU build of about 3 GB on Linux x86-64.

STUDY ?= quickstart
CORES ?=
TORCH ?= default
TORCH_VERSION := 2.13.0
PYTORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.13,\
	$(shell $(p) -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $(p))))

BENCH ?=
BENCH_PACKED := cpt=results/quickstart/packed/code-cpt ift=results/instruct/packed/gsm8k

.PHONY: results bench test test-quick check lock clean

results: $(READY)
	@$(BIN)/ledger plan --time $(STUDY)
	@$(BIN)/python -m lora_ledger.scheduling.lock $(BIN)/snakemake $(if $(CORES),--cores $(CORES)) --config study=$(STUDY)
	@$(BIN)/ledger show --study $(STUDY)

bench: $(READY)
	$(BIN)/snakemake $(if $(CORES),--cores $(CORES)) data --config study=benchmarks
	$(BIN)/snakemake $(if $(CORES),--cores $(CORES)) results/instruct/packed/gsm8k/record.json --config study=instruct
	$(BIN)/snakemake $(if $(CORES),--cores $(CORES)) results/quickstart/packed/code-cpt/record.json
	@mkdir -p results/bench
	$(BIN)/python benchmarks/training.py --model results/benchmarks/models/smollm2-135m-instruct-q4 \
		--data $(BENCH_PACKED) --out results/bench/training.json $(BENCH)
	$(BIN)/python benchmarks/evaluation.py --out results/bench/evaluation.json $(BENCH)
	$(BIN)/python benchmarks/planning.py --out results/bench/planning.json

test: $(READY)
	$(BIN)/python -m pytest

test-quick: $(READY)
	$(BIN)/python -m pytest -m "not slow"

check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --no-format-shell --check Snakefile workflow
	$(BIN)/snakemake --lint --config study=smoke
	$(BIN)/snakemake --lint --config study=quickstart

$(READY): requirements.lock pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "lora-ledger needs Python 3.11, 3.12 or 3.13 and found none." \
		"Debian/Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.12;" \
		"or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module." \
		"Debian/Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -f $(READY)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(BIN)/python -m pip install --quiet torch==$(TORCH_VERSION) --index-url $(PYTORCH_CPU_INDEX)
else
	@echo "Installing torch $(TORCH_VERSION) (a GPU build, about 3 GB, on Linux x86-64;" \
		"'make TORCH=cpu' takes the CPU build of about 200 MB)."
	$(BIN)/python -m pip install --quiet torch==$(TORCH_VERSION)
endif
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)

# Rewrites requirements.lock and the pins of envs/ from pyproject.toml; needs `uv` on the path.
lock:
	python3 envs/lock.py

clean:
	rm -rf $(VENV) .venv-* .snakemake .mypy_cache .ruff_cache .pytest_cache
