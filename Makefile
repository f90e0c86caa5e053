# Two commands do everything: make quickstart, make test. The others are for those who work on it (CONTRIBUTING.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLD := .venvs/datasets36
BARE := .venvs/evaluate
PEERS := .venvs/peers
MODELS := .venvs/models
OUTSIDE := cellpose4 stardist yolo lacss
LIGHT := .venvs/light
ENCODERS := .venvs/encoders
PYTHONS := 3.10 3.11 3.12 3.13
OUT ?= quickstart
# The tests that an installation without extras can run; tests/models, workflows and demo want one with all of them.
LIGHT_TESTS := $(filter-out tests/test_house.py tests/test_readme.py tests/test_wheel.py,$(wildcard tests/test_*.py)) \
	$(wildcard $(addprefix tests/,data metrics synthetic benchmark cli))

export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export GRADIO_ANALYTICS_ENABLED := False

FUZZ_SECONDS ?= 600
USUAL := not long and not alone and not exhaustive and not encoders

.PHONY: quickstart test test-long audit fuzz test-light test-postgres test-models test-encoders test-pythons test-wheel docs \
	setup browser clean

quickstart: $(VENV)/.installed ## set up and run the main job offline, into $(OUT)
	@echo "== running the main job: synthetic archive -> data set -> LoRA -> predictions -> scores -> report"
	$(BIN)/glioma-hf quickstart --out $(OUT)

test: setup browser ## set up and run lint, types and the tests
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== types"
	$(BIN)/mypy
	@echo "== tests, a process for each core"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/demo \
		-m "$(USUAL)"
	@echo "== tests of the page, one after the other: a busy machine keeps them waiting"
	$(BIN)/python -m pytest -m "$(USUAL)" tests/demo

test-long: setup browser ## what test leaves out: the README and docs run, full size, many processes, many visitors
	@echo "== long tests, a process for each core"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/demo \
		-m "long and not alone and not exhaustive"
	@echo "== tests of several processes and of the page, one after the other"
	$(BIN)/python -m pytest -m "alone and not exhaustive" tests/leaderboard tests/models tests/workflows tests/test_executor.py
	$(BIN)/python -m pytest -m long tests/demo

test-light: $(LIGHT)/.installed ## data and metric, without torch and its like
	@echo "== tests of data and metric, $$($(LIGHT)/bin/python --version), no extras"
	$(LIGHT)/bin/python -m pytest -m "not slow" $(LIGHT_TESTS)

test-postgres: $(VENV)/.dev ## the leaderboard's database on PostgreSQL instead of SQLite
	@echo "== tests of the leaderboard on PostgreSQL"
	$(BIN)/python -m tests.postgres $(BIN)/python -m pytest -m "not encoders" tests/leaderboard \
		--ignore tests/leaderboard/test_browser.py --ignore tests/leaderboard/test_commands.py

test-models: $(MODELS)/.installed $(OUTSIDE:%=.venvs/%/.installed) ## models on packages that `make test` does without
	@echo "== tests of the families flows and cellpose, with Cellpose 3"
	OMP_NUM_THREADS=1 $(MODELS)/bin/python -m pytest tests/models/flows tests/models/outside/test_cellpose.py
	@for name in $(OUTSIDE); do \
		echo "== tests of the family $$name, with its package"; \
		OMP_NUM_THREADS=1 .venvs/$$name/bin/python -m pytest tests/models/outside/test_$$name.py || exit 1; \
	done

test-encoders: $(ENCODERS)/.installed ## each of the paper's sixteen encoders at its own size, timm's among them
	@echo "== tests of the U-Net's encoders, with timm"
	$(ENCODERS)/bin/python -m pytest -m "" tests/models/unet/test_encoders.py

audit: $(VENV)/.dev ## known weaknesses of the libraries that are installed, where the list of them is reached
	@echo "== audit of the libraries"
	@$(BIN)/python -m tests.audit

fuzz: $(VENV)/.dev ## damaged and hostile inputs, for FUZZ_SECONDS
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m tests.fuzz.harness

# pyenv puts names on PATH that run nothing until it is told so; its interpreters are asked for where they lie.
test-pythons: ## the same with every Python that is promised
	@missing=; for version in $(PYTHONS); do \
		for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python$$version ""; do \
			[ -z "$$python" ] || ! "$$python" -c "" 2>/dev/null || break; \
		done; \
		if [ -z "$$python" ]; then missing="$$missing $$version"; continue; fi; \
		$(MAKE) --no-print-directory test-light LIGHT=.venvs/light-$$version PYTHON="$$python" || exit 1; \
	done; \
	[ -z "$$missing" ] || echo "== NOT RUN: no Python$$missing on this machine"

