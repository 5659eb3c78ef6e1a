// The extension module: handlers as capsules, and what the build holds.

#include <nanobind/nanobind.h>

#include "common/derivatives.h"
#include "common/halving.h"
#include "common/parameters.h"
#include "common/plane_sum.h"
#include "common/window.h"
#include "cpu/ssim.h"
#include "ffi/ops.h"
#include "ffi/targets.h"
#include "xla/ffi/api/c_api.h"
#ifdef JAX_FUSED_SSIM_HAS_CUDA
#include "cuda/machine.h"
#else
#define JAX_FUSED_SSIM_CUDA_ARCHITECTURES ""
#endif

namespace nb = nanobind;

namespace jax_fused_ssim {
namespace {

nb::dict capsules(const Targets& targets) {
  nb::dict result;
  for (const Target& target : targets) {
    result[target.name] = nb::capsule(reinterpret_cast<void*>(target.handler));
  }
  return result;
}

// Platform, as XLA names it, to target to handler.
nb::dict registrations() {
  nb::dict result;
  result["cpu"] = capsules(cpu_targets());
#ifdef JAX_FUSED_SSIM_HAS_CUDA
  nb::dict on_gpus = capsules(cuda_targets());
  const Target halved = cuda_halved_target();
  on_gpus[halved.name] = nb::capsule(reinterpret_cast<void*>(halved.handler));
  result["CUDA"] = on_gpus;
#endif
  return result;
}

// (driver, runtime) as 1000 * major + 10 * minor, 0 where there is none.
nb::tuple cuda_versions() {
#ifdef JAX_FUSED_SSIM_HAS_CUDA
  return nb::make_tuple(cuda::driver_version(), cuda::runtime_version());
#else
  return nb::make_tuple(0, 0);
#endif
}

// (major, minor) of every GPU; none where the build has no kernels for any.
nb::tuple compute_capabilities() {
  nb::list found;
#ifdef JAX_FUSED_SSIM_HAS_CUDA
  for (const int capability : cuda::compute_capabilities()) {
    found.append(nb::make_tuple(capability / 10, capability % 10));
  }
#endif
  return nb::tuple(found);
}

nb::tuple target_names() {
  nb::list names;
  for (const Op& op : kOps) names.append(op.target);
  names.append(kHalvedTarget);
  return nb::tuple(names);
}

nb::tuple volume_target_names() {
  nb::list names;
  for (const Op& op : kOps) {
    if (takes_volumes(op)) names.append(op.target);
  }
  return nb::tuple(names);
}

// Those of them whose scratch may have room for derivatives.
nb::tuple volume_gradient_target_names() {
  nb::list names;
  for (const Op& op : kOps) {
    if (takes_volumes(op) && (op.has & kHasGradients)) names.append(op.target);
  }
  return nb::tuple(names);
}

// The name of every bounded parameter to its bounds, by the dtype of the arithmetic.
nb::dict bounds() {
  nb::dict result;
  for (const Parameter& p : kParameters) {
    if (!p.bounded) continue;
    nb::dict by_dtype;
    by_dtype["float32"] = nb::make_tuple(p.in_float.least, p.in_float.most);
    by_dtype["float64"] = nb::make_tuple(p.in_double.least, p.in_double.most);
    result[p.name] = by_dtype;
  }
  return result;
}

}  // namespace
}  // namespace jax_fused_ssim

NB_MODULE(_native, m) {
  using namespace jax_fused_ssim;
  m.attr("VERSION") = JAX_FUSED_SSIM_VERSION;
  m.attr("CUDA_ARCHITECTURES") = JAX_FUSED_SSIM_CUDA_ARCHITECTURES;
  m.attr("SCRATCH_WORDS") = kScratchWords;
  m.attr("MOST_TAPS") = kWindow;
  m.attr("MOST_HALVINGS") = kMostHalvings;
  m.attr("LEAST_GRADIENT_PIXELS") = kLeastGradientPixels;
  m.attr("TARGETS") = target_names();
  m.attr("VOLUME_TARGETS") = volume_target_names();
  m.attr("VOLUME_GRADIENT_TARGETS") = volume_gradient_target_names();
  m.attr("BOUNDS") = bounds();
  m.def("derivative_words", &derivative_words);
  m.def("registrations", &registrations);
  m.def("ffi_version",
        [] { return nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR); });
  m.def("cuda_versions", &cuda_versions);
  m.def("compute_capabilities", &compute_capabilities);
  m.def("cpu_instruction_set", &cpu::instruction_set);
}
