# metamcp-asgi
#   make serve   the gateway with the example servers, on http://127.0.0.1:12008 (PORT=..., HOST=..., CONFIG=...)
#   make test    installs what the tests need, and runs them all
#   make lint    format check, lint, bandit and strict types    make format   rewrites the files
#   make audit   known vulnerabilities of what is installed; needs PyPI
#   make bench   the table of figures that the README shows
#   make soak    ten minutes (SECONDS=600) of load on two workers while everything is killed in turn; docs/reliability.md
#   make pictures   makes those of the README anew, by the test that goes its way; needs port 12008, and a Chinese font
#   make texts   adds new texts of the pages to the catalogues of their translations
#   make clean   removes all that the above made
# Each environment is made once, and again when pyproject.toml or its script changes.

PYTHON ?=
VENV ?= .venv
CACHE ?= .cache
CONFIG ?= examples/mcp.json
HOST ?= $(or $(METAMCP_HOST),127.0.0.1)
PORT ?= $(or $(METAMCP_PORT),12008)
PYTEST_ARGS ?=
SECONDS ?= 600

bin = $(VENV)/bin
pip = $(bin)/python -m pip --quiet --quiet --disable-pip-version-check
peers = scripts/install-test-peers.sh tests/peers/node/package-lock.json

.PHONY: serve test test-environment lint audit format pictures texts bench soak clean
.SUFFIXES:

serve: $(VENV)/.examples
	PATH="$(abspath $(bin)):$$PATH" exec $(bin)/metamcp serve $(CONFIG) --host $(HOST) --port $(PORT)

# Empty, which is off: where modules must not be kept compiled, each of a thousand processes compiles them anew.
test: export PYTHONDONTWRITEBYTECODE =
test: test-environment
	TEST_PEERS_CACHE="$(abspath $(CACHE))" $(bin)/python -m pytest -n 3 --dist loadgroup $(PYTEST_ARGS)

test-environment: $(VENV)/.test $(CACHE)/.peers
	@scripts/install-test-packages.sh

lint: $(VENV)/.lint
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/bandit --quiet --configfile pyproject.toml --recursive metamcp_asgi
	$(bin)/mypy

# Asks PyPI's advisory service about every installed package, so it is not among the checks that run without a network.
audit: $(VENV)/.lint
	$(pip) install --group audit
	$(bin)/python -m pip freeze --exclude-editable >$(VENV)/installed.txt
	$(bin)/pip-audit --strict --progress-spinner off --disable-pip --no-deps --requirement $(VENV)/installed.txt

format: $(VENV)/.lint
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

pictures: test-environment
	TEST_PICTURES="$(CURDIR)/docs/pictures" TEST_PEERS_CACHE="$(abspath $(CACHE))" \
		$(bin)/python -m pytest tests/admin_pages/test_walk_through.py

texts: $(VENV)/.test
	$(bin)/python scripts/update_texts.py

bench: $(VENV)/.test
	@scripts/install-test-packages.sh
	$(bin)/python -m bench

soak: $(VENV)/.test
	@scripts/install-test-packages.sh
	PYTHONPATH="$(CURDIR)" $(bin)/python -m tests.soak --seconds $(SECONDS)

clean:
	rm -rf $(VENV) $(CACHE) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: scripts/create-venv.sh
	@scripts/create-venv.sh $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.examples: $(VENV)/.made pyproject.toml
	@echo "Installing metamcp-asgi and the example servers"
	@$(pip) install --editable . --group examples
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	@echo "Installing metamcp-asgi and what its tests need"
	@$(pip) install --editable . --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@echo "Installing the linters"
	@$(pip) install --group lint
	@touch $@

$(CACHE)/.peers: $(VENV)/.test $(peers)
	@scripts/install-test-peers.sh $(VENV) $(CACHE)
	@touch $@
