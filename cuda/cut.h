// How the rows of all strips, or the slices of all columns of a volume, are cut into
// ranges of nearly equal length, as many as run at a time.

#ifndef JAX_FUSED_SSIM_CUDA_CUT_H_
#define JAX_FUSED_SSIM_CUDA_CUT_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/leading.cuh"

namespace jax_fused_ssim::cuda {

// The strips one below the other, with `gap` rows between them, cut into ranges: runs
// of `run_rows` rows, each cut into `run_ranges` ranges of nearly equal length. The gap
// stands for what a range must compute twice when it goes on to the next strip.
struct Cut {
  int64_t ranges, run_ranges, run_rows, gap;
  int64_t least_rows, longer;  // of a range; the first so many have a row more

  Cut() = default;
  Cut(int64_t runs, int64_t run_ranges_, int64_t run_rows_, int64_t gap_)
      : ranges(runs * run_ranges_),
        run_ranges(run_ranges_),
        run_rows(run_rows_),
        gap(gap_),
        least_rows(run_rows_ / run_ranges_),
        longer(run_rows_ % run_ranges_) {}

  // The rows of a range.
  __device__ __forceinline__ void range(int64_t index, int64_t& begin,
                                        int64_t& end) const {
    uint64_t run = static_cast<uint64_t>(index);
    const int64_t in_run = take_index(run, run_ranges);
    begin = static_cast<int64_t>(run) * run_rows + in_run * least_rows +
            (in_run < longer ? in_run : longer);
    end = begin + least_rows + (in_run < longer ? 1 : 0);
  }
};

// Into how many ranges `count` strips are cut together, so that as many run at a time
// as can, unless that leaves each too little to do.
inline int64_t ranges_of(int64_t count, int64_t rows, int64_t at_a_time) {
  constexpr int64_t kLeastRows = 4;
  return std::min(at_a_time, std::max<int64_t>(1, count * rows / kLeastRows));
}

// How `count` strips of `rows` rows, each shared by `parts` strips of other channels,
// are cut, of which `at_a_time` run at a time. A range that goes on from one strip to
// the next computes `halo_rows` twice more. So where there are as many ranges as strips
// or more, it can be better to give each strip ranges of its own, though that leaves
// some strips without one.
inline Cut cut_of(int64_t count, int64_t rows, int64_t parts, int64_t halo_rows,
                  int64_t at_a_time) {
  // To begin again takes about as long as the rows that are computed again.
  const int64_t gap = 2 * halo_rows;
  const int64_t most = std::max<int64_t>(1, at_a_time / parts);
  const int64_t all_rows = count * (rows + gap);
  const int64_t ranges = ranges_of(count, rows, most);
  const int64_t own = ranges_of(1, rows, most / count);
  if (own > 0 && rows / own < all_rows / ranges) return Cut(count, own, rows, 0);
  return Cut(1, ranges, all_rows, gap);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_CUT_H_
