// A batch of input rows: read into the ring with what weighs them, and their moments.

#ifndef JAX_FUSED_SSIM_CPU_BATCH_H_
#define JAX_FUSED_SSIM_CPU_BATCH_H_

#include <cstdint>
#include <type_traits>

#include "common/formula.h"
#include "common/measure.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/sums.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// A task's window as its kernel takes it.
template <typename Taps>
Taps window_of(const GivenWindow<double>& given) {
  Taps window = {};
  if constexpr (!std::is_empty_v<Taps>) {
    using T = std::remove_reference_t<decltype(window.taps[0])>;
    for (int k = 0; k < kWindow; ++k) window.taps[k] = static_cast<T>(given.taps[k]);
    window.begin = given.begin;
    window.end = given.end;
  }
  return window;
}

// Elements of an input row: as many as are needed, or all there is room for where
// beyond the image there are to be zeros.
template <typename T>
int64_t input_elements(const Work& work, int64_t needed, const Folded<T>& folded) {
  return work.whole_rows ? folded.pixels() * folded.channels : needed;
}

// Some elements of a row as a mask, folded, past the length nothing; `row` is room for
// one.
template <typename T>
void fold_mask(Range elements, const Folded<T>& folded, T* row, T* mask) {
  fill(row, 0, folded.elements(), T(0));
  fill(row, elements.begin, elements.end, T(1));
  fold(row, folded, mask, kLanes<T>);
  for (int64_t i = 0; i < folded.elements(); i += kLanes<T>) {
    store(mask + i, load<Vec<T>>(mask + i) != Vec<T>{});
  }
  for (int64_t c = 0; c < folded.channels; ++c) {
    fill(mask + c * folded.pitch * kLanes<T>, folded.length * kLanes<T>,
         folded.pitch * kLanes<T>, T(0));
  }
}

// Reads the weights of a row, n elements of the images from `col` on, into a folded row
// whose vectors are `step` elements apart. E: as they lie in memory.
template <typename E>
void load_folded_weight(const Work& work, const Weights& weights, int64_t row,
                        int64_t col, int64_t n, const Folded<Compute<E>>& folded,
                        const Scratch<Compute<E>>& scratch, Compute<E>* out,
                        int64_t step) {
  const int64_t channels = work.weight_channels;
  const Range inside =
      elements_inside(channels, weights.cols, col, n / work.channels * channels);
  // Folding reads less than a vector past the end of the last lane.
  const int64_t pixels = (folded.length + 1) * kLanes<Compute<E>>;
  const auto* const in = load_weight(work, weights, row, col, inside, pixels,
                                     reinterpret_cast<E*>(scratch.room), scratch.s);
  fold(in, folded.with_channels(channels), out, step);
}

// Reads an input row into the newest batch of the ring, as row k of it.
template <typename E>
void load_image_row(const Work& work, int64_t row, int k, int64_t col, int64_t n,
                    Compute<E> tap_over_range, const Folded<Compute<E>>& folded,
                    Scratch<Compute<E>>& scratch) {
  using T = Compute<E>;
  const auto load_pixels = work.errors ? load_row<E, true> : load_row<E, false>;
  load_pixels(work, row, col, n, tap_over_range, scratch.centre_x, scratch.centre_y,
              scratch.room, scratch.s, scratch.d);
  if (work.mean_scale) leave_out(work, row, col, n, scratch.s, scratch.d);
  fold(scratch.s, folded, scratch.images.row(0, k), Ring<T, kImages>::kColumn);
  fold(scratch.d, folded, scratch.images.row(1, k), Ring<T, kImages>::kColumn);
}

// Reads a batch of input rows into the ring, those of them that are used, and adds up
// their errors.
template <typename E, typename Taps>
void load_batch(const Work& work, int64_t row, Range used, int64_t col, int64_t n,
                Compute<E> tap_over_range, const Folded<Compute<E>>& folded,
                Scratch<Compute<E>>& scratch) {
  using T = Compute<E>;
  auto& images = scratch.images;
  images.next();
  scratch.error_weight.next();
  for (int k = 0; k < kBatch; ++k) {
    if (row + k < used.begin || row + k >= used.end) continue;
    load_image_row<E>(work, row + k, k, col, n, tap_over_range, folded, scratch);
    const bool counts = work.errors && is_in(work.error_rows, row + k);
    const Range weighted = work.mean_scale ? Range{0, work.height} : work.error_rows;
    T* const weight = scratch.error_weight.row(0, k);
    constexpr int64_t kStep = Ring<T, 1>::kColumn;
    if (work.error_weight && is_in(weighted, row + k)) {
      load_folded_weight<T>(work, error_weights(work), row + k, col, n, folded, scratch,
                            weight, kStep);
    }
    if (!counts) continue;
    const auto add =
        work.error_weight ? add_errors<true, Taps, T> : add_errors<false, Taps, T>;
    add(images.row(1, k), Ring<T, kImages>::kColumn, scratch.counted,
        {weight, kStep, weight_column(work, folded.pitch), work.weight_unit}, folded,
        work.errors);
  }
}

template <typename T, typename Taps>
JFS_INLINE void moments_at(const Taps& window, const Between<T, kMoments>& between,
                           int64_t column, int row, Moments<Vec<T>>* m) {
  Vec<T> v[kMoments][kOutputs];
  unroll<kMoments>([&](auto k) __attribute__((always_inline)) {
    horizontal<window_of_moment(k)>(window, between, column, k, row, v[k]);
  });
  for (int i = 0; i < kOutputs; ++i) m[i] = {v[0][i], v[1][i], v[2][i], v[3][i]};
}

// The same, multiplied by `scale`.
template <typename V>
JFS_INLINE void scale_moments(V scale, Moments<V>& m) {
  m.s *= scale;
  m.d *= scale;
  m.ss *= scale;
  m.dd *= scale;
}

// (1 - SSIM) / 2 or derivatives as they count: nothing is seen under a weight of 0.
template <typename V>
JFS_INLINE V weighed(V weight, V v) {
  return where_positive(weight, v * weight);
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_BATCH_H_
