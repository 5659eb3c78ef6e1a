// What one call computes: shapes, strides and constants, without any pointer.

#ifndef JAX_FUSED_SSIM_COMMON_PROBLEM_H_
#define JAX_FUSED_SSIM_COMMON_PROBLEM_H_

#include <cstdint>

#include "common/window.h"

namespace jax_fused_ssim {

enum class DType { kF16, kBF16, kF32, kF64 };

// The leading dimensions of the results, and how each image walks along them. An image
// that has size 1 where the other has size n is read n times: its stride there is 0.
// Strides count images: multiply by Problem::image_size() for elements.
struct Leading {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  int64_t size[kMaxRank] = {};
  int64_t stride1[kMaxRank] = {};
  int64_t stride2[kMaxRank] = {};
};

// An "image" is the [height, width, channels] block under one leading index. For
// channels-first arrays the channel is a leading dimension and channels is 1. A "plane"
// is one channel of an image. The map has map_height x map_width pixels a plane; map
// pixel (i, j) is centred on image pixel (i + 5 - pad_y, j + 5 - pad_x).
struct Problem {
  Leading leading;
  int64_t images = 0;  // product of leading.size
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels =
      1;          // interleaved: neighbours in a row are `channels` elements apart
  int pad_y = 0;  // rows of zeros read above and below the image: 0 or kRadius
  int pad_x = 0;  // columns of zeros read left and right of it: 0 or kRadius
  double data_range = 1;
  double k1 = 0.01;
  double k2 = 0.03;
  double scale = 1;  // multiplies the sums and the gradients of the sum

  int64_t map_height() const { return height + 2 * pad_y - 2 * kRadius; }
  int64_t map_width() const { return width + 2 * pad_x - 2 * kRadius; }
  int64_t planes() const { return images * channels; }
  int64_t image_size() const { return height * width * channels; }
  int64_t map_size() const { return map_height() * map_width() * channels; }
};

// The two images, of one dtype, contiguous but for the broadcast in Leading.
struct Images {
  DType dtype;
  const void* img1;
  const void* img2;
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_PROBLEM_H_
