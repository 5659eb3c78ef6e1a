// The launchers of the kernels.

#ifndef JAX_FUSED_SSIM_CUDA_KERNELS_H_
#define JAX_FUSED_SSIM_CUDA_KERNELS_H_

#include <cuda_runtime_api.h>

#include "common/call.h"
#include "cuda/device.h"

namespace jax_fused_ssim::cuda {

// cuda/tile.cuh: any call, with accumulators that are being cleared. Defined for
// __half, __nv_bfloat16, float and double, each in a file of its own so that they build
// side by side.
template <typename Element>
cudaError_t launch_tile(cudaStream_t stream, const Device& device, const Call& call);

// cuda/strip_*.cuh: large images. Defined for __half, __nv_bfloat16 and float.
enum class Fit { kImpossible, kPossible, kBest };
template <typename Element>
Fit strip_fit(const Call& call, const Device& device);
// Only what fits. Clears the accumulators.
template <typename Element>
cudaError_t launch_strip(cudaStream_t stream, const Device& device, const Call& call);

// cuda/volume.cuh: volumes, with accumulators that are being cleared. Defined for float
// and double.
template <typename T>
cudaError_t launch_volume(cudaStream_t stream, const Device& device, const Call& call);

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_KERNELS_H_
