# make demo            the main job: migrate, train, evaluate, draw (10 minutes on 2 cores)
# make pretrain-demo   a masked autoencoder from nothing (a few minutes)
# make test            the tests
# make lint            style, imports between packages, types, pages, and the rules of the house
# make matrix          old and new versions of everything, each in an environment (an hour, 18 GB)
# make docs            the pages and docstrings as a site, build/site
#
# Each sets up .venv from the pinned requirements when it is missing or they have changed; docs
# needs a small one of its own alone.
# In an environment of your own (docs/install.md) run the Python commands below as they stand.

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
READY := $(VENV)/.ready
DOCS := .venv-docs
UNFINISHED := $(VENV)/.unfinished
# Where Detectron2 looks for data, too.
DATASETS := $(or $(DETECTRON2_DATASETS),datasets)
SHAPES := $(DATASETS)/shapes/val.json

# The first that runs and has the pinned wheels; `make test PYTHON=...` chooses another.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.14 python3.10,\
    $(shell $(p) -c '$(SUPPORTED)' 2>/dev/null && echo $(p))))

.PHONY: demo pretrain-demo test lint matrix docs

demo: $(READY) $(SHAPES)
	$(RUN) train_net.py --config-file configs/quickstart.py train.overwrite=true
	$(RUN) tools/quickstart_pictures.py output/quickstart

pretrain-demo: $(READY) $(SHAPES)
	$(RUN) train_net.py --config-file configs/pretrain/mae_vit_tiny_demo.py train.overwrite=true

test: $(READY)
	$(RUN) -m pytest -n 2 --ignore tests/project

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m mypy
	$(RUN) -m pytest -n 2 tests/project

# ONLY=newest tries these versions alone.
matrix:
	python3 tools/maintain/matrix.py $(if $(ONLY),--only $(ONLY))

# The docstrings are read, not imported: neither torch nor this package has to be installed.
docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict

# The json of the last split is written last, so it stands for all of them.
$(SHAPES): datasets/prepare_shapes.py $(wildcard datasets/synthetic/*.py) | $(READY)
	$(RUN) datasets/prepare_shapes.py --output $(DATASETS)/shapes \
	    --max-objects 4 --min-object 0.25 --class-colours

# An interrupted set-up starts again from nothing; changed requirements are installed in place.
$(READY): requirements/lock.txt requirements/detectron2.txt
	@if [ -e $(UNFINISHED) ] || [ ! -x $(RUN) ]; then \
	    python="$(PYTHON)"; \
	    $${python:-false} -c '$(SUPPORTED)' 2>/dev/null || { \
	        echo "error: $(VENV) needs Python 3.10 to 3.14; found" \
	            "$$($${python:-python3} --version 2>&1). Name one: make PYTHON=/path/to/python3.11" >&2; \
	        exit 1; }; \
	    echo "Setting up $(VENV), once: about 3 minutes and 6 GB"; \
	    rm -rf $(VENV) && mkdir $(VENV) && touch $(UNFINISHED) && $$python -m venv $(VENV); \
	fi
	@echo "Installing requirements/lock.txt"
	@$(PIP) install --constraint requirements/lock.txt setuptools
	@$(PIP) install --no-build-isolation --requirement requirements/lock.txt
	@$(RUN) -c 'import detectron2' 2>/dev/null || { \
	    echo "Installing Detectron2" && \
	    $(PIP) install --require-hashes --no-deps --only-binary=:all: --python-version 3.10 \
	        --target "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	        --requirement requirements/detectron2.txt; }
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@rm -f $(UNFINISHED) && touch $@

$(DOCS)/.ready: requirements/docs.txt
	@python="$(PYTHON)"; $${python:-python3} -m venv --clear $(DOCS)
	@$(DOCS)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@
