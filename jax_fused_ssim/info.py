"""What this build holds, and what of it this machine uses."""

from typing import Any

from jax_fused_ssim import cuda
from jax_fused_ssim.native import extension


def why_no_kernel() -> str:
    """A sentence for the error that says there is no kernel."""
    return cuda.why_not() or "there are kernels for CPUs and NVIDIA GPUs only."


def _why_no_cuda() -> str | None:
    if reason := cuda.why_not():
        return reason
    if extension.cuda_versions()[0] == 0:
        return "there is no NVIDIA driver."
    return None if extension.compute_capabilities() else "there is no GPU."


def build_info() -> dict[str, Any]:
    """What this build of jax_fused_ssim holds, and what of it this machine uses.

    It does not ask JAX, whose own reasons not to use a GPU are not here.

    Returns:
      A dictionary: `version`; `ffi_version`, (major, minor) of XLA's FFI that the
      handlers were built for; `platforms`, those with kernels, among "cpu" and "cuda";
      `cpu_instruction_set`, in use on this machine: "baseline", "avx2" or "avx512";
      `cuda_version`, of the CUDA runtime inside, such as "13.0", or None;
      `cuda_architectures`, such as ("75-real", "90-real"), empty without CUDA;
      `cuda_driver`, the newest CUDA that the driver here runs, such as "13.0", or None;
      `gpus`, the compute capability of each GPU here, such as ("9.0",); `why_no_cuda`,
      a sentence that says why the CUDA kernels are not used here, or None.
    """
    registrations = extension.registrations()
    driver, runtime = extension.cuda_versions()
    return {
        "version": extension.VERSION,
        "ffi_version": extension.ffi_version(),
        "platforms": tuple(sorted(name.lower() for name in registrations)),
        "cpu_instruction_set": extension.cpu_instruction_set(),
        "cuda_version": cuda.version(runtime) if runtime else None,
        "cuda_architectures": cuda.architectures(),
        "cuda_driver": cuda.version(driver) if driver else None,
        "gpus": tuple("{}.{}".format(*c) for c in extension.compute_capabilities()),
        "why_no_cuda": _why_no_cuda(),
    }
