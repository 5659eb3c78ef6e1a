// One call, from its handler to its kernels: shapes, strides, parameters and pointers.

#ifndef JAX_FUSED_SSIM_COMMON_CALL_H_
#define JAX_FUSED_SSIM_COMMON_CALL_H_

#include <cstdint>
#include <utility>

#include "common/integer.h"
#include "common/parameters.h"
#include "common/plane_sum.h"
#include "common/window.h"

namespace jax_fused_ssim {

enum class DType { kF16, kBF16, kF32, kF64 };

enum Operand { kImg1, kImg2, kWeight, kErrorWeight, kScales, kMeanScale, kOperands };

// What kScales has for an image.
enum Scale { kMapScale, kErrorScale, kWeightUnit, kWeightScales };

// The leading dimensions of all operands together, and how each walks along them. What
// has size 1 where others have size n is read n times: its stride there is 0.
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
//
// With parameters.volumes an image is a volume, [depth, height, width, channels], and
// windows have three dimensions; otherwise depth is 1.
struct Call {
  Parameters parameters;
  DType dtype = DType::kF32;  // of the operands and of the map
  // Of the images; integers only where errors are wanted, and without a gradient. Of
  // two integer images the dtype is kF32.
  Pixels pixels[2] = {Pixels::kOwn, Pixels::kOwn};
  Leading leading;
  int64_t images = 0;  // product of leading.size
  int64_t depth = 1;
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;  // neighbours in a row are so many elements apart

  // The taps of a window that is not compiled in, window_size of them that sum to 1;
  // null: the one that is. Only of kF32 and kF64.
  const double* taps = nullptr;
  int window_size = kWindow;

  // Contiguous but for what Leading says:
  //   kImg1, kImg2   the images
  //   kWeight        what every map pixel counts for, of the map's shape; null: 1
  // and of a loss with weights, in the type of the loss, with weight_channels channels:
  // those of the images, or one for all,
  //   kWeight, kErrorWeight  what the window and the error of every image pixel count
  //                  for; where that is not above 0 nothing is seen, a NaN neither
  //   kScales        for an image, equal within a result, what multiplies `scale`,
  //                  `error_scale`, and before them the weights, which are within
  //                  [0, 1] then: a power of two
  //   kMeanScale     what the windowed means of every image pixel's window are
  //                  multiplied by: then windows see neither pixels whose error counts
  //                  for nothing nor the border; null: they see all.
  //                  Not of kF16 and kBF16
  const void* operand[kOperands] = {};
  int64_t weight_channels = 1;

  // Results; null is not wanted. The planes are summed over in `results` groups of
  // neighbours. For each the loss whose derivatives the gradients are: float, double
  // for kF64.
  int64_t results = 0;
  void* loss = nullptr;
  // For each, the kTerms of the loss before ssim_weight, l1_weight and l2_weight:
  // error_scale * sum of |d| and of d^2, where d = (x - y) / L, in the whole image or
  // as crop_y and crop_x say, and scale * sum of (1 - SSIM). Only with a loss, and of
  // whole images; of its type. Where they are wanted the loss has errors, and both
  // images have one centre: what is equal has no difference.
  void* terms = nullptr;
  // SSIM of every map pixel, in the images' dtype; or with `luminance` its factor
  // contrast and structure, and there the other. Volumes have no such.
  void* map = nullptr;
  void* luminance = nullptr;
  // The derivatives of ssim_weight * scale * sum of weight * (1 - SSIM), and of
  // l1_weight and l2_weight times the terms where these are wanted, in img1 and in
  // img2, the second only with the first: bfloat16 for kBF16, double for kF64,
  // otherwise float. They have every leading index.
  void* grad1 = nullptr;
  void* grad2 = nullptr;
  // Both images by means of 2 x 2 pixels, with every leading index; only of kF32, with
  // one gradient and no errors, of images that do not broadcast and whose channels come
  // first, with an even height and a width that is a multiple of 4.
  void* half[2] = {};
  // So many 32-bit words a plane, of any content: kScratchWords, or as many more as
  // derivatives need (common/derivatives.h).
  void* scratch = nullptr;
  int64_t scratch_words = kScratchWords;

  // Pixels of a window before the one that it is centred on, and behind it.
  int window_before() const { return (window_size - 1) / 2; }
  int window_after() const { return window_size / 2; }

