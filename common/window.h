// The window: 11 Gaussian taps, sigma 1.5, normalised in one dimension.

#ifndef JAX_FUSED_SSIM_COMMON_WINDOW_H_
#define JAX_FUSED_SSIM_COMMON_WINDOW_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

constexpr int kRadius = 5;
constexpr int kWindow = 2 * kRadius + 1;

// Tap k of the window. A function and not an array, so that it is an immediate on the
// GPU too. Rounded to float32 the taps still sum to 1 within 1.4e-9: a constant image
// has no false variance.
JFS_HOST_DEVICE constexpr double window_tap(int k) {
  return k == 0 || k == 10  ? 0.00102838008447911
         : k == 1 || k == 9 ? 0.007598758135239185
         : k == 2 || k == 8 ? 0.03600077212843083
         : k == 3 || k == 7 ? 0.10936068950970002
         : k == 4 || k == 6 ? 0.2130055377112537
                            : 0.26601172486179436;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_WINDOW_H_
