// SSIM at one map pixel, from four windowed means.
//
// Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
// structural similarity", IEEE TIP 13(4), 2004, rewritten for the sum and the
// difference of the images. With L the data range, cx and cy the centres of the two
// planes (common/centre.h) and
//
//     cs = (cx + cy) / L,  cd = (cx - cy) / L
//     s = ((x - cx) + (y - cy)) / L,  d = ((x - cx) - (y - cy)) / L
//
// (zero padding is s = -cs, d = -cd) and E[.] the windowed mean,
//
//     ms = E[s] + cs, md = E[d] + cd, vs = E[s^2] - E[s]^2, vd = E[d^2] - E[d]^2
//     u = md^2 / (ms^2 + md^2 + 2 K1^2),  w = vd / (vs + vd + 2 K2^2)
//     SSIM = (1 - 2u)(1 - 2w),  1 - SSIM = 2 (u (1 - 2w) + w)
//
// The textbook form subtracts numbers of the size of x^2 to find a variance; this one
// subtracts nothing large from anything large, wherever the pixels lie, and gives
// exactly 1 for identical images. Dividing by L first keeps every data range in
// float32.
//
// The kernels keep t s and t d, where t is kScale of a window of common/window.h. So
// unit windows along rows and columns give E[s^2] and E[d^2]; E[s] and E[d] need a
// normal window along one of them. The same windows lead back from the derivatives in a
// mean to the pixels, but for a factor 1 / t.

#ifndef JAX_FUSED_SSIM_COMMON_FORMULA_H_
#define JAX_FUSED_SSIM_COMMON_FORMULA_H_

#include "common/host_device.h"
#include "common/parameters.h"
#include "common/window.h"

namespace jax_fused_ssim {

// V below is float, double or a vector of either; T is its element type.

template <typename T>
struct Constants {
  T data_range;      // L
  T tap_over_range;  // t / L
  T two_c1;          // 2 K1^2
  T two_c2;          // 2 K2^2
};

template <typename T>
JFS_HOST_DEVICE Constants<T> constants(const Parameters& p, T t) {
  return {T(p.data_range), T(t / p.data_range), T(2 * p.k1 * p.k1), T(2 * p.k2 * p.k2)};
}

// What was subtracted from s and d: cs and cd.
template <typename T>
struct Centre {
  T s, d;
};

template <typename V>
struct SumDifference {
  V s, d;
};

// a b + c. On the GPU always fused: a compiler free to choose would choose differently
// in different kernels, which are to agree bitwise. Below, no sum outside of this
// function has a product for a term.
template <typename A, typename B, typename C>
JFS_HOST_DEVICE auto multiply_add(A a, B b, C c) {
#ifdef __CUDA_ARCH__
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Times t. No product is a term of a sum, which a compiler could fuse: identical images
// have no difference.
//
// kOneCentre: both images have the same one. Then the difference needs none, and its
// sign is right however near the pixels are to each other.
template <bool kOneCentre, typename V, typename T>
JFS_HOST_DEVICE SumDifference<V> sum_difference(V x, V y, V centre_x, V centre_y,
                                                T tap_over_range) {
  const V a = x - centre_x, b = y - centre_y;
  const V difference = kOneCentre ? x - y : a - b;
  return {(a + b) * tap_over_range, difference * tap_over_range};
}

// Windowed means of s, d, s^2, d^2.
template <typename V>
struct Moments {
  V s, d, ss, dd;
};

constexpr int kMoments = 4;

// The window along the rows of the k-th, where columns have the unit window.
JFS_HOST_DEVICE constexpr Window window_of_moment(int k) {
  return k < 2 ? Window::kNormal : Window::kUnit;
}

// A NaN passes, as it does not through fmax.
template <typename V>
JFS_HOST_DEVICE V at_least_zero(V v) {
  const V zero = V{};
  return v < zero ? zero : v;
}

template <typename V>
JFS_HOST_DEVICE V reciprocal(V v) {
  return 1.0f / v;  // a float so that any vector type takes it
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <>
JFS_HOST_DEVICE float at_least_zero(float v) {
  float r;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(r) : "f"(v));
  return r;
}
#endif

#ifdef __CUDA_ARCH__
// 1 ulp instead of half of one: the accuracy is set by the windowed means. Zero where
// the correctly rounded result would be subnormal.
template <>
JFS_HOST_DEVICE float reciprocal(float v) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
#endif

// What the value and the derivatives (common/measure.h) have in common.
template <typename V>
struct Terms {
  V ms, md, r2, mr, u, w, e;

  template <typename T>
  JFS_HOST_DEVICE Terms(const Moments<V>& m, const Centre<T>& centre,
                        const Constants<T>& c) {
    ms = m.s + centre.s;
    md = m.d + centre.d;
    const V vs = multiply_add(-m.s, m.s, m.ss);
    const V vd = multiply_add(-m.d, m.d, m.dd);
    const V r1 = reciprocal(multiply_add(ms, ms, multiply_add(md, md, c.two_c1)));
    // The sum and not each variance: flooring rounding noise at zero would give it a
    // positive mean, which a mean over a flat region shows.
    r2 = reciprocal(at_least_zero(vs + vd) + c.two_c2);
    mr = md * r1;
    u = md * mr;
    w = vd * r2;
    e = multiply_add(T(-2), w, T(1));
  }

  // (1 - SSIM) / 2, but for rounding within [0, 1].
  JFS_HOST_DEVICE V unbounded_half() const { return multiply_add(u, e, w); }

  // The same within [0, 1], NaN if any moment is.
  template <typename T>
  JFS_HOST_DEVICE V half_dissimilarity(T one) const {
    return bounded(unbounded_half(), one);
  }
  // Likewise of each of its factors: (1 - luminance) / 2, and
  // (1 - contrast and structure) / 2.
  template <typename T>
  JFS_HOST_DEVICE V half_of_luminance(T one) const {
    return bounded(u, one);
  }
  template <typename T>
  JFS_HOST_DEVICE V half_of_contrast_structure(T one) const {
    return bounded(w, one);
  }

 private:
  template <typename T>
  static JFS_HOST_DEVICE V bounded(V v, T one) {
    const V h = at_least_zero(v);
    const V bound = V{} + one;
    return h > bound ? bound : h;
  }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_FORMULA_H_
