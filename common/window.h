// Windows in one dimension: 11 Gaussian taps, sigma 1.5, as constants of the code, and
// any others as numbers that a call brings.
//
// The first in two scales: *normal*, whose taps sum to 1, and *unit*, whose outermost
// taps are 1, so that a convolution has ten operations and not eleven. The unit window
// is the normal one divided by outermost_tap().

#ifndef JAX_FUSED_SSIM_COMMON_WINDOW_H_
#define JAX_FUSED_SSIM_COMMON_WINDOW_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

constexpr int kRadius = 5;
constexpr int kWindow = 2 * kRadius + 1;

enum class Window { kNormal, kUnit };

// How far tap k is from the middle.
JFS_HOST_DEVICE constexpr int tap_distance(int k) {
  return k < kRadius ? kRadius - k : k - kRadius;
}

// The taps at a distance from the middle, in float32 those that common/window_taps.py
// found: the normal window sums to 1 within 1e-12, as its outermost taps take up what
// rounding the others leaves, and the unit window to 1 / outermost_tap() within 2e-10.
// So a constant image has no false variance. Functions and not arrays, so that taps are
// immediates on the GPU too.
template <typename T>
JFS_HOST_DEVICE constexpr T normal_tap_at(int distance) {
  return distance == 0   ? T(0.26601172486179436)
         : distance == 1 ? T(0.2130055377112537)
         : distance == 2 ? T(0.10936068950970002)
         : distance == 3 ? T(0.03600077212843083)
         : distance == 4
             ? T(0.007598758135239185)
             : (sizeof(T) == 4 ? T(0.001028380822) : T(0.00102838008447911));
}
template <typename T>
JFS_HOST_DEVICE constexpr T unit_tap_at(int distance) {
  constexpr bool kFloat = sizeof(T) == 4;
  return distance == 0   ? (kFloat ? T(258.67062) : T(258.6706305154998))
         : distance == 1 ? (kFloat ? T(207.12724) : T(207.1272488898346))
         : distance == 2 ? (kFloat ? T(106.34267) : T(106.3426753981655))
         : distance == 3 ? (kFloat ? T(35.007263) : T(35.00726304580836))
         : distance == 4 ? (kFloat ? T(7.3890553) : T(7.38905609893065))
                         : T(1);
}
static_assert(kRadius == 5, "the taps above");

// What makes the unit window normal.
template <typename T>
JFS_HOST_DEVICE constexpr T outermost_tap() {
  return sizeof(T) == 4 ? T(0.0010283801) : T(0.00102838008447911);
}

template <typename T>
JFS_HOST_DEVICE constexpr T normal_tap(int k) {
  return normal_tap_at<T>(tap_distance(k));
}
template <typename T>
JFS_HOST_DEVICE constexpr T unit_tap(int k) {
  return unit_tap_at<T>(tap_distance(k));
}

template <typename T>
constexpr double window_is_off_by(T (*tap)(int), double factor) {
  double sum = 0;
  for (int k = 0; k < kWindow; ++k) sum += tap(k);
  const double off = sum * factor - 1;
  return off < 0 ? -off : off;
}
static_assert(window_is_off_by(normal_tap<float>, 1) < 1e-12, "");
static_assert(window_is_off_by(unit_tap<float>, outermost_tap<float>()) < 2e-10, "");

template <typename T>
JFS_HOST_DEVICE constexpr T window_tap(Window window, int k) {
  return window == Window::kUnit ? unit_tap<T>(k) : normal_tap<T>(k);
}

// What a kernel is given of its window, where its taps are constants of the code.
template <typename T>
struct CompiledWindow {
  // t of common/formula.h: what makes the unit window normal.
  static constexpr T kScale = outermost_tap<T>();
};

// Any window of up to kWindow taps, of which the k-th is k - kRadius pixels from where
// the window is centred. There is one scale: the unit window is the normal one.
template <typename T>
struct GivenWindow {
  static constexpr T kScale = 1;

  T taps[kWindow];
  int begin, end;  // of the taps that there are

  JFS_HOST_DEVICE bool has(int k) const { return begin <= k && k < end; }
};

// The tap to add i-th: from the outside in, so that the partial sums, and with them
// their rounding, stay small for longest.
JFS_HOST_DEVICE constexpr int tap_order(int i) {
  return i == 2 * kRadius ? kRadius : i % 2 ? 2 * kRadius - i / 2 : i / 2;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_WINDOW_H_
