// The kernel with gradients.

#ifndef JAX_FUSED_SSIM_CPU_GRADIENT_H_
#define JAX_FUSED_SSIM_CPU_GRADIENT_H_

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

// Gradients of the sums in one image or both, weighted or not, and the sums but for a
// cotangent. Reads 2 images, writes 1 or 2, computes 4 + 3 or 4 + 4 windowed means a
// pixel: stage 1 as in `value`, its derivative maps go through a second ring, stage 2
// is 10 rows behind the input and finds its own pixels in the oldest rows of the
// input's ring.
template <typename E, int kGradients, typename Taps>
struct Gradient {
  using T = Compute<E>;
  using V = Vec<T>;
  using G = GradientOf<E>;
  using Maps = DerivativeMaps<kGradients>;
  static constexpr int kMaps = Maps::kCount;
  static_assert(kMaps <= kMoments);  // they share the rows between the passes

  const Work& work;
  const int64_t channels = work.channels;
  // Columns that windows see on either side of those of a stage.
  const int64_t margin = work.whole_rows ? 0 : kRadius;
  const int64_t first_col = work.cols.begin - margin;  // of stage 1
  const int64_t in_col = first_col - margin;
  const int64_t out_n = (work.cols.end - work.cols.begin) * channels;
  const int64_t mid_n = out_n + 2 * margin * channels;
  const Folded<T> folded{mid_n + 2 * margin * channels, channels};
  const int64_t in_n = input_elements(work, mid_n + 2 * margin * channels, folded);
  const Constants<T> c = constants<T>(work.parameters, Taps::kScale);
  const Taps window = window_of<Taps>(work.window);
  const Taps mirrored = window_of<Taps>(work.mirrored);
  const TaskCentres<T> centres = TaskCentres<T>::template of<E>(work);
  const GradientFactors<T> factors =
      gradient_factors<T>(work.parameters, Taps::kScale)
          .times(T(work.weight_scale), T(work.error_weight_scale))
          .times(T(work.weight_unit), T(work.weight_unit));
  Arena<T> arena{work.scratch};
  GradientScratch<T, kMaps> scratch{folded, work.weight_channels, arena};
  const Between<T, kMoments> moments = {scratch.between};
  const Between<T, kMaps> derivatives_between = {scratch.between};

  // Elements of a row of stage 1 that are centres.
  const Range inside_cols = elements_inside(work, work.centre_cols, first_col, mid_n);

  void prepare() {
    centres.repeat(work.channels, folded.elements(), scratch);
    fold_mask(inside_cols, folded, scratch.s, scratch.inside);
    // Those that this task sums.
    const auto [begin, end] = inside_cols;
    const int64_t own_begin = clamp(margin * channels, begin, end);
    const int64_t own_end = clamp(margin * channels + out_n, own_begin, end);
    fold_mask({own_begin, own_end}, folded, scratch.s, scratch.own);
    if (work.errors) {
      fold_mask(elements_inside(work, work.error_cols, in_col, in_n), folded, scratch.s,
                scratch.counted);
    }
  }

  // Reads a batch of rows, those of them that are used.
  void read_rows(int64_t row, Range used) {
    load_batch<E, Taps>(work, row, used, in_col, in_n, c.tap_over_range, folded,
                        scratch);
  }

  void run() {
    prepare();
    const Range in_rows = {work.rows.begin - 2 * kRadius, work.rows.end + 2 * kRadius};
    const int64_t first = in_rows.begin - 2 * kSpare;
    for (int64_t row = first; row - 2 * kRadius < work.rows.end; row += kBatch) {
      read_rows(row, in_rows);
      const int64_t centre = row - kRadius;
      if (centre < work.rows.begin - kRadius - kSpare) continue;
      derivative_rows(centre);
      const int64_t pixel_row = centre - kRadius;
      if (pixel_row >= work.rows.begin) gradient_rows(pixel_row);
    }
  }

