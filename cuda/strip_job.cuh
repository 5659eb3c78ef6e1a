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

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/plane_sum.h"
#include "common/problem.h"
#include "cuda/launch.cuh"
#include "cuda/leading.cuh"
#include "cuda/strip_filter.cuh"

namespace jax_fused_ssim::cuda {

// Rows from one barrier to the next.
constexpr int kStepRows = 2;

// The rows of all strips, one strip below the other, cut into a range for each strip
// that runs at a time: runs of `run_rows` rows, each cut into `run_ranges` ranges of
// nearly equal length.
struct Cut {
  int64_t ranges, run_ranges, run_rows;
  int64_t least_rows, longer;  // of a range; the first so many have a row more

  Cut() = default;
  Cut(int64_t runs, int64_t run_ranges_, int64_t run_rows_)
      : ranges(runs * run_ranges_),
        run_ranges(run_ranges_),
        run_rows(run_rows_),
        least_rows(run_rows_ / run_ranges_),
        longer(run_rows_ % run_ranges_) {}

  // The first row of a range, or what comes after the last one.
  __device__ __forceinline__ int64_t begin(int64_t range) const {
    uint64_t run = static_cast<uint64_t>(range);
    const int64_t in_run = take_index(run, run_ranges);
    return static_cast<int64_t>(run) * run_rows + in_run * least_rows +
           (in_run < longer ? in_run : longer);
  }
};

template <typename Element>
struct StripJob {
  const Element* img1;
  const Element* img2;
  const Element* cotangent;
  PlaneSum* accumulators;
  Element* map;
  float* grad1;
  float* grad2;

  Leading leading;  // rank at least 1, strides in elements
  int64_t images, pitch;
  int64_t row_size, image_size, map_row_size, map_size;  // elements
  int height, width, channels, map_height, map_width;
  int map_y, map_x;   // image pixel that map pixel (0, 0) is centred on
  bool map_aligned;   // rows of the map may be written 4 pixels at a time
  int parts;          // strips that share their pixels, and divide the channels
  int part_channels;  // of a strip; the last part's may not all exist
  int groups;         // of 4 columns that a strip has of each of them
  int64_t rows;       // of a strip
  Cut cut;
  Constants<float> constants;
  float gradient_factor;
};

// A pixel of the virtual row: column `column` of image `image`, which has it if column
// < width. Image -1 where there is none.
struct Place {
  int64_t image;
  int column;
};

template <typename Element>
__device__ __forceinline__ Place place_of(const StripJob<Element>& job, int64_t pixel) {
  if (pixel < 0) return {-1, 0};
  uint64_t rest = static_cast<uint64_t>(pixel);
  const int column = static_cast<int>(take_index(rest, job.pitch));
  const int64_t image = static_cast<int64_t>(rest);
  if (image >= job.images) return {-1, 0};
  return {image, column};
}

// The map pixels centred on four pixels of the virtual row. The gap sees to it that
// those of the four that an image has are all of the image that the last one lies in.
struct MapGroup {
  int64_t image;
  int column;  // of the first in the map, may be negative

  template <typename Element>
  __device__ __forceinline__ MapGroup(const StripJob<Element>& job, int64_t pixel) {
    const Place last = place_of(job, pixel + kGroup - 1);
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

// A piece of a range: rows [begin, end) of a strip, which has the channels from
// first_channel on.
struct Piece {
  int64_t strip;  // along the virtual row
  int first_channel;
  int begin, end;
};

// The pieces of range `index`, one after the other.
template <typename Element>
class Pieces {
 public:
  __device__ __forceinline__ Pieces(const StripJob<Element>& job, int64_t index)
      : at_(job.cut.begin(index)),
        end_(index < job.cut.ranges ? job.cut.begin(index + 1) : at_) {}

  __device__ __forceinline__ bool next(const StripJob<Element>& job, Piece& piece) {
    if (at_ >= end_) return false;
    uint64_t strip = static_cast<uint64_t>(at_);
    const int64_t begin = take_index(strip, job.rows);
    piece.first_channel =
        static_cast<int>(take_index(strip, job.parts)) * job.part_channels;
    piece.strip = static_cast<int64_t>(strip);
    const int64_t left = end_ - at_, below = job.rows - begin;
    const int64_t rows = left < below ? left : below;
    piece.begin = static_cast<int>(begin);
    piece.end = static_cast<int>(begin + rows);
    at_ += rows;
    return true;
  }

 private:
  int64_t at_, end_;
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

// A thread's share of the sum of a plane, exact: common/plane_sum.h.
class PixelSum {
 public:
  // `terms` holds u, w and e; `unit` is kPixelUnits, or 0 for a pixel that is not
  // counted.
  template <typename Terms>
  __device__ __forceinline__ void add(const Terms& terms, float unit) {
    const float half = __saturatef(multiply_add(terms.u, terms.e, terms.w));
    row_ += __float2uint_rn(half * unit);
    // Any input that is not finite, or overflows, makes w NaN.
    row_w_ += terms.w;
  }
  __device__ __forceinline__ void end_row(bool counted) {
    units_ += counted ? row_ : 0;
    w_ += counted ? row_w_ : 0;
    row_ = 0;
    row_w_ = 0;
  }

  // By a whole warp; `plane` is -1 for a thread that has none.
  __device__ __forceinline__ void flush(PlaneSum* accumulators, int64_t plane) const {
    constexpr unsigned int kAll = 0xffffffffu;
    wait_for_launch_before();
    const bool not_finite = !isfinite(w_);
    unsigned int waiting = __ballot_sync(kAll, plane >= 0);
    while (waiting) {
      const int leader = __ffs(waiting) - 1;
      const bool same = plane == __shfl_sync(kAll, plane, leader);
      unsigned long long units = same ? units_ : 0;
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) {
        units += __shfl_xor_sync(kAll, units, lanes);
      }
      const bool bad = __any_sync(kAll, same && not_finite);
      if (static_cast<int>(threadIdx.x % 32) == leader) {
        const PlaneSum term = plane_sum_of_pixels(units, bad);
        PlaneSum* const total = accumulators + plane;
        atomicAdd(&total->coarse, term.coarse);
        if (term.fine) atomicAdd(&total->fine, term.fine);
        if (term.not_finite) atomicOr(&total->not_finite, term.not_finite);
      }
      waiting &= ~__ballot_sync(kAll, same);
    }
  }

 private:
  unsigned long long units_ = 0;
  unsigned int row_ = 0;
  float w_ = 0, row_w_ = 0;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_JOB_CUH_
