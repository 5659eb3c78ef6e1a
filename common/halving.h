// What kernels that halve images can do.

#ifndef JAX_FUSED_SSIM_COMMON_HALVING_H_
#define JAX_FUSED_SSIM_COMMON_HALVING_H_

#include <cstdint>

namespace jax_fused_ssim {

// How often, in one launch.
constexpr int kMostHalvings = 4;

// From so many pixels on strips are faster than tiles for a gradient, and halve images
// as well.
constexpr int64_t kLeastGradientPixels = 7 << 16;

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_HALVING_H_
