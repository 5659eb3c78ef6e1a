// Element types as they lie in memory.

#ifndef JAX_FUSED_SSIM_CUDA_ELEMENT_CUH_
#define JAX_FUSED_SSIM_CUDA_ELEMENT_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "common/integer.h"
#include "cuda/element.h"

namespace jax_fused_ssim::cuda {

// Loads are from memory that no thread of the launch writes.
__device__ __forceinline__ float load(const __half* p) {
  return __half2float(__ldg(p));
}
__device__ __forceinline__ float load(const __nv_bfloat16* p) {
  return __bfloat162float(__ldg(p));
}
__device__ __forceinline__ float load(const float* p) { return __ldg(p); }
__device__ __forceinline__ double load(const double* p) { return __ldg(p); }

// Of integers the value, which cuda/job.h's integer_scale makes a pixel.
__device__ __forceinline__ float load(const uint8_t* p) { return __ldg(p); }
__device__ __forceinline__ float load(const uint16_t* p) { return __ldg(p); }

// Calls f(p, value) for an image in memory, where p points to its pixels as they are
// there, and value(a) is the pixel that a loaded one stands for.
template <typename Element, typename T, typename F>
__device__ __forceinline__ void with_pixels(const Element* image, Pixels pixels,
                                            const IntegerScale<T>& scale, const F& f) {
  const auto of_integer = [&](T a) { return integer_pixel(a, scale); };
  switch (pixels) {
    case Pixels::kOwn:
      return f(image, [](T a) { return a; });
    case Pixels::kU8:
      return f(reinterpret_cast<const uint8_t*>(image), of_integer);
    case Pixels::kU16:
      return f(reinterpret_cast<const uint16_t*>(image), of_integer);
  }
}

__device__ __forceinline__ void store(__half* p, float v) { *p = __float2half_rn(v); }
__device__ __forceinline__ void store(__nv_bfloat16* p, float v) {
  *p = __float2bfloat16_rn(v);
}
__device__ __forceinline__ void store(float* p, float v) { *p = v; }
__device__ __forceinline__ void store(double* p, double v) { *p = v; }

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_ELEMENT_CUH_
