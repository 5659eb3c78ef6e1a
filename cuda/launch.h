// Launches that follow one another in an op, on the host. They may overlap:
// cuda/overlap.cuh.

#ifndef JAX_FUSED_SSIM_CUDA_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include "cuda/device.h"

namespace jax_fused_ssim::cuda {

struct Grid {
  int64_t blocks;
  int threads;
  int shared_bytes = 0;
};

// Launches a kernel. `overlaps`: it calls wait_for_launch_before.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(cudaStream_t stream, const Device& device, bool overlaps,
                   void (*kernel)(Parameters...), const Grid& grid,
                   const Arguments&... arguments) {
  constexpr int kPlainSharedBytes = 48 * 1024;
  if (grid.shared_bytes > kPlainSharedBytes) {
    // Held by the current device's context, so it is set each time.
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, grid.shared_bytes);
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned int>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned int>(grid.threads));
  config.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = overlaps && device.overlaps_launches ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_LAUNCH_H_
