// The kernels, for one instruction set: the file that includes this defines JFS_ISA, a
// namespace of its own, JFS_VECTOR_BYTES, JFS_KERNELS, the table to fill, and its name.
//
// Rows are streamed: of the input (as sum and difference) and of the derivative maps
// the last 11 are kept in rings, so that a task reads each pixel once, writes each
// result once, and its scratch does not grow with the height. A convolution is a
// vertical pass over a ring, then a horizontal one over the row that this gave. All
// passes are vectors over columns; with interleaved channels the neighbour of a pixel
// is `channels` elements away, and nothing else changes. Every lane does the same
// arithmetic whatever the tile, whole vectors to the end of a row, so that a pixel's
// result depends on its window alone.

#include <cstdint>

#include "common/formula.h"
#include "cpu/element.h"
#include "cpu/vec.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

template <typename T>
constexpr int kLanes = JFS_VECTOR_BYTES / sizeof(T);

template <typename T>
using Vec = typename VecOf<T, kLanes<T>>::type;

template <typename E>
using Compute = typename Element<E>::Compute;

inline int64_t clamp(int64_t v, int64_t low, int64_t high) {
  return v < low ? low : v > high ? high : v;
}

template <typename T>
void fill(T* p, int64_t begin, int64_t end, T value) {
  for (int64_t i = begin; i < end; ++i) p[i] = value;
}

template <typename E>
const E* row_of(const void* image, int64_t row, int64_t width, int64_t channels) {
  return static_cast<const E*>(image) + row * width * channels;
}

// Calls body(i) for whole vectors and tail(i, count) for the rest of [0, count).
template <int kStep, typename Body, typename Tail>
inline __attribute__((always_inline)) void for_vectors(int64_t count, Body body,
                                                       Tail tail) {
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) body(i);
  if (i < count) tail(i, count - i);
}

// The sum and difference of the images in a row, n elements from column `col` on; zeros
// of the images outside.
template <typename E>
void load_row(const Work& work, int64_t row, int64_t col, int64_t n,
              Compute<E> inv_range, Compute<E>* s, Compute<E>* d) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  const bool inside = row >= 0 && row < work.height;
  const int64_t first = col * work.channels;
  const int64_t begin = clamp(-first, 0, n);
  const int64_t end =
      inside ? clamp(work.width * work.channels - first, begin, n) : begin;
  fill(s, 0, begin, T(-1));
  fill(d, 0, begin, T(0));
  fill(s, end, n, T(-1));
  fill(d, end, n, T(0));
  if (begin == end) return;
  const E* x = row_of<E>(work.img1, row, work.width, work.channels) + first + begin;
  const E* y = row_of<E>(work.img2, row, work.width, work.channels) + first + begin;
  auto convert = [&](const E* px, const E* py, int64_t i) {
    const auto v = sum_difference(IO::read(px), IO::read(py), inv_range);
    store(s + begin + i, v.s);
    store(d + begin + i, v.d);
  };
  for_vectors<kLanes<T>>(
      end - begin, [&](int64_t i) { convert(x + i, y + i, i); },
      [&](int64_t i, int64_t count) {
        // Whole vectors here too, through copies: reading past the image is not
        // allowed, and what is stored past `end` must be the padding again.
        E px[kLanes<T>] = {}, py[kLanes<T>] = {};
        __builtin_memcpy(px, x + i, count * sizeof(E));
        __builtin_memcpy(py, y + i, count * sizeof(E));
        convert(px, py, i);
      });
  const int64_t written = begin + (end - begin + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  fill(s, end, clamp(written, end, n), T(-1));
  fill(d, end, clamp(written, end, n), T(0));
}

// The rows of a ring, oldest first, when the newest is in `slot`.
template <typename T>
struct Ring {
  const T* row[kWindow];
  Ring(const T* ring, int slot, int64_t stride) {
    for (int k = 0; k < kWindow; ++k) {
      row[k] = ring + (slot + 1 + k) % kWindow * stride;
    }
  }
};

