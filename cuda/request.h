// What a launcher is asked to do: a problem, and the pointers the op has. A null output
// is not wanted; a null cotangent is 1 everywhere, times Problem::scale.

#ifndef JAX_FUSED_SSIM_CUDA_REQUEST_H_
#define JAX_FUSED_SSIM_CUDA_REQUEST_H_

#include <cuda_runtime_api.h>

#include "common/plane_sum.h"
#include "common/problem.h"
#include "cuda/device.h"

namespace jax_fused_ssim::cuda {

struct Request {
  Problem problem;
  const void* img1 = nullptr;
  const void* img2 = nullptr;
  const void* cotangent = nullptr;
  // Receives the sums of 1 - SSIM. A launch before clears it: see cuda/launch.cuh.
  PlaneSum* accumulators = nullptr;
  float2* centres = nullptr;  // scratch for cuda/strip_centre.cuh
  void* map = nullptr;
  void* grad1 = nullptr;
  void* grad2 = nullptr;  // only with grad1
};

// cuda/tile.cuh: any request, with accumulators that are being cleared. Defined for
// __half, __nv_bfloat16, float and double, each in a file of its own so that they build
// side by side.
template <typename Element>
cudaError_t launch_tile(cudaStream_t stream, const Device& device,
                        const Request& request);

// cuda/strip_*.cuh: large images. Defined for __half, __nv_bfloat16 and float.
enum class Fit { kImpossible, kPossible, kBest };
template <typename Element>
Fit strip_fit(const Request& request, const Device& device);
// Only what fits. Clears the accumulators.
template <typename Element>
cudaError_t launch_strip(cudaStream_t stream, const Device& device,
                         const Request& request);

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_REQUEST_H_
