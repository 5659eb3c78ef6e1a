// One task of a CPU kernel: a range of rows and columns of one image. Plain data, so
// that the kernels, compiled once for every instruction set, share no inline function
// whose one surviving copy could hold instructions that the machine lacks.

#ifndef JAX_FUSED_SSIM_CPU_WORK_H_
#define JAX_FUSED_SSIM_CPU_WORK_H_

#include <cstdint>

#include "common/plane_sum.h"
#include "common/window.h"

namespace jax_fused_ssim::cpu {

struct Range {
  int64_t begin, end;
};

struct Work {
  // The image: pointers to its first element.
  const void* img1;
  const void* img2;
  int64_t height, width, channels;
  double data_range, k1, k2;

  // The image rows and columns on which a map pixel is centred.
  Range centre_rows, centre_cols;

  // What this task covers: centres for the value, image pixels for the gradients.
  Range rows, cols;

  // Results of the whole image; each may be null. The sums, one a channel, are
  // unscaled.
  PlaneSum* sums;
  void* map;

  // For the gradients alone: null cotangent means 1 everywhere, null grad2 not asked
  // for.
  const void* cotangent;
  double scale;
  void* grad1;
  void* grad2;

  // kValueRows or kGradientRows rows of `stride` elements of the compute type, cleared.
  void* scratch;
  int64_t stride;
};

// Rows of scratch: rings of the last 11 rows of s, d and each derivative map, the rows
// between the two passes of a convolution, and one each for (1 - SSIM) / 2 and the
// cotangent, which also hold the gradients.
constexpr int kMoments = 4;
constexpr int kMaxMaps = 4;
constexpr int kValueRows = 2 * kWindow + kMoments + 1;
constexpr int kGradientRows = (2 + kMaxMaps) * kWindow + kMaxMaps + 2;

// Elements read or written past the end of a row by whole vectors.
constexpr int kMaxLanes = 16;

// The entry points of one instruction set, indexed by DType.
struct Kernels {
  const char* name;
  void (*value[4])(const Work&);
  void (*gradient[4])(const Work&);
};

extern const Kernels kBaselineKernels;
#ifdef JAX_FUSED_SSIM_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_WORK_H_