  int map_z() const {
    return !parameters.volumes || parameters.pad_z ? 0 : window_before();
  }
  int map_y() const { return parameters.pad_y ? 0 : window_before(); }
  int map_x() const { return parameters.pad_x ? 0 : window_before(); }
  int64_t map_depth() const {
    return !parameters.volumes || parameters.pad_z ? depth : depth - (window_size - 1);
  }
  int64_t map_height() const {
    return parameters.pad_y ? height : height - (window_size - 1);
  }
  int64_t map_width() const {
    return parameters.pad_x ? width : width - (window_size - 1);
  }
  // Whether every window sees the padding: common/centre.h.
  bool sees_only_border() const {
    return (parameters.pad_z && depth < window_size) ||
           (parameters.pad_y && height < window_size) ||
           (parameters.pad_x && width < window_size);
  }

  // The taps as a kernel takes them; mirrored, they lead back from the map.
  template <typename T>
  GivenWindow<T> given_window(bool mirrored) const {
    GivenWindow<T> window = {};
    if (!taps) return window;
    window.begin = kRadius - (mirrored ? window_after() : window_before());
    window.end = window.begin + window_size;
    for (int k = 0; k < window_size; ++k) {
      window.taps[window.begin + k] =
          static_cast<T>(taps[mirrored ? window_size - 1 - k : k]);
    }
    return window;
  }
  // t of common/formula.h.
  template <typename T>
  T window_scale() const {
    return taps ? GivenWindow<T>::kScale : CompiledWindow<T>::kScale;
  }

  bool has_errors() const { return terms != nullptr; }
  bool has_weights() const { return operand[kScales] != nullptr; }
  // Whether the window and the error of a pixel count for the same.
  bool has_one_weight() const {
    bool same = operand[kWeight] == operand[kErrorWeight];
    for (int i = 0; i < leading.rank; ++i) {
      same = same && leading.stride[kWeight][i] == leading.stride[kErrorWeight][i];
    }
    return same;
  }
  bool leaves_out() const { return operand[kMeanScale] != nullptr; }
  bool has_integers() const {
    return pixels[kImg1] != Pixels::kOwn || pixels[kImg2] != Pixels::kOwn;
  }

  int64_t planes() const { return images * channels; }
  int64_t planes_of_result() const { return results ? planes() / results : 0; }
  int64_t image_size() const { return depth * height * width * channels; }
  int64_t map_size() const {
    return map_depth() * map_height() * map_width() * channels;
  }
  int64_t operand_size(int k) const {
    if (k == kImg1 || k == kImg2) return image_size();
    if (k == kScales) return kWeightScales;
    return has_weights() ? height * width * weight_channels : map_size();
  }

  // Rows and columns of the image in which errors are counted, from the first on up to
  // the end.
  int error_y() const { return parameters.crop_y ? map_y() : 0; }
  int error_x() const { return parameters.crop_x ? map_x() : 0; }
  int64_t error_end_y() const {
    return parameters.crop_y ? map_y() + map_height() : height;
  }
  int64_t error_end_x() const {
    return parameters.crop_x ? map_x() + map_width() : width;
  }

  // The same with the images in the other order.
  Call swapped() const {
    Call call = *this;
    std::swap(call.pixels[kImg1], call.pixels[kImg2]);
    std::swap(call.operand[kImg1], call.operand[kImg2]);
    std::swap(call.leading.stride[kImg1], call.leading.stride[kImg2]);
    std::swap(call.grad1, call.grad2);
    return call;
  }

  // The parts of the scratch: the exact sums of all planes and their errors, null
  // unless wanted, and behind them the centres of both images of every plane.
  PlaneSum* accumulators() const { return loss ? plane_sums() : nullptr; }
  ErrorSums* error_accumulators() const { return terms ? error_sums() : nullptr; }
  void* centres() const { return error_sums() + planes(); }
  // What they take.
  int64_t scratch_bytes() const { return planes() * kScratchWords * 4; }

 private:
  PlaneSum* plane_sums() const { return static_cast<PlaneSum*>(scratch); }
  ErrorSums* error_sums() const {
    return reinterpret_cast<ErrorSums*>(plane_sums() + planes());
  }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_CALL_H_
