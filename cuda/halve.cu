// The pyramid of two batches of planes, read once.
//
// A block takes a square of kSide pixels of a plane, a thread kOwn x kOwn of them:
// two halvings happen in its registers, the others in shared memory. A mean is ((a + b)
// + (c + d)) / 4, in this order, as in halving.py.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cuda/convolve.cuh"
#include "cuda/halve.h"
#include "cuda/leading.cuh"

namespace jax_fused_ssim::cuda {
namespace {

constexpr int kOwn = 4;
constexpr int kAcross = 16;  // threads along a row, and down a column
constexpr int kSide = kOwn * kAcross;
static_assert(kSide == kAcross << 2 && kSide % (1 << kMostHalvings) == 0, "");

template <typename T>
struct Job {
  int64_t height, width, tiles, tiles_y, tiles_x, count;
  int halvings;
  const T* from[2];
  T* to[2][kMostHalvings];
};

template <typename T>
__device__ __forceinline__ T mean(T a, T b, T c, T d) {
  return (plain_sum(plain_sum(a, b), plain_sum(c, d))) * T(0.25);
}

// kOwn pixels of a row, as far as it goes. What halves twice without a rest is read by
// the vector.
template <typename T>
__device__ __forceinline__ void load_pixels(const Job<T>& job, const T* row, int64_t x,
                                            T (&own)[kOwn]) {
  constexpr int kVector = 16 / int(sizeof(T));
  static_assert(kOwn % kVector == 0, "");
  if (job.halvings > 1) {
    if (x >= job.width) return;
#pragma unroll
    for (int i = 0; i < kOwn; i += kVector) {
      const uint4 vector = *reinterpret_cast<const uint4*>(row + x + i);
      memcpy(own + i, &vector, sizeof vector);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (x + i < job.width) own[i] = row[x + i];
  }
}

// A pixel of a plane halved `level` times, where there is one.
template <typename T>
__device__ __forceinline__ void put(const Job<T>& job, T* plane, int level, int64_t y,
                                    int64_t x, T value) {
  const int64_t height = job.height >> level, width = job.width >> level;
  if (y < height && x < width) plane[y * width + x] = value;
}

template <typename T>
__global__ void __launch_bounds__(kAcross* kAcross)
    halve_kernel(const __grid_constant__ Job<T> job) {
  __shared__ T shared[kAcross * kAcross];
  const int column = threadIdx.x % kAcross, row = threadIdx.x / kAcross;
  for (int64_t tile = blockIdx.x; tile < job.tiles; tile += gridDim.x) {
    uint64_t rest = static_cast<uint64_t>(tile);
    const int64_t tile_x = take_index(rest, job.tiles_x);
    const int64_t tile_y = take_index(rest, job.tiles_y);
    const int64_t nth = static_cast<int64_t>(rest);
    const int batch = nth < job.count ? 0 : 1;
    const int64_t plane = batch ? nth - job.count : nth;
    const int64_t y = tile_y * kSide + kOwn * row, x = tile_x * kSide + kOwn * column;
    const T* const from = job.from[batch] + plane * job.height * job.width;
    const auto to = [&](int level) {
      const int64_t pixels = (job.height >> level) * (job.width >> level);
      return job.to[batch][level - 1] + plane * pixels;
    };

    T own[kOwn][kOwn];
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
#pragma unroll
      for (int j = 0; j < kOwn; ++j) own[i][j] = 0;
      if (y + i < job.height) {
        load_pixels(job, from + (y + i) * job.width, x, own[i]);
      }
    }
    T half[2][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        half[i][j] = mean(own[2 * i][2 * j], own[2 * i][2 * j + 1],
                          own[2 * i + 1][2 * j], own[2 * i + 1][2 * j + 1]);
        put(job, to(1), 1, y / 2 + i, x / 2 + j, half[i][j]);
      }
    }
    if (job.halvings < 2) continue;
    const T quarter = mean(half[0][0], half[0][1], half[1][0], half[1][1]);
    put(job, to(2), 2, y / 4, x / 4, quarter);
    if (job.halvings < 3) continue;

    shared[threadIdx.x] = quarter;
    __syncthreads();
    // The threads of the first rows and columns go on.
    constexpr int kEighth = kAcross / 2;
    T eighth = 0;
    if (row < kEighth && column < kEighth) {
      const T* const square = shared + 2 * row * kAcross + 2 * column;
      eighth = mean(square[0], square[1], square[kAcross], square[kAcross + 1]);
      put(job, to(3), 3, tile_y * kEighth + row, tile_x * kEighth + column, eighth);
    }
    __syncthreads();
    if (job.halvings < 4) continue;
    if (row < kEighth && column < kEighth) shared[row * kAcross + column] = eighth;
    __syncthreads();
    constexpr int kSixteenth = kAcross / 4;
    if (row < kSixteenth && column < kSixteenth) {
      const T* const square = shared + 2 * row * kAcross + 2 * column;
      put(job, to(4), 4, tile_y * kSixteenth + row, tile_x * kSixteenth + column,
          mean(square[0], square[1], square[kAcross], square[kAcross + 1]));
    }
    __syncthreads();
  }
}

template <typename T>
cudaError_t launch(cudaStream_t stream, const Halving& halving) {
  Job<T> job = {};
  job.height = halving.height;
  job.width = halving.width;
  job.halvings = halving.halvings;
  job.count = halving.count[0];
  for (int batch = 0; batch < 2; ++batch) {
    job.from[batch] = static_cast<const T*>(halving.from[batch]);
    for (int i = 0; i < halving.halvings; ++i) {
      job.to[batch][i] = static_cast<T*>(halving.to[batch][i]);
    }
  }
  job.tiles_y = (job.height + kSide - 1) / kSide;
  job.tiles_x = (job.width + kSide - 1) / kSide;
  job.tiles = (halving.count[0] + halving.count[1]) * job.tiles_y * job.tiles_x;
  if (job.tiles == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned int>(
      std::min<int64_t>(job.tiles, std::numeric_limits<int32_t>::max()));
  halve_kernel<T><<<blocks, kAcross * kAcross, 0, stream>>>(job);
  return cudaGetLastError();
}

}  // namespace

cudaError_t halve(cudaStream_t stream, const Halving& halving) {
  return halving.is_double ? launch<double>(stream, halving)
                           : launch<float>(stream, halving);
}

}  // namespace jax_fused_ssim::cuda
