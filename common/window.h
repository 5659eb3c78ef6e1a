// The window: 11 Gaussian taps, sigma 1.5, normalised in one dimension.

#ifndef JAX_FUSED_SSIM_COMMON_WINDOW_H_
#define JAX_FUSED_SSIM_COMMON_WINDOW_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

constexpr int kRadius = 5;
constexpr int kWindow = 2 * kRadius + 1;

// Tap k of the window. A function and not an array, so that it is an immediate on the
// GPU too. The outermost taps in float32 take up what rounding the others leaves: the
// taps sum to 1 within 1e-12, and a constant image has no false variance.
template <typename T>
JFS_HOST_DEVICE constexpr T window_tap(int k) {
  return k == 0 || k == 10
             ? (sizeof(T) == 4 ? T(0.001028380822) : T(0.00102838008447911))
         : k == 1 || k == 9 ? T(0.007598758135239185)
         : k == 2 || k == 8 ? T(0.03600077212843083)
         : k == 3 || k == 7 ? T(0.10936068950970002)
         : k == 4 || k == 6 ? T(0.2130055377112537)
                            : T(0.26601172486179436);
}

// The tap to add i-th: from the outside in, so that the partial sums, and with them
// their rounding, stay small for longest.
JFS_HOST_DEVICE constexpr int tap_order(int i) {
  return i == 10 ? 5 : i % 2 ? 10 - i / 2 : i / 2;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_WINDOW_H_
