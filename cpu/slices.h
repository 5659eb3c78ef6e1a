// Slices of volumes. Each is an image, whose rows stream through the rings of one; the
// slices stream along the depth as rows do down an image.
//
// A ring has the maps of the last 16 slices, as far as a task has rows and columns.
// kBatch slices lie together as kBatch rows do:
//     [batch][row][channel][column][map][slice of the batch]
// so the window along the depth is the vertical pass over one row, and leaves between
// the passes a row of kBatch slices where an image has kBatch rows.

#ifndef JAX_FUSED_SSIM_CPU_SLICES_H_
#define JAX_FUSED_SSIM_CPU_SLICES_H_

#include <cstdint>

#include "common/formula.h"
#include "common/window.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// Makes an image of a slice: gives it the pixels.
template <typename T>
void take_pixels(const Work& volume, int64_t z, Work& slice) {
  for (int k = 0; k < kImages; ++k) {
    slice.img[k] =
        pixel_at<T>(volume, volume.img[k], z * volume.height, 0, volume.width);
  }
}

// Gives it the pixels that are to be read next where map pixels are centred on a slice.
template <typename T>
void take_next_pixels(const Work& volume, int64_t z, Work& slice) {
  take_pixels<T>(volume, clamp(z + kRadius + kBatch, 0, volume.depth - 1), slice);
}

// Gives it the cotangent and the results of a slice on which map pixels are centred.
template <typename T>
void take_map(const Work& volume, int64_t z, Work& slice) {
  const int64_t height = volume.centre_rows.end - volume.centre_rows.begin;
  const int64_t width = volume.centre_cols.end - volume.centre_cols.begin;
  const int64_t row = (z - volume.centre_slices.begin) * height;
  if (volume.map) slice.map = pixel_at<T>(volume, volume.map, row, 0, width);
  if (volume.weight) slice.weight = pixel_at<T>(volume, volume.weight, row, 0, width);
}

template <typename T>
void take_gradients(const Work& volume, int64_t z, Work& slice) {
  for (int k = 0; k < kImages; ++k) {
    if (!volume.grad[k]) continue;
    slice.grad[k] =
        pixel_at<T>(volume, volume.grad[k], z * volume.height, 0, volume.width);
  }
}

// A task's rows of the last slices.
template <typename T, int kMaps>
class SliceRing {
 public:
  static constexpr int64_t kColumn = Ring<T, kMaps>::kColumn;

  SliceRing(const Folded<T>& folded, int64_t rows, Arena<T>& arena)
      : length_(folded.length), row_(folded.channels * length_) {
    // Rows come kBatch at a time.
    const int64_t columns = (rows + kBatch - 1) / kBatch * kBatch * row_;
    ring_ = {arena.take(kRingBatches * columns * kColumn), columns};
  }

  void next() { ring_.next(); }

  // Where a channel of kBatch rows of a slice of the newest batch has its columns.
  struct Rows {
    T* memory;
    int64_t step;
    JFS_INLINE T* at(int64_t column, int map, int row) const {
      return memory + row * step + column * kColumn + map * kBatch * kLanes<T>;
    }
  };
  Rows rows(int slice, int64_t row, int64_t channel) const {
    return {ring_.row(0, slice) + column(row, channel) * kColumn, row_ * kColumn};
  }

  // Gives the maps of every channel one value in a slice of the newest batch.
  void fill(int slice, const Vec<T> (*values)[kMaps]) const {
    T* out = ring_.row(0, slice);
    for (int64_t row = 0; row < ring_.columns; row += row_) {
      for (int64_t i = 0; i < row_; ++i, out += kColumn) {
        for (int map = 0; map < kMaps; ++map) {
          store(out + map * kBatch * kLanes<T>, values[i / length_][map]);
        }
      }
    }
  }

  // The pass along the depth over a channel of a row. `beside`: of whole rows, what
  // each map is beside them; null for others.
  template <typename Taps>
  void convolve(const Taps& window, int64_t row, int64_t channel, const Vec<T>* beside,
                const Between<T, kMaps>& between) const {
    const auto out = beside ? between.inner() : between;
    convolve_ring<Window::kUnit, false>(window, ring_, column(row, channel), length_,
                                        out);
    beside ? between.surround(length_, beside) : between.extend(length_);
  }

 private:
  int64_t column(int64_t row, int64_t channel) const {
    return row * row_ + channel * length_;
  }

  int64_t length_, row_;  // columns of a channel, and of a row
  Ring<T, kMaps> ring_;
};

// The moments of zero padding, of every channel, after the pass down the columns and
// after that along the depth.
template <typename T>
struct PaddingMoments {
  Vec<T> in_slices[kMaxChannels][kMoments], between[kMaxChannels][kMoments];

  template <typename InSlice>
  PaddingMoments(const InSlice& in_slice, int64_t channels) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      const Vec<T> x = Vec<T>{} + in_slice.centres.x[channel];
      const Vec<T> y = Vec<T>{} + in_slice.centres.y[channel];
      const auto v =
          sum_difference<false>(Vec<T>{}, Vec<T>{}, x, y, in_slice.c.tap_over_range);
      const Vec<T> moments[kMoments] = {v.s, v.d, v.s * v.s, v.d * v.d};
      for (int k = 0; k < kMoments; ++k) {
        in_slices[channel][k] =
            of_constant<Window::kNormal>(in_slice.window, moments[k]);
        between[channel][k] =
            of_constant<Window::kUnit>(in_slice.window, in_slices[channel][k]);
      }
    }
  }

 private:
  template <Window kScale, typename Taps>
  static Vec<T> of_constant(const Taps& window, Vec<T> value) {
    Vec<T> values[kWindow], sum[1];
    for (auto& v : values) v = value;
    weighted_sums<kScale, 1>(window, values, sum);
    return sum[0];
  }
};

// Reads a slice into the newest batch of a ring: the moments down the columns, with map
// pixels in `rows`. `in_slice`: the kernel of images, for `slice`.
template <typename T, typename InSlice>
void read_slice(const Work& volume, int64_t z, Range rows, InSlice& in_slice,
                Work& slice, const PaddingMoments<T>& padding,
                const SliceRing<T, kMoments>& moments, int k) {
  if (z < 0 || z >= volume.depth) return moments.fill(k, padding.in_slices);
  take_pixels<T>(volume, z, slice);
  const auto& folded = in_slice.folded;
  const Range in_rows = around(rows, kRadius);
  for (int64_t row = in_rows.begin - kSpare; row - kRadius < rows.end; row += kBatch) {
    const int64_t centre = row - kRadius;
    in_slice.read_rows(row, in_rows);
    if (centre < rows.begin) continue;
    for (int64_t channel = 0; channel < volume.channels; ++channel) {
      convolve_ring<Window::kNormal, true>(
          in_slice.window, in_slice.scratch.images, channel * folded.pitch,
          folded.length, moments.rows(k, centre - rows.begin, channel));
    }
  }
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SLICES_H_
