"""What a machine may lack that the CUDA kernels need: said once, and no crash."""

import re
import warnings
from importlib import metadata

import jax
import jax.numpy as jnp
import pytest

from jax_fused_ssim import build_info, cuda, fused_ssim, info

HAS_CUDA = "cuda" in build_info()["platforms"]


def clear():
    for cached in (cuda.why_not, cuda._several_plugins, cuda._warn_once):
        cached.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """Makes this one another: by default an H100, whose driver is for CUDA 13.0, with a
    build by CUDA 13.0 that fits."""
    real = info.extension

    def machine(driver=13000, gpus=((9, 0),), architectures="75-real;90", cuda_=True):
        class Extension:
            VERSION = real.VERSION
            CUDA_ARCHITECTURES = architectures if cuda_ else ""
            ffi_version = real.ffi_version
            cpu_instruction_set = real.cpu_instruction_set

            @staticmethod
            def registrations():
                return {"cpu": {}, "CUDA": {}} if cuda_ else {"cpu": {}}

            @staticmethod
            def cuda_versions():
                return (driver, 13000) if cuda_ else (0, 0)

            @staticmethod
            def compute_capabilities():
                return gpus if cuda_ and driver >= 13000 else ()

        clear()
        for module in (cuda, info):
            monkeypatch.setattr(module, "extension", Extension)

    yield machine
    clear()


def plugins(monkeypatch, *names):
    """As if these of JAX's plugins were installed, and no other."""

    def version(name):
        if name not in names:
            raise metadata.PackageNotFoundError(name)
        return "0.9.1"

    monkeypatch.setattr(cuda.metadata, "version", version)


@pytest.fixture(autouse=True)
def one_plugin(monkeypatch):
    plugins(monkeypatch, "jax-cuda13-plugin")


OLD_DRIVER = {"driver": 12080}
OLD_GPU = {"gpus": ((9, 0), (7, 0))}
NEW_GPU = {"architectures": "75-real;90-real", "gpus": ((12, 1),)}
UNFIT = {
    "old driver": (OLD_DRIVER, r"CUDA 13,.*CUDA 12\.8\. Update the NVIDIA driver"),
    "old GPU": (OLD_GPU, r"75-real, 90, and a GPU.* 7\.0\. Build.*CUDA_VISIBLE_DEVI"),
    "new GPU": (NEW_GPU, r"75-real, 90-real, and.* 12\.1\. Build.*CUDAARCHS=native"),
}
unfit = pytest.mark.parametrize(("state", "message"), UNFIT.values(), ids=UNFIT)
FIT = {
    "the default": {},
    "newer driver": {"driver": 13020},
    "next driver": {"driver": 14000},
    "no driver": {"driver": 0},
    "by PTX": {"gpus": ((7, 5), (12, 1))},
    "no GPU": {"gpus": ()},
}


@unfit
def test_warns_once(machine, state, message):
    machine(**state)
    falls_back = "falls back to plain JAX.*" + message
    with pytest.warns(RuntimeWarning, match=falls_back) as caught:
        assert not cuda.usable()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cuda.usable()


@pytest.mark.parametrize("state", FIT.values(), ids=FIT)
def test_uses_the_kernels(machine, state):
    machine(**state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cuda.usable()


@pytest.mark.skipif(not HAS_CUDA, reason="this build has no CUDA kernels")
@unfit
def test_falls_back_to_plain_jax(machine, state, message):
    machine(**state)

    def lowered(implementation):
        def ssim(x, y):
            return fused_ssim(x, y, implementation=implementation)

        x = jnp.zeros((3, 20, 20))
        return jax.jit(ssim).trace(x, x).lower(lowering_platforms=("cuda",)).as_text()

    with pytest.warns(RuntimeWarning, match="falls back"):
        assert "custom_call @jax_fused_ssim" not in lowered(None)
    with pytest.raises(NotImplementedError, match="cuda: .*" + message):
        lowered("fused")


def test_two_plugins_of_jax(machine, monkeypatch):
    """JAX says that one already exists; with the kernels nothing is wrong."""
    machine()
    plugins(monkeypatch, "jax-cuda12-plugin", "jax-cuda13-plugin")
    message = r"jax-cuda12-plugin 0\.9\.1 and jax-cuda13-plugin .*Remove one"
    with pytest.warns(RuntimeWarning, match=message):
        assert cuda.usable()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cuda.usable()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        *((state, message) for state, message in UNFIT.values()),
        ({"driver": 0}, "no NVIDIA driver"),
        ({"gpus": ()}, "no GPU"),
        ({"cuda_": False}, "CPUs only"),
    ],
    ids=str,
)
def test_build_info_says_why_not(machine, state, reason):
    machine(**state)
    assert re.search(reason, build_info()["why_no_cuda"])


def test_build_info_of_what_is_used(machine):
    machine(gpus=((9, 0), (12, 1)))
    found = build_info()
    assert found["why_no_cuda"] is None
    assert found["cuda_driver"] == found["cuda_version"] == "13.0"
    assert found["cuda_architectures"] == ("75-real", "90")
    assert found["gpus"] == ("9.0", "12.1")


def test_build_info_without_cuda(machine):
    machine(cuda_=False)
    found = build_info()
    assert found["platforms"] == ("cpu",)
    assert found["cuda_driver"] is None
    assert found["cuda_version"] is None
    assert found["gpus"] == found["cuda_architectures"] == ()


@pytest.mark.parametrize(
    ("architecture", "runs", "fails"),
    [
        ("86-real", [(8, 6), (8, 9)], [(8, 0), (9, 0), (7, 5)]),
        ("90-virtual", [(9, 0), (10, 0), (12, 1)], [(8, 9)]),
        ("90", [(9, 0), (12, 0)], [(8, 9)]),
        ("90a-real", [(9, 0)], [(9, 1), (10, 0)]),
        ("120f", [(12, 0), (12, 1)], [(11, 0), (13, 0)]),
        ("100-real", [(10, 0), (10, 3)], [(12, 0), (1, 0)]),
        ("all-major", [(7, 5), (12, 1)], []),
    ],
)
def test_what_runs_on_a_gpu(architecture, runs, fails):
    assert [c for c in runs + fails if cuda.runs_on(architecture, c)] == runs


def test_no_kernel_says_why(machine):
    machine(**OLD_DRIVER)
    assert "Update the NVIDIA driver" in info.why_no_kernel()
    machine(cuda_=False)
    assert "CPUs only" in info.why_no_kernel()
    machine()
    assert "CPUs and NVIDIA GPUs only" in info.why_no_kernel()


@pytest.mark.gpu
def test_this_machine():
    found = build_info()
    assert found["why_no_cuda"] is None
    driver, runtime = (float(found[f"cuda_{key}"]) for key in ("driver", "version"))
    assert driver >= int(runtime)
    assert jax.devices()[0].compute_capability in found["gpus"]
