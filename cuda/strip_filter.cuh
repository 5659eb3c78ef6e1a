// The window in a thread that owns four neighbouring columns and sees the rows one by
// one, from the top: along the row from a stretch of shared memory, down the columns in
// transposed form, a partial sum for every output that a row contributes to. Which
// window along the row: common/formula.h.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_

#include "common/window.h"
#include "cuda/convolve.cuh"

namespace jax_fused_ssim::cuda {

constexpr int kGroup = 4;                     // columns a thread owns
constexpr int kReach = kGroup + 2 * kRadius;  // columns it reads for them

// kReach floats from `from` on, which is kPast floats past a multiple of 16 bytes.
template <int kPast>
__device__ __forceinline__ void load_reach(const float* from, float (&to)[kReach]) {
  int i = 0;
  const auto one = [&] {
    to[i] = from[i];
    i += 1;
  };
  const auto two = [&] {
    const float2 v = *reinterpret_cast<const float2*>(from + i);
    to[i] = v.x, to[i + 1] = v.y;
    i += 2;
  };
  const auto four = [&] {
    const float4 v = *reinterpret_cast<const float4*>(from + i);
    to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    i += 4;
  };
  static_assert(kPast == 0 || kPast == 2 || kPast == 3, "");
  if constexpr (kPast == 3) one();
  if constexpr (kPast == 2) two();
  four();
  four();
  four();
  if constexpr (kPast == 0) two();
  if constexpr (kPast == 3) one();
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
  // rows more than 10 above, so it need not be cleared: an output is right once 11 rows
  // went in. The shift to the next row is in the destination of the multiply-add.
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
    convolve(window, reach, row);
    push(row, out);
  }

 private:
  static constexpr int kRows = kWindow - 1;
  float partial_[kRows][kGroup];
};

// In place of what a kernel has no use for.
struct Nothing {
  template <typename... Args>
  __device__ __forceinline__ explicit Nothing(const Args&...) {}
  __device__ __forceinline__ void operator()() const {}
};

// Windowed means of s, d, s^2, d^2.
class MomentsFilter {
 public:
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int k = 0; k < 4; ++k) filters_[k].clear();
  }

  // `s` is the thread's reach; `d` where that of d begins in the row, kPast floats past
  // a multiple of 16 bytes. `between` is what else there is to do while it arrives, or
  // with kLate behind the first window.
  template <int kPast, bool kLate, typename Between>
  __device__ __forceinline__ void push(const float (&s)[kReach], const float* d,
                                       float (&out)[4][kGroup],
                                       const Between& between) {
    float v[2][kReach];
#pragma unroll
    for (int i = 0; i < kReach; ++i) v[0][i] = s[i];
    load_reach<kPast>(d, v[1]);
    if constexpr (!kLate) between();
    filters_[0].push_reach(Window::kNormal, v[0], out[0]);
    if constexpr (kLate) between();
    filters_[1].push_reach(Window::kNormal, v[1], out[1]);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
#pragma unroll
      for (int i = 0; i < kReach; ++i) v[k][i] *= v[k][i];
      filters_[2 + k].push_reach(Window::kUnit, v[k], out[2 + k]);
    }
  }

 private:
  ColumnFilter filters_[4];
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_FILTER_CUH_
