#include "cuda/strip_grad.cuh"
#include "cuda/strip_launch.h"
#include "cuda/strip_load_interleaved.cuh"
#include "cuda/strip_load_planar.cuh"
#include "cuda/strip_sum.cuh"

namespace jax_fused_ssim::cuda {

template Fit strip_fit<float>(const Call&, const Device&);
template cudaError_t launch_strip<float>(cudaStream_t, const Device&, const Call&);

}  // namespace jax_fused_ssim::cuda
