# `make help` lists the commands. Everything runs in .venv, which the first command creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a process: sums run in one order, and labs can run side by side.
export OMP_NUM_THREADS := 1
export LEAKLAB_PROGRESS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book pdf test test-deployment notebooks lab federation evidence prior bench lock clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]" -c constraints.txt
	@touch $@

book: $(STAMP) ## build the HTML book and print the path to open
	@$(BIN)/python tools/book.py

pdf: $(STAMP) ## print the book to one PDF with Chromium and print its path
	@$(BIN)/python tools/pdf.py

test: $(STAMP) ## run every check but deployments: style, notebooks in step, unit tests, labs, book in a browser
	$(BIN)/ruff check .
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval -q -ra

test-deployment: $(STAMP) ## run the checks of real servers: Flower over TLS, Ray, nginx, JupyterLab (minutes)
	$(BIN)/python -m pytest -q -ra -m deployment tests

notebooks: $(STAMP) ## regenerate and run the labs whose inputs changed (FORCE=1: all of them)
	$(BIN)/python tools/notebooks.py $(if $(FORCE),--force) $(NB)

lab: $(STAMP) ## open one lab in JupyterLab, e.g. make lab NB=01
	@test -n "$(NB)" || { echo "Name a lab: make lab NB=01"; exit 2; }
	@ls notebooks/$(NB)*.ipynb >/dev/null 2>&1 || { echo "No lab notebooks/$(NB)*.ipynb"; exit 2; }
	env -u OMP_NUM_THREADS $(BIN)/jupyter lab $$(ls notebooks/$(NB)*.ipynb | head -1)

federation: $(STAMP) ## five hospitals as processes over TLS on this machine: train, capture, take down
	@$(BIN)/python deploy/federation.py

evidence: $(STAMP) ## run the studies that record the evidence (NAME=01_federated_averaging: one)
	$(BIN)/python -m studies $(NAME)

prior: $(STAMP) ## train the diffusion prior of chapter 6 anew (about four minutes)
	$(BIN)/python tools/prior.py

bench: $(STAMP) ## time one benchmark against its peer, e.g. make bench NAME=phantoms
	@test -n "$(NAME)" || { echo "Name a benchmark: make bench NAME=..."; ls benchmarks/*.py; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py

lock: $(STAMP) ## write constraints.txt and environment.yml from what .venv holds
	$(BIN)/python tools/lock.py

clean: ## remove the environment and everything built
	rm -rf $(VENV) _build dist build .pytest_cache src/*.egg-info
