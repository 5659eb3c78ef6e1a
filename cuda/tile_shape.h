// What the tile kernels are given, how large a tile is, how it lies in shared memory.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_SHAPE_H_
#define JAX_FUSED_SSIM_CUDA_TILE_SHAPE_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/measure.h"
#include "common/window.h"
#include "cuda/job.h"

namespace jax_fused_ssim::cuda {

// Pixels a block owns, its threads, and the outputs a thread has in a row (columns) and
// in a column (rows), in the convolution of the images (1) and of the derivatives (2).
// `blocks` are to have registers on a multiprocessor at once.
template <int width, int height, int threads, int blocks, int columns1, int rows1,
          int columns2, int rows2>
struct Shape {
  static constexpr int kWidth = width;
  static constexpr int kHeight = height;
  static constexpr int kThreads = threads;
  static constexpr int kBlocks = blocks;
  static constexpr int kColumns1 = columns1;
  static constexpr int kRows1 = rows1;
  static constexpr int kColumns2 = columns2;
  static constexpr int kRows2 = rows2;
};

// Shared memory: 64 KB is all a block of compute capability 7.5 has; half of that for
// the value, and 49 KB for one float gradient, leave room for two blocks on 7.5 and on
// chips with 100 KB. 32 x 24 cuts three planes of 256 x 256 into 264 tiles, two for
// each of the 132 multiprocessors of an H100, and divides 1920 x 1080. Sums of
// doubles are rounded per tile, so the shape may not depend on the device or the batch.
template <typename T, int kGradients>
struct TileShape : Shape<32, 24, 256, 3, 6, 6, 4, 6> {};
template <>
struct TileShape<float, 0> : Shape<32, 24, 128, 7, 8, 6, 0, 0> {};
template <>
struct TileShape<double, 0> : Shape<16, 16, 128, 4, 4, 4, 0, 0> {};
template <int kGradients>
struct TileShape<double, kGradients> : Shape<16, 16, 192, 2, 4, 4, 4, 4> {};

// Rows are read and written in pairs, by threads whose neighbours work on the next row:
// no two of them meet in a bank when the pitch is twice an odd number.
constexpr int row_pitch(int width) { return width + (6 - width % 4) % 4; }

// How a tile lies in shared memory, in elements of T after the partial sums of the
// warps: s and d; then the row-filtered moments, which the derivative maps and their
// row-filtered form overwrite.
template <typename T, int kGradients, bool kErrors, typename Shape>
struct TileLayout {
  // Where only the map is wanted the tiles begin with it, otherwise with the image.
  static constexpr bool kOfMap = kGradients == 0 && !kErrors;
  static constexpr int kMaps = kGradients == 0 ? 0 : DerivativeMaps<kGradients>::kCount;
  static constexpr int kMapHalo = kGradients == 0 ? 0 : kRadius;
  static constexpr int kImageHalo = kMapHalo + kRadius;
  static constexpr int kWarps = Shape::kThreads / 32;

  static constexpr int kMapHeight = Shape::kHeight + 2 * kMapHalo;
  static constexpr int kMapWidth = Shape::kWidth + 2 * kMapHalo;
  static constexpr int kSlices1 = (kMapWidth + Shape::kColumns1 - 1) / Shape::kColumns1;
  static constexpr int kMapPitch = row_pitch(kSlices1 * Shape::kColumns1);
  static constexpr int kMapPlane = kMapHeight * kMapPitch;

  static constexpr int kImageHeight = kMapHeight + 2 * kRadius;
  static constexpr int kImageWidth = kSlices1 * Shape::kColumns1 + 2 * kRadius;
  static constexpr int kImagePitch = row_pitch(kImageWidth);
  static constexpr int kImagePlane = kImageHeight * kImagePitch;
  static constexpr int kMomentPlane = kImageHeight * kMapPitch;

  static constexpr int kOutPitch = row_pitch(Shape::kWidth);
  static constexpr int kOutPlane = kMapHeight * kOutPitch;

  static constexpr int kMomentWords = kMoments * kMomentPlane;
  static constexpr int kMapWords = kMaps * (kMapPlane + kOutPlane);
  static constexpr int kWords =
      2 * kImagePlane + (kMomentWords > kMapWords ? kMomentWords : kMapWords);
  static constexpr int kSumBytes = (kWarps * int(sizeof(double)) + 15) / 16 * 16;
  static constexpr int kErrorBytes = kErrors ? kWarps * int(sizeof(ErrorSums)) : 0;
  static constexpr int kBytes = kSumBytes + kErrorBytes + kWords * int(sizeof(T));
  static_assert(kErrorBytes % 16 == 0, "what follows is read in pairs");
  static_assert(kBytes <= 64 * 1024, "more than a block of sm_75 can have");
};

// Taps: CompiledWindow, or GivenWindow. Arguments of the kernel. A tile is one of
// tiles_y x tiles_x of one channel of one image; the tiles of all channels of one place
// follow each other, because interleaved channels share cache lines.
template <typename Element, typename Taps_ = CompiledWindow<Compute<Element>>>
struct TileJob : Job<Element> {
  using Taps = Taps_;

  TileJob() = default;
  explicit TileJob(const Call& call)
      : Job<Element>(call),
        height(call.height),
        width(call.width),
        channels(call.channels),
        map_height(call.map_height()),
        map_width(call.map_width()) {
    if constexpr (kGivenWindow) {
      window = call.given_window<typename Job<Element>::T>(false);
      mirrored = call.given_window<typename Job<Element>::T>(true);
      given_end_y = call.error_end_y();
      given_end_x = call.error_end_x();
    }
  }

  // One row and one column after those whose errors count: those of a window whose
  // sides differ are given.
  __device__ __forceinline__ int64_t error_end_y() const {
    if constexpr (kGivenWindow) return given_end_y;
    return height - this->error_y;
  }
  __device__ __forceinline__ int64_t error_end_x() const {
    if constexpr (kGivenWindow) return given_end_x;
    return width - this->error_x;
  }

  int64_t height, width, channels;
  int64_t map_height, map_width;
  int64_t tiles, tiles_y, tiles_x;
  Taps window, mirrored;  // mirrored: leads back from the map

 private:
  static constexpr bool kGivenWindow =
      std::is_same_v<Taps, GivenWindow<typename Job<Element>::T>>;
  int64_t given_end_y, given_end_x;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_SHAPE_H_
