# Two commands are enough on a fresh machine with python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS_OUT ?= .
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help demo control-plane test test-control-plane soak bench lint format types contracts protos protos-listing check lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m solver.bound.kernel
	@touch $@

demo: $(VENV)/.ready ## plan a disaggregated deployment on 1,024 nodes and show it
	@$(BIN)/python datasets/demo.py

control-plane: ## build kube-apiserver, kube-scheduler, etcd, kwok and gRPC clients for the tests, once (needs Go)
	@PYTHONPATH=tests $(PYTHON) -m support.controlplane.build $(CONTROL_PLANE_ARGS)

test: $(VENV)/.ready ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not soak and not controlplane" --durations=10

test-control-plane: $(VENV)/.ready ## run the tests that need the programs of `make control-plane`
	@PYTHONPATH=tests $(BIN)/python -m support.controlplane.rerun -n $(WORKERS) --dist worksteal --durations=10

soak: $(VENV)/.ready ## long random campaigns
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m soak --timeout 7200 --durations=10

# Without matplotlib (the dependency group `bench`) there is no plot, and the rest is the same.
$(VENV)/.bench: $(VENV)/.ready
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['bench'], sep='\n')" \
	  | $(BIN)/pip install --quiet --disable-pip-version-check --requirement /dev/stdin \
	  && touch $@ || echo "matplotlib could not be installed: there will be no plot"

bench: $(VENV)/.bench ## measure: times, proofs and memory by size, growth, stream, engines, service (BENCH_ARGS="--sizes 1000 --only table")
	@$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

lint: $(VENV)/.ready ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.ready ## rewrite in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.ready ## mypy --strict
	$(BIN)/mypy

contracts: $(VENV)/.ready ## import-linter: who may import whom
	$(BIN)/lint-imports

PROTOS = -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc

protos: $(VENV)/.ready ## regenerate solver/api from protos/ (PROTOS_OUT=folder)
	@$(BIN)/python $(PROTOS) --python_out=$(PROTOS_OUT) --mypy_out=quiet:$(PROTOS_OUT) protos/solver/api/v1/*.proto
	@$(BIN)/python $(PROTOS) --grpc_python_out=$(PROTOS_OUT) --mypy_grpc_out=quiet:$(PROTOS_OUT) protos/solver/api/v1/*_service.proto

protos-listing: $(VENV)/.ready ## list what is on the wire in protos/contract.txt
	@PYTHONPATH=tests $(BIN)/python -m support.contract

check: lint types contracts test test-control-plane ## everything CI runs

lock: ## renew the locked dependencies (needs uv)
	uv pip compile pyproject.toml --group dev --all-extras --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --upgrade --output-file requirements-dev.lock
	uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --constraints requirements-dev.lock --output-file requirements.lock
	uv pip compile pyproject.toml --group build --extra kubernetes --extra service --universal --generate-hashes \
	  --no-emit-index-url --no-header --python-version 3.11 --constraints requirements-dev.lock \
	  --output-file requirements-image.lock

clean: ## remove what the targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