// Vertical pass for s, d and their squares, into four rows.
template <typename T>
void vertical_moments(const Ring<T>& s, const Ring<T>& d, int64_t n, int64_t stride,
                      T* out) {
  using V = Vec<T>;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    Moments<V> m = {};
    for (int j = 0; j < kWindow; ++j) {
      const int k = tap_order(j);
      const T tap = window_tap<T>(k);
      const V vs = load<V>(s.row[k] + i), vd = load<V>(d.row[k] + i);
      m.s += tap * vs;
      m.d += tap * vd;
      m.ss += tap * (vs * vs);
      m.dd += tap * (vd * vd);
    }
    store(out + i, m.s);
    store(out + stride + i, m.d);
    store(out + 2 * stride + i, m.ss);
    store(out + 3 * stride + i, m.dd);
  }
}

template <typename T>
void vertical(const Ring<T>& in, int64_t n, T* out) {
  using V = Vec<T>;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    V sum = {};
    for (int j = 0; j < kWindow; ++j) {
      const int k = tap_order(j);
      sum += window_tap<T>(k) * load<V>(in.row[k] + i);
    }
    store(out + i, sum);
  }
}

// Horizontal pass at one vector; `step` elements lie between the taps.
template <typename T>
inline __attribute__((always_inline)) Vec<T> horizontal(const T* in, int64_t step) {
  Vec<T> sum = {};
  for (int j = 0; j < kWindow; ++j) {
    const int k = tap_order(j);
    sum += window_tap<T>(k) * load<Vec<T>>(in + k * step);
  }
  return sum;
}

template <typename T>
inline __attribute__((always_inline)) Moments<Vec<T>> horizontal_moments(const T* in,
                                                                         int64_t stride,
                                                                         int64_t step) {
  return {horizontal(in, step), horizontal(in + stride, step),
          horizontal(in + 2 * stride, step), horizontal(in + 3 * stride, step)};
}

// Adds a row of (1 - SSIM) / 2 to the sums of its channels, as one term a channel.
template <typename T>
void add_row(const T* half, int64_t n, int64_t channels, PlaneSum* sums) {
  if (channels == 1) {
    constexpr int kParts = 8;
    double part[kParts] = {};
    int64_t i = 0;
    for (; i + kParts <= n; i += kParts) {
      for (int j = 0; j < kParts; ++j) part[j] += half[i + j];
    }
    for (; i < n; ++i) part[0] += half[i];
    double sum = 0;
    for (int j = 0; j < kParts; ++j) sum += part[j];
    plane_sum_add(*sums, plane_sum_term(2 * sum));
    return;
  }
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t i = c; i < n; i += channels) sum += half[i];
    plane_sum_add(sums[c], plane_sum_term(2 * sum));
  }
}

template <typename E>
void store_map(const Work& work, int64_t centre_row, const Compute<E>* half,
               int64_t n) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  const int64_t width = work.centre_cols.end - work.centre_cols.begin;
  const int64_t row = centre_row - work.centre_rows.begin;
  const int64_t col = work.cols.begin - work.centre_cols.begin;
  E* out = static_cast<E*>(work.map) + (row * width + col) * work.channels;
  auto ssim = [&](int64_t i) { return T(1) - T(2) * load<Vec<T>>(half + i); };
  for_vectors<kLanes<T>>(
      n, [&](int64_t i) { IO::write(out + i, ssim(i)); },
      [&](int64_t i, int64_t count) {
        E last[kLanes<T>];
        IO::write(last, ssim(i));
        __builtin_memcpy(out + i, last, count * sizeof(E));
      });
}

