// Where the images of one leading index of the results lie.

#ifndef JAX_FUSED_SSIM_CUDA_LEADING_CUH_
#define JAX_FUSED_SSIM_CUDA_LEADING_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/problem.h"

namespace jax_fused_ssim::cuda {

// n % d, leaving n / d in n. 64-bit division takes several times as long as 32-bit.
__device__ __forceinline__ int64_t take_index(uint64_t& n, int64_t d) {
  if (d == 1) return 0;
  const uint64_t divisor = static_cast<uint64_t>(d);
  uint64_t quotient;
  if ((n | divisor) >> 32 == 0) {
    quotient = static_cast<uint32_t>(n) / static_cast<uint32_t>(divisor);
  } else {
    quotient = n / divisor;
  }
  const uint64_t remainder = n - quotient * divisor;
  n = quotient;
  return static_cast<int64_t>(remainder);
}

struct ImageOffsets {
  int64_t img1, img2;
};

// `leading` has at least one dimension; the offsets are in the units of its strides.
__device__ __forceinline__ ImageOffsets image_offsets(const Leading& leading,
                                                      int64_t image) {
  ImageOffsets offset = {0, 0};
  uint64_t rest = static_cast<uint64_t>(image);
#pragma unroll 1
  for (int k = leading.rank - 1; k > 0; --k) {
    const int64_t i = take_index(rest, leading.size[k]);
    offset.img1 += i * leading.stride1[k];
    offset.img2 += i * leading.stride2[k];
  }
  offset.img1 += static_cast<int64_t>(rest) * leading.stride1[0];
  offset.img2 += static_cast<int64_t>(rest) * leading.stride2[0];
  return offset;
}

// The leading dimensions with strides in elements, and at least one.
inline Leading in_elements(const Problem& problem) {
  Leading leading = problem.leading;
  if (leading.rank == 0) {
    leading.rank = 1;
    leading.size[0] = 1;
  }
  for (int i = 0; i < leading.rank; ++i) {
    leading.stride1[i] *= problem.image_size();
    leading.stride2[i] *= problem.image_size();
  }
  return leading;
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_LEADING_CUH_
