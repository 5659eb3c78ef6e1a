#include "cuda/volume.cuh"
#include "cuda/volume_gradient.cuh"
#include "cuda/volume_launch.h"

namespace jax_fused_ssim::cuda {

template cudaError_t launch_volume<double>(cudaStream_t, const Device&, const Call&);

}  // namespace jax_fused_ssim::cuda
