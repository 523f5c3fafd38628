# Slicescope's commands. `make help` lists them.
#
# PYTHON   interpreter to build .venv with (3.11 to 3.13); by default the first fitting one on the PATH
# PORT     port of the app (default 8501)
# HEADLESS 1 on servers: serve to the network without opening a browser; else only this machine is served
# JOBS     files of tests that run side by side (default 2; each may take 2 GB and several threads)
# GPU      1 on machines with an NVIDIA GPU: also install TensorFlow's CUDA libraries (Linux, about 3 GB)

PORT ?= 8501
JOBS ?= 2
SERVE := $(if $(HEADLESS),--server.headless true,--server.address 127.0.0.1)
VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := python3 python3.12 python3.13 python3.11
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.DEFAULT_GOAL := help
.PHONY: help app install test lint weights screenshots sheets rules docker clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

app: install ## install what is needed and open the app (PORT=8501, HEADLESS=1 on servers, GPU=1 with one)
	@$(BIN)/python -m core demo --quiet-if-ready
	@$(BIN)/streamlit run app.py --server.port $(PORT) $(SERVE)

install: $(VENV)/installed $(if $(filter 1,$(GPU)),$(VENV)/installed-gpu) ## install the project, so that `.venv/bin/python -m core` works from any folder (GPU=1 for CUDA)

test: $(VENV)/installed-dev lint ## lint and run all tests
	@$(BIN)/python -m pytest -m "not browser" --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
	@$(BIN)/python -m pytest -m browser

lint: $(VENV)/installed-dev ## ruff, both as linter and as formatter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

weights: install ## train the shipped weights anew from phantoms alone, into assets/weights (LARGE=1 bigger, with a GPU; GO_ON=1 on from the present ones)
	@$(BIN)/python -m core.weights $(if $(LARGE),--large) $(if $(GO_ON),--go-on)

screenshots: $(VENV)/installed-dev ## take the pictures of the README in the system's Chromium
	@$(BIN)/python docs/screenshots.py

sheets: $(VENV)/installed-dev ## draw phantoms, and beside real slices into out/ where SLICESCOPE_REAL_DATA names some
	@$(BIN)/python docs/sheets.py

rules: install ## write the page of all label rules, docs/label_rules.md, from the rules
	@$(BIN)/python docs/label_rules.py

docker: ## build the container image
	docker build -t slicescope .

clean: ## remove the virtual environment (the workspace stays)
	rm -rf $(VENV)

# The stamps make a second `make` a matter of milliseconds: pip only runs when a requirement has changed.
$(VENV)/bin/python:
	@set -e; python="$(PYTHON)"; \
	for candidate in $${python:-$(CANDIDATES)}; do \
	  if $$candidate -c '$(FITS)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Slicescope needs Python 3.11, 3.12 or 3.13 with its venv module; none of '$${python:-$(CANDIDATES)}' is one." \
	       "Install one, or name it: make app PYTHON=/path/to/python3.12" >&2; exit 2; \
	fi; \
	echo "Making $(VENV) with $$($$found --version)"; $$found -m venv $(VENV)

$(VENV)/installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the app needs (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/installed-gpu: requirements-gpu.txt $(VENV)/installed
	@echo "Installing what an NVIDIA GPU needs (about 3 GB the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-gpu.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
