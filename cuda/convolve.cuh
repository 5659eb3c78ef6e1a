// The window applied along one line: values in registers, lines in shared memory.

#ifndef JAX_FUSED_SSIM_CUDA_CONVOLVE_CUH_
#define JAX_FUSED_SSIM_CUDA_CONVOLVE_CUH_

#include <cuda_runtime.h>

#include "common/window.h"

namespace jax_fused_ssim::cuda {

// fma spelled out and taps in a fixed order: a pixel's result is bitwise the same
// wherever it lies in a tile or a strip and whichever kernel computes it. Along a row
// the taps go from the outside in; down a column from the top, because strips meet the
// rows in that order.
template <int kOut, typename T>
__device__ __forceinline__ void convolve(const T (&in)[kOut + 2 * kRadius],
                                         T (&out)[kOut]) {
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] = window_tap<T>(tap_order(0)) * in[i];
#pragma unroll
  for (int j = 1; j < kWindow; ++j) {
    const int k = tap_order(j);
#pragma unroll
    for (int i = 0; i < kOut; ++i) out[i] = fma(window_tap<T>(k), in[i + k], out[i]);
  }
}

template <int kOut, typename T>
__device__ __forceinline__ void convolve_down(const T (&in)[kOut + 2 * kRadius],
                                              T (&out)[kOut]) {
#pragma unroll
  for (int i = 0; i < kOut; ++i) out[i] = window_tap<T>(0) * in[i];
#pragma unroll
  for (int k = 1; k < kWindow; ++k) {
#pragma unroll
    for (int i = 0; i < kOut; ++i) out[i] = fma(window_tap<T>(k), in[i + k], out[i]);
  }
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

// Rows are read and written in pairs, by threads whose neighbours work on the next row:
// no two of them meet in a bank when the pitch is twice an odd number.
constexpr int row_pitch(int width) { return width + (6 - width % 4) % 4; }

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
