// The kernel without gradients for volumes.

#ifndef JAX_FUSED_SSIM_CPU_VOLUME_VALUE_H_
#define JAX_FUSED_SSIM_CPU_VOLUME_VALUE_H_

#include <cstdint>

#include "common/formula.h"
#include "cpu/convolve.h"
#include "cpu/rows.h"
#include "cpu/slices.h"
#include "cpu/value.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// The sums or the map. Down the columns as they come, through a ring of slices, then
// along the depth and along the rows.
template <typename T, typename Taps>
struct VolumeValue {
  const Work& work;
  Work slice = work;  // one of them, as an image
  Value<T, Taps> in_slice{slice};
  SliceRing<T, kMoments> moments{in_slice.folded, work.rows.end - work.rows.begin,
                                 in_slice.arena};
  const PaddingMoments<T> padding{in_slice, work.channels};

  void run() {
    in_slice.prepare();
    const Range in_slices = around(work.slices, kRadius);
    const int64_t first = in_slices.begin - kSpare;
    for (int64_t z = first; z - kRadius < work.slices.end; z += kBatch) {
      moments.next();
      for (int k = 0; k < kBatch; ++k) {
        if (!is_in(in_slices, z + k)) continue;
        read_slice(work, z + k, work.rows, in_slice, slice, padding, moments, k);
      }
      const int64_t centre = z - kRadius;
      if (centre >= work.slices.begin) map_slices(centre);
    }
  }

  void map_slices(int64_t centre) {
    const int slices = static_cast<int>(clamp(work.slices.end - centre, 0, kBatch));
    for (int64_t row = work.rows.begin; row < work.rows.end; ++row) {
      for (int64_t channel = 0; channel < work.channels; ++channel) {
        moments.convolve(in_slice.window, row - work.rows.begin, channel,
                         work.whole_rows ? padding.between[channel] : nullptr,
                         in_slice.between);
        for (int k = 0; k < slices; ++k) {
          take_next_pixels<T>(work, centre + k, slice);
          in_slice.template map_row<false, false>(row, k, channel);
        }
      }
      for (int k = 0; k < slices; ++k) {
        take_map<T>(work, centre + k, slice);
        in_slice.put_row(row, k);
      }
    }
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_VOLUME_VALUE_H_
