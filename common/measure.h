// From the moments at a map pixel to what is wanted of it, and back to the gradients:
// the seam between the kernels, which convolve, and what is measured with them.
//
// A gradient goes back through the windows. The derivatives of the value in the moments
// are maps, zero outside of the map, and with E' the same window over them
//     p = E'[s] + s E'[ss],  q = E'[d] + d E'[dd]
//     d(sum of SSIM)/dx = kDerivativeScale / L (p + q)
//     d(sum of SSIM)/dy = kDerivativeScale / L (p - q)
// From s and d times t (common/formula.h) the windows give p / t and q / t.

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

// From p / t + q / t and p / t - q / t to the gradients.
template <typename T>
JFS_HOST_DEVICE T gradient_factor(const Parameters& p) {
  return T(p.scale * kDerivativeScale * outermost_tap<T>() / p.data_range);
}

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

  // `means`: of the maps under the windows of an image pixel with these s and d.
  template <typename V, typename T>
  static JFS_HOST_DEVICE void gradients(const V (&means)[kCount], V s, V d, T factor,
                                        V (&out)[kGradients]) {
    const V p = multiply_add(s, means[1], means[0]);
    if constexpr (kGradients == 1) {
      out[0] = factor * multiply_add(d, means[2], p);
    } else {
      const V q = multiply_add(d, means[2], means[3]);
      out[0] = factor * (p + q);
      out[1] = factor * (p - q);
    }
  }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_MEASURE_H_
