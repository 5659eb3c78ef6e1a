#include "cuda/tile.cuh"
#include "cuda/tile_launch.h"

namespace jax_fused_ssim::cuda {

template cudaError_t launch_tile<float>(cudaStream_t, const Device&, const Call&);

}  // namespace jax_fused_ssim::cuda
