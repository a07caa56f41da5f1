# `make help` lists the commands. Everything runs in .venv, which the first command creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NEWEST := .venv-newest
# One thread a process: sums run in one order, and labs can run side by side.
export OMP_NUM_THREADS := 1
export LEAKLAB_PROGRESS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book pdf slides test test-deployment colab-check newest-check publish notebooks lab federation evidence prior bench lock clean

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

slides: $(STAMP) ## make one deck of slides a chapter from the book and print the path to open
	@$(BIN)/python tools/slides.py

test: $(STAMP) ## run every check but deployments and Colab: style, notebooks in step, unit tests, labs, book in a browser
	$(BIN)/ruff check .
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval -q -ra

test-deployment: $(STAMP) ## run the checks of real servers: Flower over TLS, Ray, nginx, JupyterLab (minutes)
	$(BIN)/python -m pytest -q -ra -m deployment tests

colab-check: $(STAMP) ## run every lab as on Colab: a wheel in a bare environment (minutes)
	$(BIN)/python -m pytest -q -ra -m 'not deployment' tests/test_colab.py

newest-check: ## run the tests with the newest versions that pyproject.toml allows, and list them
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	$(NEWEST)/bin/python tools/newest.py
	$(NEWEST)/bin/python -m pytest -n 2 --dist loadfile --nbval-lax -q -ra \
		--ignore tests/test_environment.py --ignore tests/test_colab.py

publish: $(STAMP) ## make book, labs and wheel for REPOSITORY=https://github.com/OWNER/NAME
	@test -n "$$REPOSITORY" || { echo "Name one: make publish REPOSITORY=https://github.com/OWNER/NAME"; exit 2; }
	@$(BIN)/python tools/publish.py --repository "$$REPOSITORY" --tag "$$TAG" --book "$$BOOK"

notebooks: $(STAMP) ## regenerate and run the labs whose inputs changed (FORCE=1: all of them)
	$(BIN)/python tools/notebooks.py $(if $(FORCE),--force) $(NB)

lab: $(STAMP) ## open one lab in JupyterLab, e.g. make lab NB=01, or a starter: NB=p1
	@test -n "$(NB)" || { echo "Name a lab: make lab NB=01"; exit 2; }
	@find notebooks -name "$(NB)*.ipynb" | grep -q . || { echo "No lab notebooks/$(NB)*.ipynb"; exit 2; }
	env -u OMP_NUM_THREADS $(BIN)/jupyter lab $$(find notebooks -name "$(NB)*.ipynb" | sort | head -1)

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
	rm -rf $(VENV) $(NEWEST) _build dist build .pytest_cache src/*.egg-info
