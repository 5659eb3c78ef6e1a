// What the kernels of volumes have in common: which columns a block takes, the window
// along the depth, the centres, and how they write.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_FILTER_CUH_
#define JAX_FUSED_SSIM_CUDA_VOLUME_FILTER_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/centre.h"
#include "common/window.h"
#include "cuda/centre.cuh"
#include "cuda/convolve.cuh"
#include "cuda/pieces.cuh"

namespace jax_fused_ssim::cuda {

// Where a window of the depth has a tap.
template <typename T>
__device__ __forceinline__ bool has_tap(const CompiledWindow<T>&, int) {
  return true;
}
template <typename T>
__device__ __forceinline__ bool has_tap(const GivenWindow<T>& window, int k) {
  return window.has(k);
}
template <typename T>
__device__ __forceinline__ T tap(const CompiledWindow<T>&, int k) {
  return normal_tap<T>(k);
}
template <typename T>
__device__ __forceinline__ T tap(const GivenWindow<T>& window, int k) {
  return window.taps[k];
}

// A sum along the depth with what a slice adds by one tap.
template <typename Taps, typename T>
__device__ __forceinline__ T with_tap(const Taps& window, int k, T v, T sum) {
  return has_tap(window, k) ? fma(tap(window, k), v, sum) : sum;
}

// The sum along the depth that a slice begins, the one that it completes, and those
// that are not complete, once it is added, the next to be complete first. The order is
// that in which slices come.
template <typename T>
__device__ __forceinline__ T begun_by(const CompiledWindow<T>& window, T v) {
  return tap(window, 0) * v;
}
template <typename T>
__device__ __forceinline__ T begun_by(const GivenWindow<T>& window, T v) {
  return with_tap(window, 0, v, T(0));
}
template <typename Taps, typename T>
__device__ __forceinline__ T completed_by(const Taps& window, T v,
                                          const T (&sums)[2 * kRadius]) {
  return with_tap(window, 2 * kRadius, v, sums[0]);
}
template <typename Taps, typename T>
__device__ __forceinline__ void add_slice(const Taps& window, T v,
                                          T (&sums)[2 * kRadius]) {
#pragma unroll
  for (int k = 0; k < 2 * kRadius - 1; ++k) {
    sums[k] = with_tap(window, 2 * kRadius - 1 - k, v, sums[k + 1]);
  }
  sums[2 * kRadius - 1] = begun_by(window, v);
}

__device__ __forceinline__ void store_four(float* to, const float (&v)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ __forceinline__ void store_four(double* to, const double (&v)[4]) {
  store_row(to, v);
}

// Tells the compiler what an address is of, as it cannot see where it comes from.
template <typename T>
__device__ __forceinline__ T* of_global_memory(T* p) {
#ifdef __CUDA_ARCH__
  __builtin_assume(__isGlobal(p));
#endif
  return p;
}

// Calls `march(piece, column, channel)` for every piece of a column that the block has,
// which begins with that channel.
template <typename Job, typename March>
__device__ __forceinline__ void march_columns(const Job& job, const March& march) {
  Pieces<Job> pieces(job, blockIdx.x);
  Piece piece;
  while (pieces.next(job, piece)) {
    const int64_t column = job.column(piece);
    if (column >= job.columns) break;
    march(piece, column, pieces.first_channel());
    __syncthreads();
  }
}

// The centres of planes that begin so many elements into the images, by a whole warp.
template <typename Taps, typename Job>
__device__ __forceinline__ auto volume_centres(const Job& job, int64_t plane1,
                                               int64_t plane2) {
  const int k = threadIdx.x % kCentreSamples;
  const int quarter = centre_slice(k / kCentreSide, k % kCentreSide);
  const int64_t at = job.slice * centre_sample(quarter, job.depth);
  const auto sample = load_sample<false>(job, plane1 + at, plane2 + at);
  return centres_of_samples<Taps>(sample, job.constants, false);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_FILTER_CUH_
