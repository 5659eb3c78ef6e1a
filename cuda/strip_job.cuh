// Where a strip's threads are: in which image, map and piece of work, and what they add
// up there. How strips are cut: cuda/strip_job.h.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/plane_sum.h"
#include "cuda/leading.cuh"
#include "cuda/pieces.cuh"
#include "cuda/strip_job.h"
#include "cuda/strip_shape.h"

namespace jax_fused_ssim::cuda {

template <int kRow>
struct RowOfStep {
  __device__ __forceinline__ constexpr operator int() const { return kRow; }
};

// Calls `f` with each row of a step. kUnrolled: each with a type of its own, of which
// no compiler makes a loop; otherwise left to it, which may think that best.
template <bool kUnrolled, typename F>
__device__ __forceinline__ void for_rows_of_step(const F& f) {
  if constexpr (kUnrolled) {
    static_assert(kStepRows == 2, "");
    f(RowOfStep<0>());
    f(RowOfStep<1>());
  } else {
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) f(r);
  }
}

// A pixel of the virtual row: column `column` of image `image`, if there is such an
// image and its width is more.
struct Place {
  int64_t image;
  int column;
};

// Where the row of a strip begins, which may be up to a pitch before the first image.
template <typename Element>
__device__ __forceinline__ Place place_of(const StripJob<Element>& job, int64_t pixel) {
  uint64_t image = static_cast<uint64_t>(pixel + job.pitch.value);
  const int64_t column = take_index(image, job.pitch.value);
  return {static_cast<int64_t>(image) - 1, static_cast<int>(column)};
}

// Some pixels on from there; image -1 where there is none.
template <typename Element>
__device__ __forceinline__ Place place_of(const StripJob<Element>& job,
                                          const Place& strip, int pixel) {
  const int column = strip.column + pixel;
  const int images = job.pitch.divide(column);
  const int64_t image = strip.image + images;
  return {image < job.images ? image : -1, column - images * job.pitch.value};
}

// The map pixels centred on four pixels of a strip's row. The gap sees to it that
// those of the four that an image has are all of the image that the last one lies in.
struct MapGroup {
  int64_t image;
  int column;  // of the first in the map, may be negative

  template <typename Element>
  __device__ __forceinline__ MapGroup(const StripJob<Element>& job, const Place& strip,
                                      int pixel) {
    const Place last = place_of(job, strip, pixel + kGroup - 1);
    image = last.image;
    column = last.column - (kGroup - 1) - job.map_x;
  }
  template <typename Element>
  __device__ __forceinline__ bool holds(const StripJob<Element>& job, int i) const {
    return image >= 0 && static_cast<unsigned int>(column + i) <
                             static_cast<unsigned int>(job.map_width);
  }
  template <typename Element>
  __device__ __forceinline__ bool holds_any(const StripJob<Element>& job) const {
    return image >= 0 && column + kGroup > 0 && column < job.map_width;
  }
};

// Rows [begin, begin + count), counted on from a row that is given first.
struct RowSpan {
  int at;
  unsigned int count;

  __device__ __forceinline__ RowSpan(int first, int begin, int end)
      : at(first - begin),
        count(end > begin ? static_cast<unsigned int>(end - begin) : 0) {}
  __device__ __forceinline__ bool holds(int ahead = 0) const {
    return static_cast<unsigned int>(at + ahead) < count;
  }
};

// By a whole warp: calls f(same, leads) for every plane that threads of it have, where
// `same` says whether a thread has that one, and `leads` whether it speaks for them.
// -1 is none.
template <typename F>
__device__ __forceinline__ void for_planes_of_warp(int64_t plane, const F& f) {
  constexpr unsigned int kAll = 0xffffffffu;
  unsigned int waiting = __ballot_sync(kAll, plane >= 0);
  while (waiting) {
    const int leader = __ffs(waiting) - 1;
    const bool same = plane == __shfl_sync(kAll, plane, leader);
    f(same, static_cast<int>(threadIdx.x % 32) == leader);
    waiting &= ~__ballot_sync(kAll, same);
  }
}

// A thread's share of the sum of a plane, exact: common/plane_sum.h.
class PixelSum {
 public:
  // `terms`: of a row's column `i`; `quanta` is kPixelQuanta, or 0 for a pixel that is
  // not counted.
  template <typename Terms>
  __device__ __forceinline__ void add(int i, const Terms& terms, float quanta) {
    const float half = __saturatef(terms.unbounded_half());
    row_ += __float2uint_rn(half * quanta);
    row_w_[i] = terms.w;
  }
  // Which counts so much, within [0, 1].
  template <typename Terms>
  __device__ __forceinline__ void add(int i, const Terms& terms, float quanta,
                                      float weight) {
    add(i, terms, quanta * weight);
    row_w_[i] = where_positive(weight, terms.w);
  }
  __device__ __forceinline__ void end_row(bool counted) {
    // Any input that is not finite, or overflows, makes w NaN.
    float w = row_w_[0];
#pragma unroll
    for (int i = 1; i < kGroup; ++i) w += row_w_[i];
    quanta_ += counted ? row_ : 0;
    w_ += counted ? w : 0;
    row_ = 0;
  }

  // By a whole warp; `plane` is -1 for a thread that has none.
  __device__ __forceinline__ void flush(PlaneSum* accumulators, int64_t plane) const {
    constexpr unsigned int kAll = 0xffffffffu;
    const bool not_finite = !isfinite(w_);
    for_planes_of_warp(plane, [&](bool same, bool leads) {
      unsigned long long quanta = same ? quanta_ : 0;
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        quanta += __shfl_xor_sync(kAll, quanta, lanes);
      }
      const bool bad = __any_sync(kAll, same && not_finite);
      if (leads) {
        const PlaneSum term = plane_sum_of_pixels(quanta, bad);
        PlaneSum* const total = accumulators + plane;
        atomicAdd(&total->coarse, term.coarse);
        if (term.fine) atomicAdd(&total->fine, term.fine);
        if (term.not_finite) atomicOr(&total->not_finite, term.not_finite);
      }
    });
  }

 private:
  unsigned long long quanta_ = 0;
  unsigned int row_ = 0;
  float w_ = 0, row_w_[kGroup];
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_
