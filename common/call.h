// One call, from its handler to its kernels: shapes, strides, parameters and pointers.

#ifndef JAX_FUSED_SSIM_COMMON_CALL_H_
#define JAX_FUSED_SSIM_COMMON_CALL_H_

#include <cstdint>

#include "common/parameters.h"
#include "common/plane_sum.h"
#include "common/window.h"

namespace jax_fused_ssim {

enum class DType { kF16, kBF16, kF32, kF64 };

enum Operand { kImg1, kImg2, kWeight, kOperands };

// The leading dimensions of the results, and how each operand walks along them. What
// has size 1 where the results have size n is read n times: its stride there is 0.
// Strides count images, or maps for the weight: multiply by Call::operand_size() for
// elements.
struct Leading {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  int64_t size[kMaxRank] = {};
  int64_t stride[kOperands][kMaxRank] = {};
};

// An "image" is the [height, width, channels] block under one leading index. For
// channels-first arrays the channel is a leading dimension and channels is 1. A "plane"
// is one channel of an image. The map has map_height x map_width pixels a plane; map
// pixel (i, j) is centred on image pixel (i + map_y, j + map_x).
struct Call {
  Parameters parameters;
  DType dtype = DType::kF32;  // of the operands and of the map
  Leading leading;
  int64_t images = 0;  // product of leading.size
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;  // neighbours in a row are so many elements apart

  // The images and what every map pixel counts for, of the map's shape; contiguous but
  // for what Leading says. A null weight is 1 everywhere.
  const void* operand[kOperands] = {};

  // Results; null is not wanted. For every plane, scale * sum of (1 - SSIM), without a
  // weight: float, double for kF64.
  void* sums = nullptr;
  // SSIM of every map pixel, in the images' dtype.
  void* map = nullptr;
  // scale * d(sum of weight * SSIM)/d img1 and /d img2, the second only with the first:
  // float, double for kF64. They have every leading index of the results.
  void* grad1 = nullptr;
  void* grad2 = nullptr;
  // kScratchWords 32-bit words a plane, of any content.
  void* scratch = nullptr;

  // Rows and columns of zeros read on each side of the image.
  int pad_y() const { return parameters.pad_y ? kRadius : 0; }
  int pad_x() const { return parameters.pad_x ? kRadius : 0; }
  int map_y() const { return kRadius - pad_y(); }
  int map_x() const { return kRadius - pad_x(); }
  int64_t map_height() const { return height - 2 * map_y(); }
  int64_t map_width() const { return width - 2 * map_x(); }

  int64_t planes() const { return images * channels; }
  int64_t image_size() const { return height * width * channels; }
  int64_t map_size() const { return map_height() * map_width() * channels; }
  int64_t operand_size(int k) const { return k == kWeight ? map_size() : image_size(); }

  // The two parts of the scratch: the exact sums of all planes, if sums are wanted, and
  // behind them the centres of both images of every plane.
  PlaneSum* accumulators() const { return sums ? plane_sums() : nullptr; }
  void* centres() const { return plane_sums() + planes(); }

 private:
  PlaneSum* plane_sums() const { return static_cast<PlaneSum*>(scratch); }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_CALL_H_
