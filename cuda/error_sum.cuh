// A thread's share of the errors of a plane, exact: common/plane_sum.h.

#ifndef JAX_FUSED_SSIM_CUDA_ERROR_SUM_CUH_
#define JAX_FUSED_SSIM_CUDA_ERROR_SUM_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/plane_sum.h"
#include "common/window.h"

namespace jax_fused_ssim::cuda {

__device__ __forceinline__ void add_atomically(PlaneSum* total, const PlaneSum& term) {
  unsigned int wrong = term.not_finite;
  if (term.coarse && atomicAdd(&total->coarse, term.coarse) > ~term.coarse) {
    wrong |= kTooLarge;
  }
  if (term.fine) atomicAdd(&total->fine, term.fine);
  if (wrong) atomicOr(&total->not_finite, wrong);
}

__device__ __forceinline__ void add_atomically(ErrorSums* total,
                                               const ErrorSums& term) {
  add_atomically(&total->absolute, term.absolute);
  add_atomically(&total->square, term.square);
}

// Of d times t, as the kernels have it.
template <typename T>
class ErrorSum;

template <>
class ErrorSum<float> {
 public:
  // At most four pixels.
  template <int kCount>
  __device__ __forceinline__ void add(const float (&d)[kCount]) {
    static_assert(kCount <= 4, "their quanta fit 32 bits together");
    constexpr float kFactor = kErrorQuanta / outermost_tap<float>();
    unsigned int absolute = 0;
    unsigned long long square = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const unsigned int quanta = __float2uint_rn(fabsf(d[i]) * kFactor);
      absolute += quanta;
      square += static_cast<unsigned long long>(quanta) * quanta;
      any_ |= quanta;
    }
    absolute_ += absolute;
    add_square(square, 0);
  }
  __device__ __forceinline__ void add(const ErrorSum& other) {
    absolute_ += other.absolute_;
    add_square(other.square_, other.square_top_);
    any_ |= other.any_;
  }
  // Of the lane that differs from this one in `lanes`.
  __device__ __forceinline__ ErrorSum of_lane(int lanes) const {
    constexpr unsigned int kAll = 0xffffffffu;
    ErrorSum other;
    other.absolute_ = __shfl_xor_sync(kAll, absolute_, lanes);
    other.square_ = __shfl_xor_sync(kAll, square_, lanes);
    other.square_top_ = __shfl_xor_sync(kAll, square_top_, lanes);
    other.any_ = __shfl_xor_sync(kAll, any_, lanes);
    return other;
  }
  __device__ __forceinline__ ErrorSums sums() const {
    return error_sums_of_pixels(absolute_, square_, square_top_,
                                too_large_bits(any_) != 0);
  }

 private:
  __device__ __forceinline__ void add_square(unsigned long long square,
                                             unsigned int top) {
    asm("{.reg .u32 a, b; mov.b64 {a, b}, %2;\n"
        ".reg .u32 low, high; mov.b64 {low, high}, %0;\n"
        "add.cc.u32 low, low, a; addc.cc.u32 high, high, b; addc.u32 %1, %1, %3;\n"
        "mov.b64 %0, {low, high};}"
        : "+l"(square_), "+r"(square_top_)
        : "l"(square), "r"(top));
  }

  unsigned long long absolute_ = 0, square_ = 0;
  unsigned int square_top_ = 0;
  unsigned int any_ = 0;  // quanta of all pixels, or'ed
};

template <>
class ErrorSum<double> {
 public:
  template <int kCount>
  __device__ __forceinline__ void add(const double (&d)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      absolute_ += fabs(d[i]);
      square_ = fma(d[i], d[i], square_);
    }
  }
  __device__ __forceinline__ void add(const ErrorSum& other) {
    absolute_ += other.absolute_;
    square_ += other.square_;
  }
  __device__ __forceinline__ ErrorSum of_lane(int lanes) const {
    ErrorSum other;
    other.absolute_ = __shfl_xor_sync(0xffffffffu, absolute_, lanes);
    other.square_ = __shfl_xor_sync(0xffffffffu, square_, lanes);
    return other;
  }
  __device__ __forceinline__ ErrorSums sums() const {
    constexpr double kOverTap = 1 / outermost_tap<double>();
    return {plane_sum_term(absolute_ * kOverTap),
            plane_sum_term(square_ * kOverTap * kOverTap)};
  }

 private:
  double absolute_ = 0, square_ = 0;
};

template <typename T>
__device__ __forceinline__ void reduce_in_warp(ErrorSum<T>& sum) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum.add(sum.of_lane(lanes));
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_ERROR_SUM_CUH_