// The value: sums, map or both. Reads 2 images, computes 4 windowed means a pixel.
template <typename E>
void value(const Work& work) {
  using T = Compute<E>;
  using V = Vec<T>;
  const Constants<T> c = constants<T>(work.data_range, work.k1, work.k2);
  const int64_t step = work.channels, stride = work.stride;
  const int64_t out_n = (work.cols.end - work.cols.begin) * step;
  const int64_t in_n = out_n + 2 * kRadius * step;
  T* const s = static_cast<T*>(work.scratch);
  T* const d = s + kWindow * stride;
  T* const between = d + kWindow * stride;
  T* const half = between + kMoments * stride;

  for (int64_t row = work.rows.begin - kRadius; row < work.rows.end + kRadius; ++row) {
    const int slot = (row - work.rows.begin + kRadius) % kWindow;
    load_row<E>(work, row, work.cols.begin - kRadius, in_n, c.inv_range,
                s + slot * stride, d + slot * stride);
    const int64_t centre = row - kRadius;
    if (centre < work.rows.begin) continue;
    vertical_moments(Ring<T>(s, slot, stride), Ring<T>(d, slot, stride), in_n, stride,
                     between);
    for (int64_t i = 0; i < out_n; i += kLanes<T>) {
      const Moments<V> m = horizontal_moments(between + i, stride, step);
      store(half + i, half_dissimilarity(m, c));
    }
    if (work.sums) add_row(half, out_n, step, work.sums);
    if (work.map) store_map<E>(work, centre, half, out_n);
  }
}

// The cotangent in a row of the map, n elements from centre column `col` on, as far as
// there are centres.
template <typename E>
void load_cotangent(const Work& work, int64_t centre_row, int64_t col, int64_t begin,
                    int64_t end, Compute<E>* out) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  const int64_t width = work.centre_cols.end - work.centre_cols.begin;
  const E* row = row_of<E>(work.cotangent, centre_row - work.centre_rows.begin, width,
                           work.channels) +
                 (col - work.centre_cols.begin) * work.channels;
  for_vectors<kLanes<T>>(
      end - begin,
      [&](int64_t i) { store(out + begin + i, IO::read(row + begin + i)); },
      [&](int64_t i, int64_t count) {
        E last[kLanes<T>] = {};
        __builtin_memcpy(last, row + begin + i, count * sizeof(E));
        store(out + begin + i, IO::read(last));
      });
}

template <typename T>
void store_gradient(void* image, int64_t offset, const T* in, int64_t n) {
  __builtin_memcpy(static_cast<T*>(image) + offset, in, n * sizeof(T));
}

