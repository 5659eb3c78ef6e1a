"""Loading the extension, and what happens where it does not fit the machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jax_fused_ssim import build_info, native

PROGRAM = Path(__file__).with_name("cpu_program.py")


def run(args, **env):
    """What Python prints when it runs in a process of its own, on the CPU."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", **env}
    done = subprocess.run(
        [sys.executable, *args], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("built", "runtime"), [((0, 3), (0, 3)), ((0, 3), (0, 4)), ((1, 0), (1, 2))]
)
def test_runtime_as_new_as_the_build(built, runtime):
    native.check_ffi_version(built, runtime)


@pytest.mark.parametrize(
    ("built", "runtime"), [((0, 4), (0, 3)), ((0, 3), (1, 0)), ((1, 0), (0, 9))]
)
def test_runtime_older_than_the_build(built, runtime):
    with pytest.raises(ImportError) as caught:
        native.check_ffi_version(built, runtime)
    message = str(caught.value)
    assert f"XLA FFI {built[0]}.{built[1]}" in message
    assert f"has {runtime[0]}.{runtime[1]}" in message
    assert "pip install --upgrade jax" in message


def test_older_runtime_is_refused_before_anything_is_registered(tmp_path):
    """Registering a handler that XLA refuses would break every later JAX operation."""
    header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define XLA_FFI_API_MAJOR 0\n#define XLA_FFI_API_MINOR 0\n")
    program = f"""
import jax
jax.ffi.include_dir = lambda: {str(tmp_path)!r}
registered = []
jax.ffi.register_ffi_target = lambda *args, **kw: registered.append(args)
try:
    import jax_fused_ssim
except ImportError as error:
    print(error)
print(registered, jax.numpy.arange(3).sum())
"""
    out = run(["-P", "-c", program])
    assert "has 0.0. Install a newer JAX" in out
    assert out.endswith("[] 3\n")


def test_missing_extension():
    program = """
import sys
sys.modules["jax_fused_ssim._native"] = None
try:
    import jax_fused_ssim
except ImportError as error:
    print(error)
"""
    out = run(["-P", "-c", program])
    assert "no extension module that this Python can load" in out
    assert "pip install ." in out


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="reads the maps of the process"
)
def test_cpu_needs_nothing_of_cuda():
    program = """
import re, jax
def cuda_libraries():
    return set(re.findall(r"libcuda\\S*", open("/proc/self/maps").read()))
x = jax.numpy.ones((3, 20, 20))
by_jax = cuda_libraries()
from jax_fused_ssim import fused_ssim
print(jax.grad(fused_ssim)(x, x).max())
print(cuda_libraries() - by_jax)
"""
    out = run(["-P", "-c", program])
    assert out == "0.0\nset()\n"


@pytest.mark.slow
def test_number_of_threads_does_not_matter():
    one, three = (run([PROGRAM], NPROC=n) for n in ("1", "3"))
    assert one == three


@pytest.fixture(scope="module")
def exact(once):
    def write(folder):
        file = folder / "exact.npz"
        run([PROGRAM, "exact", file])
        return str(file)

    return once("exact", write)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512"])
def test_every_cpu_instruction_set(name, exact):
    order = ["baseline", "avx2", "avx512"]
    if order.index(name) > order.index(build_info()["cpu_instruction_set"]):
        pytest.skip("this CPU lacks it, or --kernel another")
    found = json.loads(run([PROGRAM, "compare", exact], JAX_FUSED_SSIM_CPU=name))
    assert found["instruction_set"] == name
    assert found["errors"]
    assert {op: e for op, e in found["errors"].items() if not e < 1} == {}


def test_the_kernel_is_the_best_or_the_one_asked_for(request):
    asked_for = request.config.getoption("--kernel")
    if asked_for not in ("baseline", "avx2"):
        asked_for = ""
    program = """
from jax_fused_ssim import build_info
print(build_info()["cpu_instruction_set"])
"""
    found = build_info()["cpu_instruction_set"]
    assert found == run(["-P", "-c", program], JAX_FUSED_SSIM_CPU=asked_for).strip()
    assert found == run(["-P", "-c", program]).strip()


def run_pytest(*args):
    """One test in a worker of a pytest of its own, on the CPU."""
    test = f"{__file__}::test_the_kernel_is_the_best_or_the_one_asked_for"
    return subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-n", "1", *args, test],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_option_kernel():
    done = run_pytest("--kernel", "baseline")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_option_kernel_without_that_kernel():
    done = run_pytest("--kernel", "strip")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--kernel strip: " in done.stderr
