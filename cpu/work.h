// One task of a CPU kernel: a range of rows and columns of one image, and of slices
// where that is a volume. Plain data, so
// that the kernels, compiled once for every instruction set, share no inline function
// whose one surviving copy could hold instructions that the machine lacks.

#ifndef JAX_FUSED_SSIM_CPU_WORK_H_
#define JAX_FUSED_SSIM_CPU_WORK_H_

#include <cstddef>
#include <cstdint>

#include "common/integer.h"
#include "common/parameters.h"
#include "common/plane_sum.h"
#include "common/window.h"

namespace jax_fused_ssim::cpu {

struct Range {
  int64_t begin, end;
};

struct Work {
  // The images. This task covers `channels` of the `pixel_stride` channels that they
  // have; pointers, here and below, are to the first of these.
  const void* img[2];
  Pixels pixels[2];
  // Of integers, in two parts that the compute type has exactly.
  IntegerScale<double> integer_scale[2];
  int64_t depth, height, width, channels, pixel_stride;
  Parameters parameters;

  // A window that is not compiled in, and the one that leads back from the map.
  GivenWindow<double> window, mirrored;
  bool sees_only_border;

  // The image slices, rows and columns on which a map pixel is centred.
  Range centre_slices, centre_rows, centre_cols;

  // What this task covers: image pixels for the gradients, else those whose errors
  // count, which all centres do, or centres alone.
  Range slices, rows, cols;
  // Of volumes: whether these are all columns, and nothing but zero padding is beside.
  bool whole_rows;
  // Those of them whose errors count.
  Range error_rows, error_cols;

  // Results; each may be null. The sums, one a channel, are unscaled. Where errors are
  // wanted both images have one centre.
  PlaneSum* sums;
  ErrorSums* errors;
  void* map;
  void* luminance;  // then `map` has the other factor: common/call.h

  // For the gradients alone; the second may be null.
  void* grad[2];

  // What map pixels count for; null: 1. For gradients alone, without sums, a cotangent
  // of the map's element type. Else in the compute type, for all pixels of the image
  // and with errors: then there is what these count for, too, and 0 hides what lies
  // under it. Pixels have `weight_channels` of the `weight_stride` that are in memory:
  // as many as those of the images, or one for all.
  const void* weight;
  const void* error_weight;
  int64_t weight_channels, weight_stride;
  // As the weights, or null: what the means of every window are multiplied by. Windows
  // see no pixel whose error_weight is 0 then, and nothing beside the image.
  const void* mean_scale;
  // Factors of the gradients in what is weighted, and of the weighted sums; 1 without
  // weights.
  double weight_scale, error_weight_scale, weight_unit;

  // Aligned to kScratchAlignment, of any content that is initialised.
  void* scratch;
};

constexpr size_t kScratchAlignment = 64;

// As many channels as a task takes of an image at most: bounds the scratch.
constexpr int64_t kMaxChannels = 16;

// The entry points of one instruction set, indexed by DType, first those for the window
// that is compiled in, then those for a given one, which there are not of every type;
// and the bytes of scratch that a task needs whose input rows have `elements` elements;
// `weight_channels` is 0 without weights. For volumes there are others, of the wide
// types alone, and `rows` is how many rows of a slice a task covers.
struct Kernels {
  const char* name;
  void (*value[2][4])(const Work&);
  void (*gradient[2][4])(const Work&);
  size_t (*value_scratch[4])(int64_t elements, int64_t channels,
                             int64_t weight_channels);
  size_t (*gradient_scratch[4])(int64_t elements, int64_t channels,
                                int64_t weight_channels);
  void (*volume_value[2][4])(const Work&);
  void (*volume_gradient[2][4])(const Work&);
  size_t (*volume_value_scratch[4])(int64_t elements, int64_t channels,
                                    int64_t weight_channels, int64_t rows);
  size_t (*volume_gradient_scratch[4])(int64_t elements, int64_t channels,
                                       int64_t weight_channels, int64_t rows);
};

extern const Kernels kBaselineKernels;
#ifdef JAX_FUSED_SSIM_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_WORK_H_