  // Stage 1.
  void derivative_rows(int64_t centre) {
    scratch.maps.next();
    bool inside[kBatch];
    for (int k = 0; k < kBatch; ++k) {
      const int64_t row = centre + k;
      inside[k] = is_in(work.centre_rows, row);
      if (!inside[k]) {
        clear_derivatives(scratch.maps, k);
      } else if (work.weight) {
        const auto load_weights =
            work.sums ? load_folded_weight<T> : load_folded_weight<E>;
        const auto read = [&](const Weights& from, const Rows<T>& to) {
          load_weights(work, from, row, first_col, mid_n, folded, scratch, to.row(k),
                       kLanes<T>);
        };
        read(map_weights(work), scratch.weight);
        if (work.mean_scale) read(of_image(work, work.mean_scale), scratch.mean_scale);
      }
    }
    for (int64_t channel = 0; channel < channels; ++channel) {
      const int64_t column = channel * folded.pitch;
      vertical<T, kImages, true>(window, scratch.images, column, folded.length,
                                 moments);
      for (int k = 0; k < kBatch; ++k) {
        if (!inside[k]) continue;
        const int64_t next_row = centre + k + kRadius + kBatch;
        if (!work.weight) {
          derivative_row<true, false, false>(next_row, k, channel, scratch.maps, k);
        } else if (work.mean_scale) {
          derivative_row<true, true, true>(next_row, k, channel, scratch.maps, k);
        } else if (work.sums) {
          derivative_row<true, true, false>(next_row, k, channel, scratch.maps, k);
        } else {
          derivative_row<false, true, false>(next_row, k, channel, scratch.maps, k);
        }
      }
    }
    for (int k = 0; k < kBatch; ++k) {
      if (work.sums && inside[k] && is_in(work.rows, centre + k)) {
        add_row(scratch.half.row(k), folded, work.weight_unit, work.sums);
      }
    }
  }

  void clear_derivatives(const Ring<T, kMaps>& maps, int row) const {
    T* const out = maps.row(0, row);
    for (int64_t i = 0; i < folded.columns() * kMaps; ++i) {
      store(out + i * kBatch * kLanes<T>, V{});
    }
  }

  // One channel of a row between the passes, to a row of the newest batch of `maps`;
  // fetches `next_row` into the cache. A weight without sums is a cotangent, which
  // hides nothing.
  template <bool kSums, bool kWeighted, bool kScaled>
  void derivative_row(int64_t next_row, int row, int64_t channel,
                      const Ring<T, kMaps>& maps, int map_row) {
    const int64_t column = channel * folded.pitch;
    const Prefetch<E, kSums && kWeighted> next(work, next_row, in_col,
                                               channel * folded.length);
    const Centre<T>& centre = centres.of_means[channel];
    constexpr int64_t kColumn = Ring<T, kMaps>::kColumn;
    T* const out = maps.row(0, map_row) + column * kColumn;
    T* const half = scratch.half.row(row) + column * kLanes<T>;
    const int64_t weights_at = weight_column(work, column) * kLanes<T>;
    const T* const weight = scratch.weight.row(row) + weights_at;
    const T* const mean_scale = scratch.mean_scale.row(row) + weights_at;
    const T* const inside = scratch.inside + column * kLanes<T>;
    const T* const own = scratch.own + column * kLanes<T>;
    for (int64_t j = 0; j < folded.length; j += kOutputs) {
      Moments<V> m[kOutputs];
      moments_at(window, moments, j, row, m);
      unroll<kOutputs>([&](auto i) __attribute__((always_inline)) {
        next.part(j + i);
        const int64_t at = (j + i) * kLanes<T>;
        V w = {}, scale = {};
        if constexpr (kWeighted) w = load<V>(weight + at);
        if constexpr (kScaled) {
          scale = load<V>(mean_scale + at);
          scale_moments(scale, m[i]);
        }
        const Terms<V> t(m[i], centre, c);
        if constexpr (kSums) {
          V v = t.half_dissimilarity(T(1));
          if constexpr (kWeighted) v = weighed(w, v);
          store(half + at, select(own + at, v));
        }
        if constexpr (kScaled) w *= scale;
        V derivatives[kMaps];
        Maps::at_pixel(m[i], t, T(1), derivatives);
        for (int map = 0; map < kMaps; ++map) {
          V v = derivatives[map];
          if constexpr (kWeighted) v = kSums ? weighed(w, v) : v * w;
          store(out + (j + i) * kColumn + map * kBatch * kLanes<T>,
                select(inside + at, v));
        }
      });
    }
  }

