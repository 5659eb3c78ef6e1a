// What a kernel that halves images can do.

#ifndef JAX_FUSED_SSIM_COMMON_HALVING_H_
#define JAX_FUSED_SSIM_COMMON_HALVING_H_

namespace jax_fused_ssim {

// How often, in one launch.
constexpr int kMostHalvings = 4;

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_HALVING_H_
