"""Options, markers and fixtures of the whole suite."""

import fcntl
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

# The variable that forces each kernel, which the extension reads; programs that tests
# start inherit it.
KERNELS = {
    "tile": "JAX_FUSED_SSIM_CUDA_KERNEL",
    "strip": "JAX_FUSED_SSIM_CUDA_KERNEL",
    "avx2": "JAX_FUSED_SSIM_CPU",
    "baseline": "JAX_FUSED_SSIM_CPU",
}


def pytest_addoption(parser):
    parser.addoption(
        "--kernel", choices=KERNELS, help="force this kernel wherever it is possible"
    )


def pytest_configure(config):
    # Of all workers that share a GPU, none takes all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # What runs on a GPU, and where something is set, is left alone.
    if not Path("/proc/driver/nvidia").exists():
        os.environ.setdefault("XLA_FLAGS", quick_to_compile())
    kernel = config.getoption("--kernel")
    if kernel is None:
        return
    os.environ[KERNELS[kernel]] = kernel
    if not hasattr(config, "workerinput"):  # once, not in every worker
        missing = why_not(kernel)
        if missing:
            raise pytest.UsageError(f"--kernel {kernel}: {missing}")


def quick_to_compile():
    """XLA's flags for programs that run once: to compile them is most of the time.

    Plain JAX rounds otherwise then; tests of its accuracy ask for more.
    """
    flags = ["--xla_backend_optimization_level=0"]
    # XLA ends the process over a flag that it does not know, or not any more.
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    return " ".join(flags)


def why_not(kernel):
    """Why a kernel cannot run here, or None. This process keeps off JAX: its workers
    need the GPU."""
    program = """
import json, jax
from jax_fused_ssim import build_info
print(json.dumps([jax.default_backend(), build_info()]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True
    )
    if done.returncode != 0:
        return done.stderr
    backend, info = json.loads(done.stdout)
    if KERNELS[kernel] == "JAX_FUSED_SSIM_CUDA_KERNEL":
        return why_no_gpu(backend, info)
    found = info["cpu_instruction_set"]
    return None if found == kernel else f"this build takes {found} on this CPU"


def why_no_gpu(backend, info):
    if "cuda" not in info["platforms"]:
        return "this build has no CUDA kernels"
    return None if backend == "gpu" else f"JAX runs on the {backend}, not on a GPU"


def why_no_gpu_here():
    import jax

    from jax_fused_ssim import build_info

    return why_no_gpu(jax.default_backend(), build_info())


def pytest_collection_modifyitems(config, items):
    """Of every test for a GPU, where there is none, one item is left to say so."""
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not for_gpu or not why_no_gpu_here():
        return
    first = {}
    for item in for_gpu:
        first.setdefault((item.path, item.originalname), item)
    rest = {item for item in for_gpu if item not in first.values()}
    items[:] = [item for item in items if item not in rest]


def pytest_runtest_setup(item):
    """Skips what the machine has no GPU, or no memory, for."""
    large = item.get_closest_marker("large")
    if large is None and item.get_closest_marker("gpu") is None:
        return
    missing = why_no_gpu_here()
    if missing:
        pytest.skip(missing)
    if large:
        import jax

        (gigabytes,) = large.args
        stats = jax.devices()[0].memory_stats() or {}
        free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
        if free < gigabytes * 1e9:
            pytest.skip(f"needs {gigabytes} GB of free GPU memory")


@pytest.fixture(scope="session")
def once(request, tmp_path_factory):
    """`once(name, function)`: what `function(folder)` returns, through JSON.

    Of all workers one calls it; the others wait. The folder is theirs together.
    """
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent

    def call(name, function):
        folder = base / f"once-{name}"
        folder.mkdir(exist_ok=True)
        result = folder / "result.json"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                result.write_text(json.dumps(function(folder)))
            return json.loads(result.read_text())

    return call
