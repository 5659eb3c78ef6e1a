#include "cuda/strip_launch.cuh"

namespace jax_fused_ssim::cuda {

template Fit strip_fit<__nv_bfloat16>(const Call&, const Device&);
template cudaError_t launch_strip<__nv_bfloat16>(cudaStream_t, const Device&,
                                                 const Call&);

}  // namespace jax_fused_ssim::cuda