test-wheel: $(VENV)/.dev ## the tests of WHEEL, or of one that is built from here
	GLIOMA_HF_WHEEL=$(WHEEL) $(BIN)/python -m pytest tests/test_wheel.py

docs: $(VENV)/.dev ## the site, into site/
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

browser: $(VENV)/.dev
	@$(BIN)/python tests/browser.py

setup: $(VENV)/.dev $(OLD)/.installed $(BARE)/.installed $(PEERS)/.installed

# torch first and alone: with it there, nothing else asks for another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== setting up $(VENV): torch, then the package and its libraries (some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all]"
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "== adding the tools for tests"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(LIGHT)/.installed: pyproject.toml constraints.txt
	@echo "== setting up $(LIGHT): the package without extras"
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install --quiet --constraint constraints.txt --editable . pytest hypothesis
	@touch $@

# The loading script needs `datasets` before release 4: an environment of its own, without torch.
$(OLD)/.installed: pyproject.toml
	@echo "== setting up $(OLD): datasets 3.6 for the loading script"
	$(PYTHON) -m venv $(OLD)
	$(OLD)/bin/pip install --quiet "datasets==3.6.0" numpy scipy scikit-image pycocotools pillow pyyaml orjson
	@touch $@

# What the metric may lean on once it is on the Hub, and nothing else.
$(BARE)/.installed: metric/requirements.txt
	@echo "== setting up $(BARE): evaluate alone, for the metric as it is pushed to the Hub"
	$(PYTHON) -m venv $(BARE)
	$(BARE)/bin/pip install --quiet --requirement metric/requirements.txt
	@touch $@

# Other people's metrics, to agree with. Cellpose only wants torch to be there: the one of $(VENV) will do.
$(PEERS)/.installed: benchmarks/requirements.txt $(VENV)/.installed
	@echo "== setting up $(PEERS): the metrics of Cellpose, StarDist and faster-coco-eval"
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt
	$(PEERS)/bin/pip install --quiet --no-deps cellpose stardist
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		>"$$($(PEERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/torch.pth"
	@touch $@

# Cellpose wants an older NumPy than all else, and works with this one: it goes in without asking. The rest is of $(VENV).
$(MODELS)/.installed: tests/models/flows/requirements.txt constraints.txt $(VENV)/.dev
	@echo "== setting up $(MODELS): cellpose beside what $(VENV) has"
	$(PYTHON) -m venv $(MODELS)
	$(MODELS)/bin/pip install --quiet --constraint constraints.txt --requirement tests/models/flows/requirements.txt
	$(MODELS)/bin/pip install --quiet --no-deps "cellpose>=3.1.1.3,<4"
	printf '%s\n%s\n' "$(CURDIR)" \
		"$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")" \
		>"$$($(MODELS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/venv.pth"
	@touch $@

# Networks of others, an environment each. What $(VENV) has is seen from there first, so that no second torch comes along.
.venvs/%/.installed: tests/models/outside/%.txt constraints.txt $(VENV)/.dev
	@echo "== setting up .venvs/$*: $* beside what $(VENV) has"
	$(PYTHON) -m venv .venvs/$*
	printf '%s\n%s\n' "$(CURDIR)" \
		"$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")" \
		>"$$(.venvs/$*/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/venv.pth"
	.venvs/$*/bin/pip install --quiet --constraint constraints.txt --requirement tests/models/outside/$*.txt
	[ $* != lacss ] || .venvs/$*/bin/pip install --quiet --no-deps lacss==0.15.2 "xtrain>=0.4,<0.5"
	@touch $@

# timm wants torchvision, and that a build of torch that brings gigabytes of CUDA. The rest is of $(VENV).
$(ENCODERS)/.installed: pyproject.toml $(VENV)/.dev
	@echo "== setting up $(ENCODERS): timm, with a torch of its own (5 GB)"
	$(PYTHON) -m venv $(ENCODERS)
	$(ENCODERS)/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1
	$(ENCODERS)/bin/pip install --quiet --no-deps "timm>=1.0"
	printf '%s\n%s\n' "$(CURDIR)" \
		"$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")" \
		>"$$($(ENCODERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/venv.pth"
	@touch $@

clean:
	rm -rf $(VENV) .venvs $(OUT) site
