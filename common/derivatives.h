// Room for derivatives in the scratch of a call: on GPUs the gradients of volumes are
// then made of two launches, the second of which reads what the first one wrote.

#ifndef JAX_FUSED_SSIM_COMMON_DERIVATIVES_H_
#define JAX_FUSED_SSIM_COMMON_DERIVATIVES_H_

#include <cstdint>

#include "common/measure.h"

namespace jax_fused_ssim {

// Slices are made larger, so that either side is a multiple of that of a kernel's
// column.
constexpr int64_t kDerivativeSide = 32;
constexpr int64_t kDerivativeAlignment = 128;

// 32-bit words that a plane needs above kScratchWords for one gradient or for both at
// once, where an element has so many bytes. Fewer do where the map has fewer slices
// than the volume.
constexpr int64_t derivative_words(int64_t depth, int64_t height, int64_t width,
                                   int64_t bytes, int gradients) {
  const auto whole = [](int64_t side) {
    return (side + kDerivativeSide - 1) / kDerivativeSide * kDerivativeSide;
  };
  const int maps =
      gradients == 1 ? DerivativeMaps<1>::kCount : DerivativeMaps<2>::kCount;
  return (maps * depth * whole(height) * whole(width) * bytes + kDerivativeAlignment) /
         4;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_DERIVATIVES_H_
