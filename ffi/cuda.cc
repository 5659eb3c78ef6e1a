// Handlers for NVIDIA GPUs.

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/ssim.h"
#include "ffi/handlers.h"
#include "ffi/targets.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

struct Cuda {
  using Context = cudaStream_t;
  static auto bind() { return ffi::Ffi::Bind().Ctx<ffi::PlatformStream<Context>>(); }
  // The same launches in every call and no synchronisation: XLA may record them once in
  // a CUDA graph and replay it.
  static constexpr auto kTraits = {ffi::Traits::kCmdBufferCompatible};
  static constexpr bool kHalves = true;

  static ffi::Error run(Context stream, const Call& call) {
    const cudaError_t error = cuda::run(stream, call);
    if (error == cudaSuccess) return ffi::Error::Success();
    return ffi::Error::Internal(std::string("jax_fused_ssim: CUDA: ") +
                                cudaGetErrorString(error));
  }
};

}  // namespace

Targets cuda_targets() { return targets_of<Cuda>(); }

}  // namespace jax_fused_ssim
