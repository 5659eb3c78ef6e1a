// The kernel without gradients.

#ifndef JAX_FUSED_SSIM_CPU_VALUE_H_
#define JAX_FUSED_SSIM_CPU_VALUE_H_

#include <cstdint>

#include "common/formula.h"
#include "common/measure.h"
#include "cpu/batch.h"
#include "cpu/centre.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/sums.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// The value: sums, with errors or without, weighted or not, map or both; or the maps of
// SSIM's two factors. Reads 2
// images, computes 4 windowed means a pixel.
template <typename E, typename Taps>
struct Value {
  using T = Compute<E>;
  using V = Vec<T>;

  const Work& work;
  // Columns that windows see on either side of the task's.
  const int64_t margin = work.whole_rows ? 0 : kRadius;
  const int64_t first_col = work.cols.begin - margin;
  const int64_t out_n = (work.cols.end - work.cols.begin) * work.channels;
  const Folded<T> folded{out_n + 2 * margin * work.channels, work.channels};
  const int64_t in_n = input_elements(work, out_n + 2 * margin * work.channels, folded);
  const Constants<T> c = constants<T>(work.parameters, Taps::kScale);
  const Taps window = window_of<Taps>(work.window);
  const TaskCentres<T> centres = TaskCentres<T>::template of<E>(work);
  Arena<T> arena{work.scratch};
  Scratch<T> scratch{folded, work.weight_channels, arena};
  const Between<T, kMoments> between = {scratch.between};

  void prepare() {
    centres.repeat(work.channels, folded.elements(), scratch);
    fold_mask(elements_inside(work, work.centre_cols, work.cols.begin, out_n), folded,
              scratch.s, scratch.own);
    if (work.errors) {
      fold_mask(elements_inside(work, work.error_cols, first_col, in_n), folded,
                scratch.s, scratch.counted);
    }
  }

  // Reads a batch of rows, those of them that are used.
  void read_rows(int64_t row, Range used) {
    load_batch<E, Taps>(work, row, used, first_col, in_n, c.tap_over_range, folded,
                        scratch);
  }

  void run() {
    prepare();
    const Range in_rows = {work.rows.begin - kRadius, work.rows.end + kRadius};
    const int64_t first = in_rows.begin - kSpare;
    for (int64_t row = first; row - kRadius < work.rows.end; row += kBatch) {
      read_rows(row, in_rows);
      const int64_t centre = row - kRadius;
      if (centre >= work.rows.begin) map_rows(centre);
    }
  }

  void map_rows(int64_t centre) {
    const int rows = static_cast<int>(clamp(work.rows.end - centre, 0, kBatch));
    for (int k = 0; work.weight && k < rows; ++k) {
      if (!is_in(work.centre_rows, centre + k)) continue;
      const auto read = [&](const Weights& from, const Rows<T>& to) {
        load_folded_weight<T>(work, from, centre + k, work.cols.begin, out_n, folded,
                              scratch, to.row(k), kLanes<T>);
      };
      read(map_weights(work), scratch.weight);
      if (work.mean_scale) read(of_image(work, work.mean_scale), scratch.mean_scale);
    }
    for (int64_t channel = 0; channel < work.channels; ++channel) {
      const int64_t column = channel * folded.pitch;
      vertical<T, kImages, true>(window, scratch.images, column, folded.length,
                                 between);
      for (int k = 0; k < rows; ++k) {
        if (!is_in(work.centre_rows, centre + k)) continue;
        const int64_t next_row = centre + k + kRadius + kBatch;
        if (work.mean_scale) {
          map_row<true, true>(next_row, k, channel);
        } else if (work.weight) {
          map_row<true, false>(next_row, k, channel);
        } else if (work.luminance) {
          map_row<false, false, true>(next_row, k, channel);
        } else {
          map_row<false, false>(next_row, k, channel);
        }
      }
    }
    for (int k = 0; k < rows; ++k) {
      if (is_in(work.centre_rows, centre + k)) put_row(centre + k, k);
    }
  }

  // Adds up and writes what map_row() gave for a row of the map.
  void put_row(int64_t centre, int row) {
    const T* const half = scratch.half.row(row);
    if (work.sums) add_row(half, folded, work.weight_unit, work.sums);
    if (work.map) put_map(centre, half, work.map);
    if (work.luminance) put_map(centre, scratch.luminance.row(row), work.luminance);
  }
  void put_map(int64_t centre, const T* half, void* map) {
    unfold(half, folded, scratch.s);
    store_map(work, centre, scratch.s, out_n, reinterpret_cast<E*>(scratch.room), map);
  }

  // One channel of a row between the passes; fetches `next_row` into the cache.
  // kFactors: of two maps.
  template <bool kWeighted, bool kScaled, bool kFactors = false>
  void map_row(int64_t next_row, int row, int64_t channel) {
    const int64_t column = channel * folded.pitch;
    const Prefetch<E, kWeighted> next(work, next_row, first_col,
                                      channel * folded.length);
    const Centre<T>& centre = centres.of_means[channel];
    T* const half = scratch.half.row(row) + column * kLanes<T>;
    T* const luminance = scratch.luminance.row(row) + column * kLanes<T>;
    const T* const own = scratch.own + column * kLanes<T>;
    const int64_t weights_at = weight_column(work, column) * kLanes<T>;
    const T* const weight = scratch.weight.row(row) + weights_at;
    const T* const mean_scale = scratch.mean_scale.row(row) + weights_at;
    for (int64_t j = 0; j < folded.length; j += kOutputs) {
      Moments<V> m[kOutputs];
      moments_at(window, between, j, row, m);
      unroll<kOutputs>([&](auto i) __attribute__((always_inline)) {
        next.part(j + i);
        const int64_t at = (j + i) * kLanes<T>;
        if constexpr (kScaled) scale_moments(load<V>(mean_scale + at), m[i]);
        const Terms<V> terms(m[i], centre, c);
        V v = kFactors ? terms.half_of_contrast_structure(T(1))
                       : terms.half_dissimilarity(T(1));
        if constexpr (kFactors) {
          const V of_luminance = terms.half_of_luminance(T(1));
          store(luminance + at, select(own + at, of_luminance));
        }
        if constexpr (kWeighted) v = weighed(load<V>(weight + at), v);
        store(half + at, select(own + at, v));
      });
    }
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_VALUE_H_
