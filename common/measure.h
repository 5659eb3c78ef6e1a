// From the moments at a map pixel to what is wanted of it, and back to the gradients:
// the seam between the kernels, which convolve, and what is measured with them.
//
// A gradient goes back through the windows. The derivatives of the value in the moments
// are maps, zero outside of the map, and with E' the same window over them
//     p = E'[s] + s E'[ss],  q = E'[d] + d E'[dd]
//     d(sum of SSIM)/dx = kDerivativeScale / L (p + q)
//     d(sum of SSIM)/dy = kDerivativeScale / L (p - q)
// From s and d times t (common/formula.h) the windows give p / t and q / t. Errors add
// to q what they have themselves.

#ifndef JAX_FUSED_SSIM_COMMON_MEASURE_H_
#define JAX_FUSED_SSIM_COMMON_MEASURE_H_

#include "common/formula.h"
#include "common/host_device.h"
#include "common/parameters.h"
#include "common/window.h"

namespace jax_fused_ssim {

// V below is float, double or a vector of either; T is its element type.

// A pixel of the map.
template <typename V, typename T>
JFS_HOST_DEVICE V map_value(V half_dissimilarity, T one) {
  return multiply_add(T(-2), half_dissimilarity, one);
}

constexpr int kDerivativeScale = 4;

// From p / t + q / t and p / t - q / t to the gradients, from the sign of d, and from
// d times t.
template <typename T>
struct GradientFactors {
  T ssim, l1, l2;

  // Of sums that are multiplied by more: kScales of common/call.h.
  JFS_HOST_DEVICE GradientFactors times(T weight_scale, T error_weight_scale) const {
    return {ssim * weight_scale, l1 * error_weight_scale, l2 * error_weight_scale};
  }
};

// `t`: of common/formula.h.
template <typename T>
JFS_HOST_DEVICE GradientFactors<T> gradient_factors(const Parameters& p, double t) {
  const double errors = p.error_scale / p.data_range;
  return {T(-p.ssim_weight * p.scale * kDerivativeScale * t / p.data_range),
          T(p.l1_weight * errors), T(2 * p.l2_weight * errors / t)};
}

// v, and 0 where `of` is.
template <typename V>
JFS_HOST_DEVICE V where_not_zero(V of, V v) {
  const V zero = V{};
  return of == zero ? zero : v;
}

// v, and 0 where `of` is not above 0, as weights are that count for nothing.
template <typename V>
JFS_HOST_DEVICE V where_positive(V of, V v) {
  const V zero = V{};
  return of > zero ? v : zero;
}

// What the errors of a pixel add to the gradient in the first image, and take from that
// in the second. Of |d| it is 0 where d is.
template <typename V, typename T>
JFS_HOST_DEVICE V error_gradient(V d, const GradientFactors<T>& factors) {
  const V zero = V{}, up = zero + factors.l1, down = zero - factors.l1;
  const V sign = d > zero ? up : d < zero ? down : zero;
  return multiply_add(factors.l2, d, sign);
}

#ifdef __CUDA_ARCH__
// Three instructions, as saturation is free: 0, 1/2 or 1 in place of the sign. A NaN
// comes back with d.
template <>
JFS_HOST_DEVICE float error_gradient(float d, const GradientFactors<float>& factors) {
  const float half = __saturatef(fma(d, 0x1p127f, 0.5f));
  return fma(2 * factors.l1, half, fma(factors.l2, d, -factors.l1));
}
#endif

// The maps that kGradients gradients go back through. All are divided by
// kDerivativeScale:
//     0  the derivative in E[s], with the variances written through E[s^2], E[d^2];
//        for one gradient, which is all that p + q needs, that in E[s] and that in E[d]
//     1  twice the derivative in vs
//     2  twice the derivative in vd
//     3  for both gradients, the derivative in E[d]
template <int kGradients>
struct DerivativeMaps {
  static constexpr int kCount = 2 + kGradients;

  // The window along their rows, where columns have the unit window.
  static JFS_HOST_DEVICE constexpr Window window(int map) {
    return map == 1 || map == 2 ? Window::kUnit : Window::kNormal;
  }

  template <typename V, typename T>
  static JFS_HOST_DEVICE void at_pixel(const Moments<V>& m, const Terms<V>& t, T one,
                                       V (&maps)[kCount]) {
    const V pr = multiply_add(T(-2), t.u, one) * t.r2;
    const V ss = pr * t.w;
    const V dd = multiply_add(pr, t.w, -pr);
    maps[1] = ss;
    maps[2] = dd;
    if constexpr (kGradients == 1) {
      const V both = t.e * t.mr * multiply_add(t.mr, t.ms + t.md, -one);
      maps[0] = multiply_add(-m.d, dd, multiply_add(-m.s, ss, both));
    } else {
      const V em = t.e * t.mr;
      maps[0] = multiply_add(-m.s, ss, em * t.mr * t.ms);
      maps[3] = multiply_add(-m.d, dd, em * (t.u - one));
    }
  }

  // `means`: of the maps under the windows of an image pixel with these s and d;
  // `counted`: d where its errors count, 0 elsewhere; kWeights: they count `weight`
  // times, and no window may count that sees the pixel, which may be a NaN then.
  template <bool kErrors, bool kWeights, typename V, typename T>
  static JFS_HOST_DEVICE void gradients(const V (&means)[kCount], V s, V d, V counted,
                                        V weight, const GradientFactors<T>& factors,
                                        V (&out)[kGradients]) {
    if constexpr (kWeights) {
      s = where_not_zero(means[1], s);
      d = where_not_zero(means[2], d);
    }
    const V p = multiply_add(s, means[1], means[0]);
    V sums[kGradients];
    if constexpr (kGradients == 1) {
      sums[0] = multiply_add(d, means[2], p);
    } else {
      const V q = multiply_add(d, means[2], means[3]);
      sums[0] = p + q;
      sums[1] = p - q;
    }
    V error = kErrors ? error_gradient(counted, factors) : V{};
    if constexpr (kWeights) error = error * weight;
    for (int k = 0; k < kGradients; ++k) {
      out[k] = !kErrors ? factors.ssim * sums[k]
                        : multiply_add(factors.ssim, sums[k], k == 0 ? error : -error);
    }
  }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_MEASURE_H_
