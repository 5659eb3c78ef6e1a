// Planes of half, a quarter and so on of the size, by means of 2 x 2 pixels.

#ifndef JAX_FUSED_SSIM_CUDA_HALVE_H_
#define JAX_FUSED_SSIM_CUDA_HALVE_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/halving.h"

namespace jax_fused_ssim::cuda {

// Two batches of planes of one size, [count, height, width], whose sides can be halved
// `halvings` times without a rest.
struct Halving {
  bool is_double;
  int64_t height, width;
  int halvings;
  int64_t count[2];
  const void* from[2];
  void* to[2][kMostHalvings];
};

// One launch; returns its error.
cudaError_t halve(cudaStream_t stream, const Halving& halving);

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_HALVE_H_
