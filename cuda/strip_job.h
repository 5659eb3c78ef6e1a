// What the strip kernels are given, and how they cut it.
//
// The images lie side by side in one virtual row of pixels, `pitch` apart, which leaves
// a gap of pixels that no image has: as wide as the window reaches, so that nothing of
// one image gets into the results of another, and to a multiple of 4, so that four
// neighbours aligned in the virtual row are so in memory when the width is a multiple
// of 4. Strips are cut from the virtual row without regard to the images, of each up to
// four channels where these are interleaved; the rows of all strips are the work, cut
// into equal ranges, as many as strips run at a time. So any width fits, and no
// multiprocessor idles at the end. No result depends on where a strip begins: a pixel
// is always computed from the same numbers in the same order.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_JOB_H_
#define JAX_FUSED_SSIM_CUDA_STRIP_JOB_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/cut.h"
#include "cuda/job.h"

namespace jax_fused_ssim::cuda {

// A divisor of numbers under 2^31.
struct Divisor {
  int value;
  uint32_t multiplier, shift;

  Divisor() = default;
  // At least 2.
  explicit Divisor(int value_) : value(value_), shift(0) {
    while ((int64_t{2} << shift) < value) ++shift;
    multiplier =
        static_cast<uint32_t>(((uint64_t{1} << (32 + shift)) + value - 1) / value);
  }
  __device__ __forceinline__ int divide(int n) const {
    return static_cast<int>(__umulhi(static_cast<uint32_t>(n), multiplier) >> shift);
  }
};

template <typename Element>
struct StripJob : Job<Element> {
  using Job<Element>::Job;

  float2* centres;  // of every plane: cuda/strip_centre.cuh
  int64_t images;
  Divisor pitch;
  int64_t row_size, image_size, map_row_size, map_size;  // elements
  int64_t row_bytes;                                     // of row_size
  int height, width, channels, map_height, map_width;
  bool map_aligned;   // quads of the map may be written as one
  int parts;          // strips that share their pixels, and divide the channels
  int part_channels;  // of a strip; the last part's may not all exist
  int groups;         // of 4 columns that a strip has of each of them
  int segment;        // floats from one of them to the next in shared memory
  int64_t rows;       // of a strip, by the Strip::kRowUnit
  Cut cut;
  // cuda/strip_halve.cuh: the first image at half its size, the bytes from there to the
  // second, and those from one of its rows to the next.
  float* half;
  int64_t half_to_second, half_row_bytes;
};

// cuda/strip_centre.cuh
template <typename Element>
__global__ void prepare_kernel(const __grid_constant__ StripJob<Element> job);

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_JOB_H_
