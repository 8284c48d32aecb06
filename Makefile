# Two commands do everything on a fresh machine: `make sweep` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop

.PHONY: sweep test fuzz lint docs results clean

## The main job: train Based at three learning rates, then draw it on the published points.
sweep: $(READY)
	$(BIN)/recall-bench sweep --arch based --feature-dim 16 --window 64
	$(BIN)/recall-bench plot --over results/quick/records.jsonl --output frontier.png

## The whole test suite.
test: $(DEVELOP)
	$(BIN)/python -m pytest -n auto

## 10,000 generated command lines, stores, exports, plugins and data files (about an hour on two
## cores); FUZZ="--seed 3 --cases 500" chooses others.
fuzz: $(DEVELOP)
	cd tests && OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)" "$(abspath $(BIN))/python" -m fuzz $(FUZZ)

## Formatting, lint, types, and the one-way imports.
lint: $(DEVELOP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## docs/tasks.md, docs/recipes.md and the README's table of architectures again, from the code.
docs: $(DEVELOP)
	$(BIN)/python -m recall_bench.cli.task_pages docs/tasks.md
	$(BIN)/python -m recall_bench.cli.architecture_table README.md
	$(BIN)/python -m recall_bench.cli.recipe_page docs/recipes.md

## Train every published quick point again (two to three hours on two cores), and draw the figure.
results: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" sh results/quick/run.sh

clean:
	rm -rf $(VENV) runs frontier.png

# torch comes first and pinned, so that no other requirement decides which build is taken.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(DEVELOP): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
