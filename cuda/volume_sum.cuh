// A thread's share of the sum over a volume, exact: common/plane_sum.h.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_SUM_CUH_
#define JAX_FUSED_SSIM_CUDA_VOLUME_SUM_CUH_

#include <cuda_runtime.h>

#include "common/formula.h"
#include "common/plane_sum.h"

namespace jax_fused_ssim::cuda {

template <typename T>
class VolumeSum;

// Of floats as integers, in any order. A pixel of the plane that is not counted here is
// counted elsewhere, so where its w is not finite the sum is not either.
template <>
class VolumeSum<float> {
 public:
  // So many slices at most between two calls of flush.
  static constexpr int kSlices = 256;

  __device__ __forceinline__ void add(const Terms<float>& terms, bool owned) {
    const float half = __saturatef(terms.unbounded_half());
    slice_ += __float2uint_rn(half * (owned ? kPixelQuanta : 0.0f));
    slice_w_ += terms.w;
  }
  __device__ __forceinline__ void end_slice(bool counted) {
    quanta_ += counted ? slice_ : 0;
    w_ += counted ? slice_w_ : 0;
    slice_ = 0;
    slice_w_ = 0;
  }
  // Of a whole warp, in its first lane.
  __device__ __forceinline__ PlaneSum take() {
    constexpr unsigned int kAll = 0xffffffffu;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      quanta_ += __shfl_down_sync(kAll, quanta_, lanes);
    }
    const PlaneSum sum = plane_sum_of_pixels(quanta_, __any_sync(kAll, !isfinite(w_)));
    quanta_ = 0;
    w_ = 0;
    return sum;
  }

 private:
  unsigned long long quanta_ = 0;
  unsigned int slice_ = 0;  // room for four pixels
  float w_ = 0, slice_w_ = 0;
};

// Doubles are rounded when they are added, and what a warp has of a slice is the same
// whatever the pieces are.
template <>
class VolumeSum<double> {
 public:
  static constexpr int kSlices = 1;

  __device__ __forceinline__ void add(const Terms<double>& terms, bool owned) {
    slice_ += owned ? terms.half_dissimilarity(1.0) : 0;
  }
  __device__ __forceinline__ void end_slice(bool counted) {
    sum_ = counted ? slice_ : 0;
    slice_ = 0;
  }
  __device__ __forceinline__ PlaneSum take() {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sum_ += __shfl_down_sync(0xffffffffu, sum_, lanes);
    }
    const PlaneSum sum = plane_sum_term(2 * sum_);
    sum_ = 0;
    return sum;
  }

 private:
  double sum_ = 0, slice_ = 0;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_SUM_CUH_
