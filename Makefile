# make demo | test | bench | kernels | lint | clean. Everything is installed in $(VENV), nothing outside.

PYTHON ?= python3
VENV ?= .venv
# Extras to install; by default what the goal needs.
EXTRAS ?=
# A JAX version to install, such as 0.9.1; empty for any that fits.
JAX_VERSION ?=
# The JAX to install where there is an NVIDIA driver: cuda13, or cuda12 for old drivers.
CUDA_EXTRA ?= cuda13
# Many workers share one GPU: neither too many, nor any that takes all of its memory.
PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist worksteal
DEMO_ARGS ?=
# Such as --sizes 1x3x1080x1920 --threads 1 2; see python -m benchmarks --help.
BENCH_ARGS ?=

RUFF := ruff==0.17.6
CLANG_FORMAT := clang-format==23.1.5

comma := ,
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
JAX_FUSED_SSIM_CUDA ?= $(if $(GPU),ON,AUTO)
export JAX_FUSED_SSIM_CUDA

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
  $(wildcard cmake/* common/* cpu/* cuda/* ffi/* jax_fused_ssim/*.py)
NATIVE := $(wildcard $(addsuffix /*,common cpu cuda ffi))

# $(call installed,EXTRAS): the stamp of an environment with these extras.
installed = $(VENV)/installed-$(subst $(comma),-,$(strip \
  $(or $(EXTRAS),$(1))))$(if $(GPU),-$(CUDA_EXTRA))
demo_env := $(call installed,demo)
test_env := $(call installed,test)
bench_env := $(call installed,bench)

.PHONY: help demo test bench kernels lint clean FORCE

help:
	@head -1 Makefile

demo: $(demo_env)
	$(VENV)/bin/python examples/fit_image.py $(DEMO_ARGS)

# -P: the installed package, not the one in this folder.
test: $(test_env)
	XLA_PYTHON_CLIENT_PREALLOCATE=false \
	  $(VENV)/bin/python -P -m pytest tests $(PYTEST_ARGS)

bench: $(bench_env)
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

# Needs nvcc; CUDA_ARCH=sm_90 and the like build for a GPU that is not here.
CUDA_ARCH ?= native
kernels: $(VENV)/kernels
$(VENV)/kernels: benchmarks/kernels.cu $(wildcard common/* cuda/*) | $(VENV)/bin/python
	nvcc -O3 -std=c++17 -arch=$(CUDA_ARCH) -t0 -I. -o $@ \
	  benchmarks/kernels.cu $(wildcard cuda/*.cu)

lint: $(VENV)/linters
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(NATIVE) $(wildcard benchmarks/*.cu)

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or newer; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Touched when a setting changes, so that what was built with another is built again.
$(VENV)/settings: FORCE | $(VENV)/bin/python
	@echo 'cuda=$(JAX_FUSED_SSIM_CUDA) jax=$(JAX_VERSION)' | cmp -s - $@ || \
	  echo 'cuda=$(JAX_FUSED_SSIM_CUDA) jax=$(JAX_VERSION)' > $@

$(VENV)/wheel/built: $(SOURCES) $(VENV)/settings
	rm -rf $(VENV)/wheel
	$(PIP) wheel --no-deps --wheel-dir $(VENV)/wheel .
	touch $@

# The second install replaces a build of the same version, which the first one keeps.
$(VENV)/installed-%: $(VENV)/wheel/built
	$(PIP) install \
	  "$$(echo $(VENV)/wheel/*.whl)[$(subst -,$(comma),$*)]" \
	  $(if $(JAX_VERSION),jax==$(JAX_VERSION) jaxlib==$(JAX_VERSION))
	$(PIP) install --force-reinstall --no-deps $(VENV)/wheel/*.whl
	touch $@

$(VENV)/linters: Makefile | $(VENV)/bin/python
	$(PIP) install $(RUFF) $(CLANG_FORMAT)
	touch $@
