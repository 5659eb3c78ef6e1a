// The centres of planes (common/centre.h) by whole warps: half of the lanes have the
// samples of each image.

#ifndef JAX_FUSED_SSIM_CUDA_CENTRE_CUH_
#define JAX_FUSED_SSIM_CUDA_CENTRE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/centre.h"
#include "common/formula.h"
#include "cuda/convolve.cuh"
#include "cuda/element.cuh"

namespace jax_fused_ssim::cuda {

// The centres of a plane of either image times w / L, which is what a pixel times w / L
// loses in the same multiply-add.
template <typename T>
using Offsets = typename PairOf<T>::type;

template <typename T>
__device__ __forceinline__ Centre<T> centre_of(Offsets<T> offsets) {
  constexpr T kInverse = T(1 / double(outermost_tap<T>()));
  return {(offsets.x + offsets.y) * kInverse, (offsets.x - offsets.y) * kInverse};
}

// Times w.
template <typename T>
__device__ __forceinline__ SumDifference<T> sum_difference(T x, T y, Offsets<T> offsets,
                                                           T w_over_range) {
  const T a = fma(x, w_over_range, -offsets.x), b = fma(y, w_over_range, -offsets.y);
  return {a + b, a - b};
}

constexpr unsigned int kAllLanes = 0xffffffffu;

__device__ __forceinline__ int warp_min(int v) {
#if __CUDA_ARCH__ >= 800
  return __reduce_min_sync(kAllLanes, v);
#else
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    v = min(v, __shfl_xor_sync(kAllLanes, v, lanes));
  }
  return v;
#endif
}

// A lane's sample of the planes that begin at `plane1` and `plane2`, whose pixels are
// job.channels elements apart.
template <typename Job, typename Element>
__device__ __forceinline__ Compute<Element> load_sample(const Job& job,
                                                        const Element* plane1,
                                                        const Element* plane2) {
  static_assert(2 * kCentreSamples == 32, "");
  const int lane = threadIdx.x % 32, k = lane % kCentreSamples;
  const int64_t row = centre_sample(k / kCentreSide, job.height);
  const int64_t column = centre_sample(k % kCentreSide, job.width);
  const Element* const plane = lane < kCentreSamples ? plane1 : plane2;
  const auto sample = load(plane + (row * job.width + column) * job.channels);
  const bool is_zero =
      k == 0 &&
      sees_only_border(job.height, job.width, kRadius - job.map_y, kRadius - job.map_x);
  return is_zero ? 0 : sample;
}

// By a whole warp, from what its lanes have loaded. Distances are compared as integers,
// which a warp does at once.
template <typename T>
__device__ __forceinline__ Offsets<T> offsets_of_samples(T sample,
                                                         const Constants<T>& c) {
  constexpr float kUnits = 1 << 20;
  constexpr int kInfinity = 0x7f800000;
  const bool first = threadIdx.x % 32 < kCentreSamples;
  const T middle = c.data_range / 2;
  const auto distance = static_cast<float>(fabs(sample - middle));
  // NaN is no less.
  const int key =
      distance < __int_as_float(kInfinity) ? __float_as_int(distance) : kInfinity;
  const auto nearest = [&](bool mine) {
    const int least = warp_min(mine ? key : kInfinity);
    const unsigned int lanes = __ballot_sync(kAllLanes, mine && key == least);
    const T found = __shfl_sync(kAllLanes, sample, __ffs(lanes) - 1);
    return least == kInfinity ? middle : found;
  };
  const T nearest_x = nearest(first), nearest_y = nearest(!first);
  const T away = cut_to_range(sample - (first ? nearest_x : nearest_y), c.data_range);
  constexpr T kInverse = T(kUnits / double(outermost_tap<T>()));
  const int units =
      __float2int_rn(static_cast<float>(away * c.w_over_range * kInverse));
  // Twice the half way. The nearest one is 0 away.
  const auto between = [&](bool mine) {
    return warp_min(mine ? units : 0) - warp_min(mine ? -units : 0);
  };
  const T unit = c.data_range * T(1 / (2 * kUnits));
  return {fma(T(between(first)), unit, nearest_x) * c.w_over_range,
          fma(T(between(!first)), unit, nearest_y) * c.w_over_range};
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_CENTRE_CUH_
