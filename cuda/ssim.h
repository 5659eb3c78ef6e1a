// SSIM on an NVIDIA GPU.

#ifndef JAX_FUSED_SSIM_CUDA_SSIM_H_
#define JAX_FUSED_SSIM_CUDA_SSIM_H_

#include <cuda_runtime_api.h>

#include "common/call.h"

namespace jax_fused_ssim::cuda {

// Everything that the call wants, in one pass over the images: launches on `stream`,
// allocates nothing, synchronises with nothing, and returns the first launch error.
cudaError_t run(cudaStream_t stream, const Call& call);

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_SSIM_H_
