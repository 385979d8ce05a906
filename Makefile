# `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# `make gpu` makes no environment: it takes the python whose torch has CUDA.
GPU_PYTHON ?= $(PYTHON)
GPU_ARGS ?=
FAULTS_ARGS ?=
# For instance --torch 2.10.0 --torch 2.15.0.
WHEEL_ARGS ?=
# For instance --only headline, or --corpora 21.
STUDY_ARGS ?=
# What `mesm train`, `mesm evaluate` and the face detector need that torch, transformers and
# huggingface_hub do not bring. Tensorboard's own needs are for its server, which a training does
# not start.
GPU_WHEELS ?= absl-py accelerate annotated-types facenet-pytorch==2.5.3 pillow protobuf psutil \
	pydantic pydantic-core tensorboard typing-inspection
# The pinned pyarrow is 12 MB larger.
GPU_PYARROW ?= pyarrow==21.0.0
DEMO ?= demo
OF_PYTHON_312 := --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
	--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
	--platform manylinux2014_x86_64 --platform any
STAMP := $(VENV)/.installed
SOURCES := $(shell find csrc -type f -not -name '*.pyc' 2>/dev/null)
CXX_SOURCES := $(filter %.cpp %.h %.cu %.cuh,$(SOURCES)) $(shell find tests/csrc docs/examples -name '*.cpp' -o -name '*.h')

.DEFAULT_GOAL := help
.PHONY: help setup test wheel faults real sanitize lint format docs demo page bench gpu-check bounds build-matrix gpu gpu-wheels study where-study study-pictures demo-model tables clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv, install everything, compile the kernels

$(STAMP): pyproject.toml setup.py constraints.txt $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch==2.13.0 setuptools wheel ninja pybind11 cython numpy
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[experiment,features,onnx,web,cluster,dev]'
	$(PIP) install -q -c constraints.txt --no-deps facenet-pytorch==2.5.3  # for its MTCNN weight files only
	$(PIP) install -q -c constraints.txt --no-build-isolation --no-deps phonet==0.3.7  # likewise
	@touch $@

test: setup lint docs  ## Run lint, types, the strict documentation build and all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30

faults: setup  ## Damage, kills, full disks: 10,000 inputs and 100 kills (about an hour on 2 cores)
	$(BIN)/python -m tests.faults --journal build/faults/journal.jsonl --json benchmarks/results/faults.json $(FAULTS_ARGS)

real: setup  ## Real recordings (network): against others' programs, and through every command (5 minutes)
	tests/real/fetch.sh $(BIN)/python build/real
	$(BIN)/python -m tests.real build/real

sanitize: setup  ## Run the op tests on kernels that check their memory and arithmetic (5 minutes)
	tests/sanitize.sh $(BIN)/python

lint: setup  ## Check style and types without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)

format: setup  ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

docs: setup  ## Build the documentation into site/, every warning an error
	$(BIN)/mkdocs build --strict --quiet

demo: setup  ## Miniature corpus, preparation, training, p-curve, pictures, one report
	$(BIN)/mesm demo $(DEMO)

page: setup  ## The demo's model in a browser on this machine; trains it first if there is none
	@test -f $(DEMO)/runs/mesm/evaluation.json || $(BIN)/mesm demo $(DEMO)
	$(BIN)/mesm serve $(DEMO)/runs/mesm --dense $(DEMO)/runs/fe2e --browse

bench: setup  ## FLOPs and latency per p against PyTorch's dense block
	$(BIN)/python -m pytest benchmarks --benchmark-only

gpu-check: setup  ## Compile every GPU kernel for every architecture; no GPU needed (10 minutes)
	$(BIN)/python -m benchmarks.gpu_check

bounds: setup  ## Run the block's GPU kernels on the CPU, each access to memory checked (10 minutes)
	$(BIN)/python tests/bounds.py

build-matrix: setup  ## Compile against every torch and Triton that is allowed (network, nvcc; an hour)
	$(BIN)/python tests/build_matrix.py

wheel: setup  ## Sdist and wheel into dist/, looked at and run in an empty environment (10 minutes)
	$(BIN)/python tests/wheel.py $(WHEEL_ARGS)

gpu:  ## With a GPU: build, GPU tests, sanitizer, benchmark, by the machine's own python; no network
	$(GPU_PYTHON) -m benchmarks.gpu.run $(GPU_ARGS)

gpu-wheels: setup  ## Wheels that a GPU machine of Python 3.12 may lack, into build/gpu-wheels (network)
	$(PIP) download -q -d build/gpu-wheels $(OF_PYTHON_312) -c constraints.txt $(GPU_WHEELS)
	$(PIP) download -q -d build/gpu-wheels $(OF_PYTHON_312) $(GPU_PYARROW)
	@du -sh build/gpu-wheels

study: setup  ## FE2E, MESM and its parts on three miniature corpora of 3,000 clips (hours; goes on where it stopped)
	$(BIN)/python -m benchmarks.studies.miniature_study runs/study $(STUDY_ARGS)

where-study: setup  ## FE2E and MESM where the text says where to look, on two corpora (goes on where it stopped)
	$(BIN)/python -m benchmarks.studies.where_study runs/where $(STUDY_ARGS)

study-pictures: setup  ## The pictures of docs/results, of what `make study` left
	$(BIN)/python -m benchmarks.studies.miniature_pictures runs/study

demo-model: setup  ## mesm/demo_model, of what `make study` left
	$(BIN)/python -m benchmarks.studies.demo_model runs/study

tables: setup  ## Write the measured figures of README.md and docs/ anew from their JSON
	$(BIN)/python -m benchmarks.tables

clean:  ## Remove what was built; keeps .venv
	rm -rf build dist site *.egg-info demo mesm_ops/*.so mesm_ops/*.dylib mesm_ops/op_schemas.h .pytest_cache .mypy_cache .ruff_cache
