// Which places of a tile exist.

#ifndef JAX_FUSED_SSIM_CUDA_SPAN_CUH_
#define JAX_FUSED_SSIM_CUDA_SPAN_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace jax_fused_ssim::cuda {

// Places [begin, end) of a line.
struct Span {
  int begin, end;

  __device__ __forceinline__ bool holds(int i) const { return begin <= i && i < end; }
};

// The part of [begin, end) that a line of `size` places starting at `origin` has.
__device__ __forceinline__ Span clip(int64_t begin, int64_t end, int64_t origin,
                                     int size) {
  const int64_t first = begin - origin, last = end - origin;
  return {static_cast<int>(first < 0      ? 0
                           : first < size ? first
                                          : size),
          static_cast<int>(last < 0      ? 0
                           : last < size ? last
                                         : size)};
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_SPAN_CUH_
