// Where what each operand has for one leading index of the results lies.

#ifndef JAX_FUSED_SSIM_CUDA_LEADING_CUH_
#define JAX_FUSED_SSIM_CUDA_LEADING_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/call.h"

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
  int64_t of[kOperands];
};

// `leading` has at least one dimension; the offsets are in the units of its strides.
__device__ __forceinline__ ImageOffsets image_offsets(const Leading& leading,
                                                      int64_t image) {
  ImageOffsets offset = {};
  uint64_t rest = static_cast<uint64_t>(image);
  const auto add = [&](int k, int64_t i) {
#pragma unroll
    for (int operand = 0; operand < kOperands; ++operand) {
      offset.of[operand] += i * leading.stride[operand][k];
    }
  };
#pragma unroll 1
  for (int k = leading.rank - 1; k > 0; --k) add(k, take_index(rest, leading.size[k]));
  add(0, static_cast<int64_t>(rest));
  return offset;
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_LEADING_CUH_
