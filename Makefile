# The commands of this project: `make help` lists them. From another folder: `make -C FOLDER …`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHON ?=
ARGS ?=

.PHONY: help setup run check test prometheus rehearse lock schema problems fuzz-api bench peers peers-lock routing-bench table-load chain streams overload endpoints growth soak matrix python

help: ## list these commands
	sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' Makefile | expand -t 22

setup: ## install everything locked into .venv; seconds when nothing changed
	# A virtual environment works only where it was made, so its place counts as well.
	locked=$$(cat requirements.lock - <<< "$(CURDIR)" | sha256sum)
	declared=$$(sha256sum < pyproject.toml)
	if [ "$$(cat $(VENV)/locked 2>/dev/null)" != "$$locked" ]; then
		python=$$($(find_python))
		echo "Installing $$(grep -c '^[a-z].*==' requirements.lock) packages into $(VENV)" \
			"with $$python, about a minute"
		"$$python" -m venv --clear $(VENV)
		$(PIP) install --no-deps --require-hashes --progress-bar off -r requirements.lock \
			| $(progress)
		echo "$$locked" > $(VENV)/locked
	fi
	if [ "$$(cat $(VENV)/declared 2>/dev/null)" != "$$declared" ]; then
		$(PIP) install --quiet --no-deps --no-build-isolation -e .
		echo "$$declared" > $(VENV)/declared
	fi

run: setup ## the demo, complete in itself; ARGS="--once --orders 200" is passed on
	exec $(BIN)/jalur demo $(ARGS)

check: setup ## linters, formatter, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/squawk --config .squawk.toml migrations/versions/*.sql
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

test: check ## all checks, then all tests; ARGS="tests/routing -k share" is passed on
	exec $(BIN)/python -m pytest $(ARGS)

prometheus: setup ## the scrape config and alert rules tried with the real Prometheus
	exec $(BIN)/python deploy/prometheus/check.py --install $(ARGS)

rehearse: setup ## build and run what the image would hold, without Docker; about a minute
	exec $(BIN)/python -m tests.rehearse_image

lock: setup ## write both lock files from pyproject.toml, keeping versions that still fit
	compile="$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header"
	$$compile pyproject.toml --group build --extra dev -o requirements.lock
	# For the image: nothing of dev, in the same versions.
	$$compile pyproject.toml --group build --constraint requirements.lock \
		-o requirements-runtime.lock

schema: setup ## write migrations/schema.sql, the tables as all migrations leave them
	$(BIN)/python -m migrations.dump

problems: setup ## write docs/problems.md from the table that the service answers from
	$(BIN)/python -c "from app.http.problem_pages import catalogue_markdown; \
		print(catalogue_markdown(), end='')" > docs/problems.md

fuzz-api: setup ## everything that the API describes, called every way; ARGS="--seconds 600"
	exec $(BIN)/python -m tests.fuzz_api $(ARGS)

matrix: setup ## every protocol under every behaviour, a minute; writes docs/dealer-matrix.md
	exec $(BIN)/python -m tests.matrix $(ARGS)

bench: setup ## the benchmark beside peers, about 25 minutes; ARGS="--quick" takes four
	exec $(BIN)/python -m loadtests.bench --install $(ARGS)

peers: setup ## the peers alone, and what a kill -9 does, about 15 minutes; ARGS="--quick" takes two
	exec $(BIN)/python -m loadtests.peers --install $(ARGS)

peers-lock: setup ## write the lock of what the Python peers are built from
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header loadtests/peers/requirements.in \
		-o loadtests/peers/requirements.lock

routing-bench: setup ## how fast a dealer is chosen, about 3 minutes; ARGS="--quick" takes seconds
	exec $(BIN)/python -m loadtests.routing_bench $(ARGS)

table-load: setup ## a million-line sheet applied while orders flow, about 6 minutes
	exec $(BIN)/python -m loadtests.table_load $(ARGS)

streams: setup ## a thousand clients that listen to events on one process, a minute
	exec $(BIN)/python -m loadtests.streams $(ARGS)

chain: setup ## two installations that buy from each other and three in a circle, half a minute
	exec $(BIN)/python -m loadtests.chain $(ARGS)

overload: setup ## three times what can be done, offered; about 4 minutes; ARGS="--quick" takes one
	exec $(BIN)/python -m loadtests.overload $(ARGS)

endpoints: setup ## fifty webhook endpoints beside five bad ones, about 3 minutes
	exec $(BIN)/python -m loadtests.endpoints $(ARGS)

growth: setup ## what an order costs after a million and ten million others, about 2 hours; ARGS="--quick" takes 15 minutes
	exec $(BIN)/python -m loadtests.growth $(ARGS)

soak: setup ## a steady load for 20 minutes, a snapshot held for five of them; ARGS="--quick" takes two
	exec $(BIN)/python -m loadtests.soak $(ARGS)

python: ## print the Python that setup would use; PYTHON=/path/to/python3 chooses one
	$(find_python)

# The oldest supported version first: checks and measurements are made with it.
define find_python
usable='import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))'
for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3); do
	if "$$python" -c "$$usable" 2>/dev/null; then echo "$$python"; exit; fi
done
echo "Python 3.11 or newer with its venv module is needed: apt-get install python3-venv," \
	"or make PYTHON=/path/to/python3" >&2
exit 1
endef

# A dot a package, so that a slow network does not look like a standstill.
define progress
while read -r word _; do
	case "$$word" in
		Collecting) printf . ;;
		Installing) printf ' downloaded\n' ;;
	esac
done
endef
