// The window: 11 Gaussian taps, sigma 1.5, in one dimension.
//
// In two scales: *normal*, whose taps sum to 1, and *unit*, whose outermost taps are 1,
// so that a convolution has ten operations and not eleven. The unit window is the
// normal one divided by outermost_tap().

#ifndef JAX_FUSED_SSIM_COMMON_WINDOW_H_
#define JAX_FUSED_SSIM_COMMON_WINDOW_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

constexpr int kRadius = 5;
constexpr int kWindow = 2 * kRadius + 1;

enum class Window { kNormal, kUnit };

// Tap k of the normal window. A function and not an array, so that it is an immediate
// on the GPU too. The outermost taps in float32 take up what rounding the others
// leaves: the taps sum to 1 within 1e-12, and a constant image has no false variance.
template <typename T>
JFS_HOST_DEVICE constexpr T normal_tap(int k) {
  return k == 0 || k == 10
             ? (sizeof(T) == 4 ? T(0.001028380822) : T(0.00102838008447911))
         : k == 1 || k == 9 ? T(0.007598758135239185)
         : k == 2 || k == 8 ? T(0.03600077212843083)
         : k == 3 || k == 7 ? T(0.10936068950970002)
         : k == 4 || k == 6 ? T(0.2130055377112537)
                            : T(0.26601172486179436);
}

// Tap k of the unit window, exp(k (10 - k) / 4.5), and what makes a unit window normal.
// In float32 they are such neighbours of the rounded numbers that the means and the
// squares of a constant image agree.
template <typename T>
JFS_HOST_DEVICE constexpr T unit_tap(int k) {
  constexpr bool kFloat = sizeof(T) == 4;
  return k == 0 || k == 10  ? T(1)
         : k == 1 || k == 9 ? (kFloat ? T(7.3890553) : T(7.38905609893065))
         : k == 2 || k == 8 ? (kFloat ? T(35.007263) : T(35.00726304580836))
         : k == 3 || k == 7 ? (kFloat ? T(106.34267) : T(106.3426753981655))
         : k == 4 || k == 6 ? (kFloat ? T(207.12724) : T(207.1272488898346))
                            : (kFloat ? T(258.67062) : T(258.6706305154998));
}
template <typename T>
JFS_HOST_DEVICE constexpr T outermost_tap() {
  return sizeof(T) == 4 ? T(0.0010283801) : T(0.00102838008447911);
}

constexpr double unit_window_is_off_by() {
  double sum = 0;
  for (int k = 0; k < kWindow; ++k) sum += unit_tap<float>(k);
  const double off = sum * outermost_tap<float>() - 1;
  return off < 0 ? -off : off;
}
static_assert(unit_window_is_off_by() < 2e-10, "");

template <typename T>
JFS_HOST_DEVICE constexpr T window_tap(Window window, int k) {
  return window == Window::kUnit ? unit_tap<T>(k) : normal_tap<T>(k);
}

// The tap to add i-th: from the outside in, so that the partial sums, and with them
// their rounding, stay small for longest.
JFS_HOST_DEVICE constexpr int tap_order(int i) {
  return i == 10 ? 5 : i % 2 ? 10 - i / 2 : i / 2;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_WINDOW_H_
