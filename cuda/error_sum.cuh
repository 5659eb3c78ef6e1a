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

// Of d times t, as the kernels have it, in units of kUnit. kWeights: pixels count so
// much, each within [0, 1]; where they do, their d may be a NaN and no window say so.
template <typename T, bool kWeights, typename Taps = CompiledWindow<T>>
class ErrorSum;

template <bool kWeights, typename Taps>
class ErrorSum<float, kWeights, Taps> {
 public:
  static constexpr double kUnit = kErrorUnit;

  // At most four pixels.
  template <int kCount>
  __device__ __forceinline__ void add(const float (&d)[kCount],
                                      const float (&weight)[kCount]) {
    static_assert(kCount <= 4, "their quanta fit 32 bits together");
    constexpr float kFactor = kErrorQuanta / Taps::kScale;
    unsigned int absolute = 0;
    unsigned long long square = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float in_quanta = fabsf(d[i]) * kFactor;
      const unsigned int quanta = __float2uint_rn(in_quanta);
      unsigned int counted = quanta;
      if constexpr (kWeights) {
        counted = __float2uint_rn(in_quanta * weight[i]);
        not_finite_ = fmaf(d[i], 0.0f, not_finite_);
      }
      absolute += counted;
      square += static_cast<unsigned long long>(quanta) * counted;
      any_ |= quanta;
    }
    absolute_ += absolute;
    add_square(square, 0);
  }
  __device__ __forceinline__ void add(const ErrorSum& other) {
    absolute_ += other.absolute_;
    add_square(other.square_, other.square_top_);
    any_ |= other.any_;
    if constexpr (kWeights) not_finite_ += other.not_finite_;
  }
  // Of the lane that differs from this one in `lanes`.
  __device__ __forceinline__ ErrorSum of_lane(int lanes) const {
    constexpr unsigned int kAll = 0xffffffffu;
    ErrorSum other;
    other.absolute_ = __shfl_xor_sync(kAll, absolute_, lanes);
    other.square_ = __shfl_xor_sync(kAll, square_, lanes);
    other.square_top_ = __shfl_xor_sync(kAll, square_top_, lanes);
    other.any_ = __shfl_xor_sync(kAll, any_, lanes);
    if constexpr (kWeights) {
      other.not_finite_ = __shfl_xor_sync(kAll, not_finite_, lanes);
    }
    return other;
  }
  __device__ __forceinline__ ErrorSums sums() const {
    ErrorSums sums = error_sums_of_pixels(absolute_, square_, square_top_,
                                          too_large_bits(any_) != 0);
    if (kWeights && not_finite_ != 0) {
      sums.absolute.not_finite |= kNaN;
      sums.square.not_finite |= kNaN;
    }
    return sums;
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
  float not_finite_ = 0;  // a NaN then
};

template <bool kWeights, typename Taps>
class ErrorSum<double, kWeights, Taps> {
 public:
  static constexpr double kUnit = 1;

  template <int kCount>
  __device__ __forceinline__ void add(const double (&d)[kCount],
                                      const double (&weight)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const double counted = kWeights ? fabs(d[i]) * weight[i] : fabs(d[i]);
      absolute_ += counted;
      square_ = fma(fabs(d[i]), counted, square_);
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
    constexpr double kOverTap = 1 / Taps::kScale;
    return {plane_sum_term(absolute_ * kOverTap),
            plane_sum_term(square_ * kOverTap * kOverTap)};
  }

 private:
  double absolute_ = 0, square_ = 0;
};

template <typename T, bool kWeights, typename Taps>
__device__ __forceinline__ void reduce_in_warp(ErrorSum<T, kWeights, Taps>& sum) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum.add(sum.of_lane(lanes));
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_ERROR_SUM_CUH_
