// What a thread needs once a row, but keeps no register for: the row loops of
// cuda/strip_*.cuh have none to spare.

#ifndef JAX_FUSED_SSIM_CUDA_KEPT_CUH_
#define JAX_FUSED_SSIM_CUDA_KEPT_CUH_

#include <cuda_runtime.h>

#include "cuda/strip_shape.h"

namespace jax_fused_ssim::cuda {

// kPairs pairs of floats for each of kThreads threads, in shared memory or, where there
// are registers, in those. A thread reads what it has written itself.
template <int kPairs, int kThreads, bool kShared>
class Kept {
 public:
  __device__ __forceinline__ Kept(unsigned char* shared, int thread)
      : slot_(reinterpret_cast<float4*>(shared) + thread) {}

  __device__ __forceinline__ void put(int k, float2 v) {
    if constexpr (kShared) {
      half(k) = v;
    } else {
      pairs_[k] = v;
    }
  }
  __device__ __forceinline__ float2 get(int k) const {
    if constexpr (kShared) {
      return half(k);
    } else {
      return pairs_[k];
    }
  }
  // The k-th and the next one; k is even.
  __device__ __forceinline__ float4 get_two(int k) const {
    if constexpr (kShared) {
      return slot_[k / 2 * kThreads];
    } else {
      return make_float4(pairs_[k].x, pairs_[k].y, pairs_[k + 1].x, pairs_[k + 1].y);
    }
  }

 private:
  __device__ __forceinline__ float2& half(int k) const {
    return reinterpret_cast<float2*>(slot_ + k / 2 * kThreads)[k % 2];
  }

  float4* const slot_;
  float2 pairs_[kShared ? 1 : 2 * kept_quads(kPairs)];
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_KEPT_CUH_
