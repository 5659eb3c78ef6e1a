// The sum over the pixels of a tile, exact in float: common/plane_sum.h.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_SUM_CUH_
#define JAX_FUSED_SSIM_CUDA_TILE_SUM_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/plane_sum.h"

namespace jax_fused_ssim::cuda {

// The sum of (1 - SSIM) / 2 over a tile. Floats are added as integers, so that the sum
// of a plane is the same whichever kernel takes which of its pixels together; pixels
// that are not finite are counted above them, from bit kNotFinite on. Doubles are added
// as they are, in an order that the tile fixes.
template <typename T>
struct TileSum {
  using Sum = unsigned long long;
  static constexpr int kNotFinite = 48;

  static __device__ __forceinline__ Sum of_pixel(float half) {
    const Sum quanta = __float2uint_rn(half * kPixelQuanta);
    return half == half ? quanta : Sum{1} << kNotFinite;
  }
  static __device__ __forceinline__ Sum of_pixel(float half, float weight) {
    const Sum quanta = __float2uint_rn(half * (kPixelQuanta * weight));
    return half == half || !(weight > 0) ? quanta : Sum{1} << kNotFinite;
  }
  static __device__ __forceinline__ PlaneSum term(Sum sum) {
    return plane_sum_of_pixels(sum & ((Sum{1} << kNotFinite) - 1), sum >> kNotFinite);
  }
};
template <>
struct TileSum<double> {
  using Sum = double;
  static __device__ __forceinline__ Sum of_pixel(double half) { return half; }
  static __device__ __forceinline__ Sum of_pixel(double half, double weight) {
    return weight > 0 ? half * weight : 0;
  }
  static __device__ __forceinline__ PlaneSum term(Sum sum) {
    return plane_sum_term(2 * sum);
  }
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_SUM_CUH_