  // Stage 2.
  void gradient_rows(int64_t pixel_row) {
    const int rows = static_cast<int>(clamp(work.rows.end - pixel_row, 0, kBatch));
    const RingRows<T, kImages> images(scratch.images);
    for (int64_t channel = 0; channel < channels; ++channel) {
      const int64_t column = channel * folded.pitch;
      vertical<T, kMaps, false>(mirrored, scratch.maps, column, folded.length,
                                derivatives_between);
      for (int k = 0; k < rows; ++k) {
        const Own own = own_of(pixel_row + k, channel, images.at(column, 0, k));
        const bool errors = work.errors && is_in(work.error_rows, pixel_row + k);
        if (work.mean_scale) {
          errors ? gradient_row<true, true, true>(own, k, column)
                 : gradient_row<false, true, true>(own, k, column);
        } else if (work.error_weight) {
          errors ? gradient_row<true, true, false>(own, k, column)
                 : gradient_row<false, true, false>(own, k, column);
        } else {
          errors ? gradient_row<true, false, false>(own, k, column)
                 : gradient_row<false, false, false>(own, k, column);
        }
      }
    }
    for (int k = 0; k < rows; ++k) {
      put_row(pixel_row + k, k);
    }
  }

  // One channel of a row of pixels: where its s and d lie, in a row of a ring, and
  // where its gradients go.
  struct Own {
    const T* pixels;
    const G* out[kGradients];
  };
  Own own_of(int64_t row, int64_t channel, const T* pixels) const {
    Own own = {pixels, {}};
    for (int g = 0; g < kGradients; ++g) {
      own.out[g] = place(g, row) + channel * folded.length * kLanes<T>;
    }
    return own;
  }

  // Fetches into the cache what is to be overwritten. kLeavesOut: no window sees a
  // pixel without weight.
  template <bool kErrors, bool kWeights, bool kLeavesOut>
  void gradient_row(const Own& of_row, int row, int64_t column) {
    constexpr int64_t kColumn = Ring<T, kImages>::kColumn;
    const RingRows<T, 1> weights(scratch.error_weight);
    const int64_t weights_at = weight_column(work, column);
    T* grad[kGradients];
    for (int g = 0; g < kGradients; ++g) {
      grad[g] = scratch.grad[g].row(row) + column * kLanes<T>;
    }
    for (int64_t j = 0; j < folded.length; j += kOutputs) {
      V v[kMaps][kOutputs];
      unroll<kMaps>([&](auto map) __attribute__((always_inline)) {
        horizontal<Maps::window(map)>(mirrored, derivatives_between, j, map, row,
                                      v[map]);
      });
      unroll<kOutputs>([&](auto i) __attribute__((always_inline)) {
        // The pixel is 10 to the right in the input's rows, maybe some lanes on, unless
        // rows are whole.
        int64_t pixel = j + i + 2 * margin, lane = 0;
        for (; pixel >= folded.length; pixel -= folded.length) ++lane;
        const T* const at_pixel = of_row.pixels + pixel * kColumn + lane;
        const V s = load<V>(at_pixel);
        const V d = load<V>(at_pixel + kBatch * kLanes<T>);
        V counted = d, weight = {}, own = {};
        if constexpr (kLeavesOut || (kErrors && kWeights)) {
          own = load<V>(weights.at(weights_at + pixel, 0, row) + lane);
        }
        if constexpr (kErrors) {
          const T* const mask = scratch.counted + (column + pixel) * kLanes<T> + lane;
          if constexpr (kWeights) {
            weight = select(mask, own);
            counted = where_positive(weight, d);
          } else {
            counted = select(mask, d);
          }
        }
        const int64_t at = (j + i) * kLanes<T>;
        V means[kMaps], gradients[kGradients];
        for (int map = 0; map < kMaps; ++map) means[map] = v[map][i];
        Maps::template gradients<kErrors, kWeights>(means, s, d, counted, weight,
                                                    factors, gradients);
        for (int g = 0; g < kGradients; ++g) {
          __builtin_prefetch(of_row.out[g] + at, 1);
          if constexpr (kLeavesOut) gradients[g] = where_positive(own, gradients[g]);
          store(grad[g] + at, gradients[g]);
        }
      });
    }
  }

  G* place(int gradient, int64_t row) const {
    return pixel_at<G>(work, work.grad[gradient], row, work.cols.begin, work.width);
  }

  // Writes what gradient_row() gave for a row of pixels.
  void put_row(int64_t pixel_row, int row) {
    for (int g = 0; g < kGradients; ++g) {
      unfold(scratch.grad[g].row(row), folded, scratch.d);
      store_gradient(work, scratch.d, out_n, reinterpret_cast<G*>(scratch.room),
                     place(g, pixel_row));
    }
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_GRADIENT_H_
