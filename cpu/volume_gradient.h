// The kernel with gradients for volumes.

#ifndef JAX_FUSED_SSIM_CPU_VOLUME_GRADIENT_H_
#define JAX_FUSED_SSIM_CPU_VOLUME_GRADIENT_H_

#include <cstdint>

#include "common/formula.h"
#include "cpu/batch.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"
#include "cpu/gradient.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/slices.h"
#include "cpu/sums.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

template <typename T, int kMaps>
struct VolumeGradientScratch {
  SliceRing<T, kMoments> moments;
  // The derivative maps: rows of kBatch slices, and slices down whose columns their
  // windows have gone.
  Ring<T, kMaps> rows[kBatch];
  SliceRing<T, kMaps> slices;

  VolumeGradientScratch(const Folded<T>& folded, int64_t task_rows, Arena<T>& arena)
      : moments(folded, task_rows + 2 * kRadius, arena),
        slices(folded, task_rows, arena) {
    for (auto& ring : rows) {
      ring = {arena.take(kRingBatches * kMaps * kBatch * folded.elements()),
              folded.columns()};
    }
  }
};

// Gradients of the sums in one image or both, and the sums but for a cotangent. Stage 1
// as in `VolumeValue`, on all map pixels whose windows reach the task's pixels; its
// derivative maps go back down the columns as they come, through a ring of slices, then
// along the depth and along the rows. Stage 2 is 10 slices behind the input, and reads
// its own pixels again.
template <typename T, int kGradients, typename Taps>
struct VolumeGradient {
  using InSlice = Gradient<T, kGradients, Taps>;
  static constexpr int kMaps = InSlice::kMaps;

  const Work& work;
  Work slice = work;  // one of them, as an image
  InSlice in_slice{slice};
  const Range map_slices = in_both(around(work.slices, kRadius), work.centre_slices);
  const Range map_rows = in_both(around(work.rows, kRadius), work.centre_rows);
  VolumeGradientScratch<T, kMaps> scratch{
      in_slice.folded, work.rows.end - work.rows.begin, in_slice.arena};
  const PaddingMoments<T> padding{in_slice, work.channels};
  const Vec<T> zeros[kMaxChannels][kMaps] = {};

  void run() {
    in_slice.prepare();
    const Range in_slices = around(map_slices, kRadius);
    const int64_t first = work.slices.begin - 2 * (kRadius + kSpare);
    for (int64_t z = first; z - 2 * kRadius < work.slices.end; z += kBatch) {
      scratch.moments.next();
      for (int k = 0; k < kBatch; ++k) {
        if (!is_in(in_slices, z + k)) continue;
        read_slice(work, z + k, map_rows, in_slice, slice, padding, scratch.moments, k);
      }
      const int64_t centre = z - kRadius;
      if (centre < work.slices.begin - kRadius - kSpare) continue;
      derivative_slices(centre);
      const int64_t pixel = centre - kRadius;
      if (pixel >= work.slices.begin) gradient_slices(pixel);
    }
  }

  // Stage 1.
  void derivative_slices(int64_t centre) {
    scratch.slices.next();
    bool inside[kBatch], any = false;
    for (int k = 0; k < kBatch; ++k) {
      inside[k] = is_in(map_slices, centre + k);
      any = any || inside[k];
      if (!inside[k]) scratch.slices.fill(k, zeros);
    }
    if (!any) return;
    const int64_t first = work.rows.begin - kRadius - kSpare;
    for (int64_t row = first; row - kRadius < work.rows.end; row += kBatch) {
      for (auto& ring : scratch.rows) ring.next();
      for (int i = 0; i < kBatch; ++i) derivative_row(centre, inside, row + i, i);
      const int64_t pixel_row = row - kRadius;
      if (pixel_row < work.rows.begin) continue;
      for (int k = 0; k < kBatch; ++k) {
        if (!inside[k]) continue;
        for (int64_t channel = 0; channel < work.channels; ++channel) {
          convolve_ring<Window::kNormal, false>(
              in_slice.mirrored, scratch.rows[k], channel * in_slice.folded.pitch,
              in_slice.folded.length,
              scratch.slices.rows(k, pixel_row - work.rows.begin, channel));
        }
      }
    }
  }

  // Row i of the newest batches of the rows of kBatch slices.
  void derivative_row(int64_t centre, const bool (&inside)[kBatch], int64_t row,
                      int i) {
    if (!is_in(map_rows, row)) {
      for (const auto& ring : scratch.rows) in_slice.clear_derivatives(ring, i);
      return;
    }
    for (int k = 0; work.weight && k < kBatch; ++k) {
      if (!inside[k]) continue;
      take_map<T>(work, centre + k, slice);
      load_folded_weight<T>(slice, map_weights(slice), row, in_slice.first_col,
                            in_slice.mid_n, in_slice.folded, in_slice.scratch,
                            in_slice.scratch.weight.row(k), kLanes<T>);
    }
    for (int64_t channel = 0; channel < work.channels; ++channel) {
      scratch.moments.convolve(in_slice.window, row - map_rows.begin, channel,
                               work.whole_rows ? padding.between[channel] : nullptr,
                               in_slice.moments);
      for (int k = 0; k < kBatch; ++k) {
        if (!inside[k]) continue;
        take_next_pixels<T>(work, centre + k, slice);
        const auto put = work.weight
                             ? &InSlice::template derivative_row<false, true, false>
                             : &InSlice::template derivative_row<true, false, false>;
        (in_slice.*put)(row, k, channel, scratch.rows[k], i);
      }
    }
    for (int k = 0; work.sums && k < kBatch; ++k) {
      if (inside[k] && is_in(work.rows, row) && is_in(work.slices, centre + k)) {
        add_row(in_slice.scratch.half.row(k), in_slice.folded, work.weight_unit,
                work.sums);
      }
    }
  }

  // Stage 2.
  void gradient_slices(int64_t pixel_slice) {
    const int slices =
        static_cast<int>(clamp(work.slices.end - pixel_slice, 0, kBatch));
    const auto& images = in_slice.scratch.images;
    for (int64_t row = work.rows.begin; row < work.rows.end; ++row) {
      for (int k = 0; k < slices; ++k) {
        take_pixels<T>(work, pixel_slice + k, slice);
        load_image_row<T>(slice, row, k, in_slice.in_col, in_slice.in_n,
                          in_slice.c.tap_over_range, in_slice.folded, in_slice.scratch);
      }
      for (int64_t channel = 0; channel < work.channels; ++channel) {
        const int64_t column = channel * in_slice.folded.pitch;
        scratch.slices.convolve(in_slice.mirrored, row - work.rows.begin, channel,
                                work.whole_rows ? zeros[channel] : nullptr,
                                in_slice.derivatives_between);
        for (int k = 0; k < slices; ++k) {
          take_gradients<T>(work, pixel_slice + k, slice);
          const T* const pixels = images.row(0, k) + column * Ring<T, kImages>::kColumn;
          in_slice.template gradient_row<false, false, false>(
              in_slice.own_of(row, channel, pixels), k, column);
        }
      }
      for (int k = 0; k < slices; ++k) {
        take_gradients<T>(work, pixel_slice + k, slice);
        in_slice.put_row(row, k);
      }
    }
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_VOLUME_GRADIENT_H_
