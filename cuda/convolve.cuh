// The window applied along one line: values in registers, lines in shared memory.

#ifndef JAX_FUSED_SSIM_CUDA_CONVOLVE_CUH_
#define JAX_FUSED_SSIM_CUDA_CONVOLVE_CUH_

#include <cuda_runtime.h>

#include "common/window.h"

namespace jax_fused_ssim::cuda {

// Never fused with a product that is one of its terms.
__device__ __forceinline__ float plain_sum(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double plain_sum(double a, double b) {
  return __dadd_rn(a, b);
}

// fma spelled out and taps in a fixed order: a pixel's result is bitwise the same
// wherever it lies in a tile or a strip and whichever kernel computes it. Along a row
// the taps go from the outside in; down a column from the top, because strips meet the
// rows in that order.
template <int kOut, typename T>
__device__ __forceinline__ void convolve(const CompiledWindow<T>&, Window window,
                                         const T (&in)[kOut + 2 * kRadius],
                                         T (&out)[kOut]) {
  const bool unit = window == Window::kUnit;
  static_assert(tap_order(0) == 0 && tap_order(1) == kWindow - 1, "");
#pragma unroll
  for (int i = 0; i < kOut; ++i) {
    out[i] = unit ? plain_sum(in[i], in[i + kWindow - 1]) : normal_tap<T>(0) * in[i];
  }
#pragma unroll
  for (int j = 1; j < kWindow; ++j) {
    if (unit && j == 1) continue;
    const int k = tap_order(j);
#pragma unroll
    for (int i = 0; i < kOut; ++i) {
      out[i] = fma(window_tap<T>(window, k), in[i + k], out[i]);
    }
  }
}

// Always with the unit window.
template <int kOut, typename T>
__device__ __forceinline__ void convolve_down(const CompiledWindow<T>&,
                                              const T (&in)[kOut + 2 * kRadius],
                                              T (&out)[kOut]) {
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] = in[i];
#pragma unroll
  for (int k = 1; k < kWindow - 1; ++k) {
#pragma unroll
    for (int i = 0; i < kOut; ++i) out[i] = fma(unit_tap<T>(k), in[i + k], out[i]);
  }
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] += in[i + kWindow - 1];
}

// What lies beside a window is not multiplied by 0, as it may be a NaN: every thread
// takes the same way past it.
template <int kOut, typename T>
__device__ __forceinline__ void add_tap(const GivenWindow<T>& window, int k,
                                        const T (&in)[kOut + 2 * kRadius],
                                        T (&out)[kOut]) {
  if (!window.has(k)) return;
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] = fma(window.taps[k], in[i + k], out[i]);
}
template <int kOut, typename T>
__device__ __forceinline__ void convolve(const GivenWindow<T>& window, Window,
                                         const T (&in)[kOut + 2 * kRadius],
                                         T (&out)[kOut]) {
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] = 0;
#pragma unroll
  for (int j = 0; j < kWindow; ++j) add_tap(window, tap_order(j), in, out);
}
template <int kOut, typename T>
__device__ __forceinline__ void convolve_down(const GivenWindow<T>& window,
                                              const T (&in)[kOut + 2 * kRadius],
                                              T (&out)[kOut]) {
  convolve(window, Window::kUnit, in, out);
}

template <typename T>
struct PairOf;
template <>
struct PairOf<float> {
  using type = float2;
};
template <>
struct PairOf<double> {
  using type = double2;
};

template <int kCount, typename T>
__device__ __forceinline__ void load_row(const T* row, T (&out)[kCount]) {
  static_assert(kCount % 2 == 0, "rows are read in pairs");
  using Pair = typename PairOf<T>::type;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const Pair pair = *reinterpret_cast<const Pair*>(row + i);
    out[i] = pair.x;
    out[i + 1] = pair.y;
  }
}

template <int kCount, typename T>
__device__ __forceinline__ void store_row(T* row, const T (&in)[kCount]) {
  static_assert(kCount % 2 == 0, "rows are written in pairs");
  using Pair = typename PairOf<T>::type;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    *reinterpret_cast<Pair*>(row + i) = Pair{in[i], in[i + 1]};
  }
}

template <int kPitch, int kCount, typename T>
__device__ __forceinline__ void load_column(const T* top, T (&out)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = top[i * kPitch];
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_CONVOLVE_CUH_
