// The window in a thread that owns four neighbouring columns and sees the rows one by
// one, from the top: along the row from a stretch of shared memory, down the columns in
// transposed form, a partial sum for every output that a row contributes to.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_

#include "common/formula.h"
#include "common/window.h"
#include "cuda/convolve.cuh"
#include "cuda/strip_shape.h"

namespace jax_fused_ssim::cuda {

// kReach floats from `from` on, which is kPast floats past a multiple of 16 bytes.
template <int kPast, int kFrom = 0>
__device__ __forceinline__ void load_reach(const float* from, float (&to)[kReach]) {
  constexpr int i = kFrom, kLeft = kReach - i;
  if constexpr ((kPast + i) % 4 == 0 && kLeft >= 4) {
    const float4 v = *reinterpret_cast<const float4*>(from + i);
    to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    load_reach<kPast, i + 4>(from, to);
  } else if constexpr ((kPast + i) % 2 == 0 && kLeft >= 2) {
    const float2 v = *reinterpret_cast<const float2*>(from + i);
    to[i] = v.x, to[i + 1] = v.y;
    load_reach<kPast, i + 2>(from, to);
  } else if constexpr (kLeft >= 1) {
    to[i] = from[i];
    load_reach<kPast, i + 1>(from, to);
  }
}

__device__ __forceinline__ void store_group(float* to, const float (&v)[kGroup]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}

class ColumnFilter {
 public:
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) partial_[k][i] = 0;
    }
  }

  // Takes a row and gives the output centred kRadius rows above it. It holds nothing of
  // rows more than 2 kRadius above, so it need not be cleared: an output is right once
  // kWindow rows went in. The shift to the next row is in the destination of the
  // multiply-add.
  __device__ __forceinline__ void push(const float (&row)[kGroup],
                                       float (&out)[kGroup]) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      out[i] = partial_[0][i] + row[i];
    }
#pragma unroll
    for (int k = 1; k < kRows; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        partial_[k - 1][i] = fma(unit_tap<float>(kRows - k), row[i], partial_[k][i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      partial_[kRows - 1][i] = row[i];
    }
  }

  // The same with the convolution along the row before it.
  __device__ __forceinline__ void push_reach(Window window,
                                             const float (&reach)[kReach],
                                             float (&out)[kGroup]) {
    float row[kGroup];
    convolve(CompiledWindow<float>{}, window, reach, row);
    push(row, out);
  }

 private:
  static constexpr int kRows = kWindow - 1;
  float partial_[kRows][kGroup];
};

// In place of what a kernel has no use for.
struct Nothing {
  static constexpr bool kMasks = false;
  template <typename... Args>
  __device__ __forceinline__ explicit Nothing(const Args&...) {}
  __device__ __forceinline__ void operator()() const {}
};

// Windowed means of s, d, s^2, d^2.
class MomentsFilter {
 public:
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int k = 0; k < kMoments; ++k) filters_[k].clear();
  }

  // `s` is the thread's reach; `d` where that of d begins in the row, kPast floats past
  // a multiple of 16 bytes. `between` is what else there is to do while it arrives, or
  // with kLate behind the first window.
  template <int kPast, bool kLate, typename Between>
  __device__ __forceinline__ void push(const float (&s)[kReach], const float* d,
                                       float (&out)[kMoments][kGroup],
                                       const Between& between) {
    float v[2][kReach];
#pragma unroll
    for (int i = 0; i < kReach; ++i) v[0][i] = s[i];
    load_reach<kPast>(d, v[1]);
    if constexpr (!kLate) between();
    filters_[0].push_reach(window_of_moment(0), v[0], out[0]);
    if constexpr (kLate) between();
    filters_[1].push_reach(window_of_moment(1), v[1], out[1]);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
#pragma unroll
      for (int i = 0; i < kReach; ++i) v[k][i] *= v[k][i];
      filters_[2 + k].push_reach(window_of_moment(2 + k), v[k], out[2 + k]);
    }
  }

 private:
  ColumnFilter filters_[kMoments];
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_
