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

// Two numbers for a plane, one for either image: their centres in units of the range,
// or times t, which is what a pixel times t / L loses in the same multiply-add.
template <typename T>
using Pair = typename PairOf<T>::type;

template <typename T, typename Taps>
__device__ __forceinline__ Pair<T> offsets_of(Pair<T> centres) {
  return {centres.x * Taps::kScale, centres.y * Taps::kScale};
}

template <typename T>
__device__ __forceinline__ Centre<T> centre_of(Pair<T> centres) {
  return {centres.x + centres.y, centres.x - centres.y};
}

// Times t; as in common/formula.h.
template <bool kOneCentre, typename T>
__device__ __forceinline__ SumDifference<T> sum_difference(T x, T y, Pair<T> offsets,
                                                           T tap_over_range) {
  const T a = fma(x, tap_over_range, -offsets.x),
          b = fma(y, tap_over_range, -offsets.y);
  return {a + b, kOneCentre ? (x - y) * tap_over_range : a - b};
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

// Which pixel of a plane a lane's sample is, of either image.
template <typename Job>
__device__ __forceinline__ int64_t sampled_pixel(const Job& job) {
  static_assert(2 * kCentreSamples == 32, "");
  const int k = threadIdx.x % kCentreSamples;
  const int64_t row = centre_sample(k / kCentreSide, job.height);
  const int64_t column = centre_sample(k % kCentreSide, job.width);
  return row * job.width + column;
}

// A lane's sample of the planes that begin so many elements into the images, and whose
// pixels are job.channels elements apart. kIntegers: they may be integers.
template <bool kIntegers, typename Job>
__device__ __forceinline__ typename Job::T load_sample(const Job& job, int64_t plane1,
                                                       int64_t plane2) {
  const int lane = threadIdx.x % 32, k = lane % kCentreSamples;
  const int64_t in_plane = sampled_pixel(job) * job.channels;
  typename Job::T sample;
  if constexpr (kIntegers) {
    const int image = lane < kCentreSamples ? 0 : 1;
    const auto read = [&](const auto* p, const auto& value) {
      sample = value(load(p + (image ? plane2 : plane1) + in_plane));
    };
    with_pixels(image ? job.img2 : job.img1, job.pixels[image],
                job.integer_scale[image], read);
  } else {
    sample = load((lane < kCentreSamples ? job.img1 + plane1 : job.img2 + plane2) +
                  in_plane);
  }
  return k == 0 && job.sees_only_border ? 0 : sample;
}

// The centres, by a whole warp, from what its lanes have loaded; `one`: one for both
// planes, from the samples of both. A lane whose sample has no weight does not count:
// it may be far from the others. In float for every type: they need not be exact, but
// near. Distances are compared as integers, which a warp does at once.
template <typename Taps, typename T>
__device__ __forceinline__ Pair<T> centres_of_samples(T sample, const Constants<T>& c,
                                                      bool one, bool counts = true) {
  constexpr float kUnits = 1 << 20;  // of a range
  constexpr int kInfinity = 0x7f800000;
  constexpr T kInverse = T(1 / double(Taps::kScale));
  const bool of_first = threadIdx.x % 32 < kCentreSamples;
  const bool first = of_first || one, second = !of_first || one;
  const auto in_ranges = static_cast<float>(sample * c.tap_over_range * kInverse);
  const float distance = fabsf(in_ranges - 0.5f);
  // NaN is no less.
  const int key = counts && distance < __int_as_float(kInfinity)
                      ? __float_as_int(distance)
                      : kInfinity;
  const auto nearest = [&](bool mine) {
    const int least = warp_min(mine ? key : kInfinity);
    const unsigned int lanes = __ballot_sync(kAllLanes, mine && key == least);
    const float found = __shfl_sync(kAllLanes, in_ranges, __ffs(lanes) - 1);
    return least == kInfinity ? 0.5f : found;
  };
  const float nearest_x = nearest(first), nearest_y = nearest(second);
  const float away = cut_to_range(in_ranges - (first ? nearest_x : nearest_y), 1.0f);
  const int units = counts ? __float2int_rn(away * kUnits) : 0;
  const auto centre = [&](bool mine, float nearest) {
    // The nearest one is 0 away.
    const int low = warp_min(mine ? units : 0), high = -warp_min(mine ? -units : 0);
    const CentreStep<float> step((high - low) * (1 / kUnits));
    const float half_way =
        fma(static_cast<float>(low + high), 1 / (2 * kUnits), nearest);
    return T(rintf(half_way * step.inverse) * step.size);
  };
  return {centre(first, nearest_x), centre(second, nearest_y)};
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_CENTRE_CUH_