// Gradients in one image or both, of the sum or against a cotangent, and the sums when
// asked for. Reads 2 images, writes 1 or 2, computes 4 + 3 or 4 + 4 windowed means a
// pixel: stage 1 as in `value`, its derivative maps go through a second ring, stage 2
// is 10 rows behind the input and finds its own pixel in the last row of the input's
// ring.
template <typename E, bool kBoth>
void gradient(const Work& work) {
  using T = Compute<E>;
  using V = Vec<T>;
  constexpr int kMaps = kBoth ? kMaxMaps : 3;
  static_assert(kMaps <= kMoments);
  const Constants<T> c = constants<T>(work.data_range, work.k1, work.k2);
  const T factor = T(kDerivativeScale * work.scale / work.data_range);
  const int64_t step = work.channels, stride = work.stride;
  const int64_t out_n = (work.cols.end - work.cols.begin) * step;
  const int64_t mid_n = out_n + 2 * kRadius * step;
  const int64_t in_n = mid_n + 2 * kRadius * step;
  T* const s = static_cast<T*>(work.scratch);
  T* const d = s + kWindow * stride;
  T* const maps = d + kWindow * stride;
  T* const between = maps + kMaps * kWindow * stride;
  T* const half = between + kMoments * stride;
  T* const cotangent = half + stride;

  // Elements of a row of stage 1 that are centres, and those that this task sums.
  const int64_t first_col = work.cols.begin - kRadius;
  const int64_t begin = clamp((work.centre_cols.begin - first_col) * step, 0, mid_n);
  const int64_t end = clamp((work.centre_cols.end - first_col) * step, begin, mid_n);
  const int64_t own_begin = clamp(kRadius * step, begin, end);
  const int64_t own_end = clamp(kRadius * step + out_n, own_begin, end);

  const int64_t first_row = work.rows.begin - 2 * kRadius;
  for (int64_t row = first_row; row < work.rows.end + 2 * kRadius; ++row) {
    const int slot = (row - first_row) % kWindow;
    load_row<E>(work, row, work.cols.begin - 2 * kRadius, in_n, c.inv_range,
                s + slot * stride, d + slot * stride);
    const int64_t centre = row - kRadius;
    if (centre < work.rows.begin - kRadius) continue;

    T* const out = maps + slot * stride;
    constexpr int64_t kMapStep = kWindow;  // rows between the rings of two maps
    if (centre < work.centre_rows.begin || centre >= work.centre_rows.end) {
      for (int k = 0; k < kMaps; ++k) fill(out + k * kMapStep * stride, 0, mid_n, T(0));
    } else {
      vertical_moments(Ring<T>(s, slot, stride), Ring<T>(d, slot, stride), in_n, stride,
                       between);
      if (work.cotangent) {
        load_cotangent<E>(work, centre, first_col, begin, end, cotangent);
      }
      for (int64_t i = 0; i < mid_n; i += kLanes<T>) {
        const Moments<V> m = horizontal_moments(between + i, stride, step);
        const Terms<V> t(m, c);
        store(half + i, t.half_dissimilarity(T(1)));
        Derivatives<V> g = derivatives(m, t, T(1));
        if (work.cotangent) {
          const V weight = load<V>(cotangent + i);
          g = {g.s * weight, g.d * weight, g.ss * weight, g.dd * weight};
        }
        auto ring = [&](int k) { return out + k * kMapStep * stride + i; };
        store(ring(0), g.ss);
        store(ring(1), g.dd);
        if constexpr (kBoth) {
          store(ring(2), g.s);
          store(ring(3), g.d);
        } else {
          store(ring(2), g.s + g.d);
        }
      }
      for (int k = 0; k < kMaps; ++k) {
        fill(out + k * kMapStep * stride, 0, begin, T(0));
        fill(out + k * kMapStep * stride, end, mid_n, T(0));
      }
      if (work.sums && centre >= work.rows.begin && centre < work.rows.end) {
        add_row(half + own_begin, own_end - own_begin, step, work.sums);
      }
    }

    const int64_t pixel_row = centre - kRadius;
    if (pixel_row < work.rows.begin) continue;
    for (int k = 0; k < kMaps; ++k) {
      vertical(Ring<T>(maps + k * kMapStep * stride, slot, stride), mid_n,
               between + k * stride);
    }
    const int oldest = (slot + 1) % kWindow;
    const T* const pixel_s = s + oldest * stride + 2 * kRadius * step;
    const T* const pixel_d = d + oldest * stride + 2 * kRadius * step;
    for (int64_t i = 0; i < out_n; i += kLanes<T>) {
      const V ss = load<V>(pixel_s + i) * horizontal(between + i, step);
      const V dd = load<V>(pixel_d + i) * horizontal(between + stride + i, step);
      if constexpr (kBoth) {
        const V p = horizontal(between + 2 * stride + i, step) + ss;
        const V q = horizontal(between + 3 * stride + i, step) + dd;
        store(half + i, factor * (p + q));
        store(cotangent + i, factor * (p - q));
      } else {
        const V p = horizontal(between + 2 * stride + i, step);
        store(half + i, factor * (p + ss + dd));
      }
    }
    const int64_t offset = (pixel_row * work.width + work.cols.begin) * step;
    store_gradient(work.grad1, offset, half, out_n);
    if constexpr (kBoth) store_gradient(work.grad2, offset, cotangent, out_n);
  }
}

template <typename E>
void one_or_both(const Work& work) {
  work.grad2 ? gradient<E, true>(work) : gradient<E, false>(work);
}

}  // namespace
}  // namespace JFS_ISA

// In the order of DType.
const Kernels JFS_KERNELS = {
    JFS_ISA_NAME,
    {JFS_ISA::value<Float16>, JFS_ISA::value<BFloat16>, JFS_ISA::value<float>,
     JFS_ISA::value<double>},
    {JFS_ISA::one_or_both<Float16>, JFS_ISA::one_or_both<BFloat16>,
     JFS_ISA::one_or_both<float>, JFS_ISA::one_or_both<double>},
};

}  // namespace jax_fused_ssim::cpu
