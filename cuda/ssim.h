// The four ops on an NVIDIA GPU. All launch on `stream`, allocate nothing, synchronise
// with nothing, and return the first launch error. `scratch` is kScratchWords 32-bit
// words a plane, of any content.

#ifndef JAX_FUSED_SSIM_CUDA_SSIM_H_
#define JAX_FUSED_SSIM_CUDA_SSIM_H_

#include <cuda_runtime_api.h>

#include "common/plane_sum.h"
#include "common/problem.h"

namespace jax_fused_ssim::cuda {

// For every plane, scale * sum of (1 - SSIM). `sums`: float, double for kF64.
cudaError_t ssim_sum(cudaStream_t stream, const Problem& problem, const Images& images,
                     void* scratch, void* sums);

// The same, and scale * d(sum of SSIM)/d img1, and /d img2 unless `grad2` is null, in
// one pass over the images. Gradients are float, double for kF64, and cover every
// leading index of the results.
cudaError_t ssim_sum_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, void* scratch, void* sums, void* grad1,
                          void* grad2);

// SSIM of every map pixel, in the dtype of the images.
cudaError_t ssim_map(cudaStream_t stream, const Problem& problem, const Images& images,
                     void* scratch, void* map);

// d(sum of cotangent * SSIM)/d img1, and /d img2 unless `grad2` is null. `cotangent`
// has the shape and dtype of the map, gradients are as for ssim_sum_grad.
cudaError_t ssim_map_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, void* scratch, const void* cotangent,
                          void* grad1, void* grad2);

// Driver and runtime versions as 1000 * major + 10 * minor; the driver's is 0 where
// there is none.
int driver_version();
int runtime_version();

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_SSIM_H_
