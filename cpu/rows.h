// Rows of images, maps, weights and gradients: read into rows of the compute type in
// scratch, and written from there. Elements in the order of the image, as far as a task
// goes.

#ifndef JAX_FUSED_SSIM_CPU_ROWS_H_
#define JAX_FUSED_SSIM_CPU_ROWS_H_

#include "common/formula.h"
#include "common/measure.h"
#include "cpu/element.h"
#include "cpu/simd.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

inline int64_t clamp(int64_t v, int64_t low, int64_t high) {
  return v < low ? low : v > high ? high : v;
}

template <typename T>
void fill(T* p, int64_t begin, int64_t end, T value) {
  for (int64_t i = begin; i < end; ++i) p[i] = value;
}

// The pixel at (row, col) of an image `width` wide: an image, a map or a gradient.
template <typename E>
JFS_INLINE E* pixel_at(const Work& work, void* image, int64_t row, int64_t col,
                       int64_t width) {
  return static_cast<E*>(image) + (row * width + col) * work.pixel_stride;
}
template <typename E>
JFS_INLINE const E* pixel_at(const Work& work, const void* image, int64_t row,
                             int64_t col, int64_t width) {
  return pixel_at<E>(work, const_cast<void*>(image), row, col, width);
}

// The task's channels of the pixels at `from`, n elements: where they are when it has
// them all, else a copy in `room`.
template <typename E>
const E* gather(const Work& work, const E* from, int64_t n, E* room) {
  if (work.channels == work.pixel_stride) return from;
  for (int64_t i = 0; i < n; i += work.channels, from += work.pixel_stride) {
    __builtin_memcpy(room + i, from, work.channels * sizeof(E));
  }
  return room;
}

// The way back.
template <typename E>
void scatter(const Work& work, const E* from, int64_t n, E* to) {
  if (work.channels == work.pixel_stride) {
    __builtin_memcpy(to, from, n * sizeof(E));
    return;
  }
  for (int64_t i = 0; i < n; i += work.channels, to += work.pixel_stride) {
    __builtin_memcpy(to, from + i, work.channels * sizeof(E));
  }
}

// The columns of an image a task's row covers from `col` on, as elements of that row.
inline Range elements_inside(const Work& work, Range cols, int64_t col, int64_t n) {
  const int64_t begin = clamp((cols.begin - col) * work.channels, 0, n);
  return {begin, clamp((cols.end - col) * work.channels, begin, n)};
}

// Calls body(i) for whole vectors and tail(i, count) for the rest of [0, count).
template <int kStep, typename Body, typename Tail>
JFS_INLINE void for_vectors(int64_t count, Body body, Tail tail) {
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) body(i);
  if (i < count) tail(i, count - i);
}

// The sum and difference of the images in a row, n elements from column `col` on; zeros
// of the images outside. Writes whole vectors, past the n-th element too. `room` is for
// two rows; the centres are those of the elements.
template <typename E>
void load_row(const Work& work, int64_t row, int64_t col, int64_t n,
              Compute<E> tap_over_range, const Compute<E>* centre_x,
              const Compute<E>* centre_y, E* room, Compute<E>* s, Compute<E>* d) {
  using T = Compute<E>;
  using V = Vec<T>;
  using IO = Lanes<E, kLanes<T>>;
  const bool inside = row >= 0 && row < work.height;
  const auto [begin, end] = elements_inside(work, {0, inside ? work.width : 0}, col, n);
  auto put = [&](V x, V y, int64_t i) {
    const auto v = sum_difference(x, y, load<V>(centre_x + i), load<V>(centre_y + i),
                                  tap_over_range);
    store(s + i, v.s);
    store(d + i, v.d);
  };
  // In order, as each overwrites what the one before wrote too much.
  for (int64_t i = 0; i < begin; i += kLanes<T>) put(V{}, V{}, i);
  if (begin < end) {
    const int64_t first = col + begin / work.channels, count = end - begin;
    const E* x = pixel_at<E>(work, work.img1, row, first, work.width);
    const E* y = pixel_at<E>(work, work.img2, row, first, work.width);
    x = gather(work, x, count, room);
    y = gather(work, y, count, room + count);
    for_vectors<kLanes<T>>(
        count, [&](int64_t i) { put(IO::read(x + i), IO::read(y + i), begin + i); },
        [&](int64_t i, int64_t rest) {
          // Whole vectors here too, through copies: reading past the image is not
          // allowed.
          E px[kLanes<T>] = {}, py[kLanes<T>] = {};
          __builtin_memcpy(px, x + i, rest * sizeof(E));
          __builtin_memcpy(py, y + i, rest * sizeof(E));
          put(IO::read(px), IO::read(py), begin + i);
        });
  }
  for (int64_t i = end; i < n; i += kLanes<T>) put(V{}, V{}, i);
}

// Fetches a row of the images into the cache, bit by bit between the arithmetic on an
// earlier one: all at once the requests would wait for each other.
template <typename E>
struct Prefetch {
  const E* x;
  const E* y;

  // A row has as many parts as it has columns folded; past its end it is harmless.
  Prefetch(const Work& work, int64_t row, int64_t col, int64_t first_part) {
    const int64_t inside_row = clamp(row, 0, work.height - 1);
    const int64_t inside_col = clamp(col, 0, work.width - 1);
    const int64_t first = first_part * kLanes<Compute<E>>;
    x = pixel_at<E>(work, work.img1, inside_row, inside_col, work.width) + first;
    y = pixel_at<E>(work, work.img2, inside_row, inside_col, work.width) + first;
  }
  JFS_INLINE void part(int64_t index) const {
    __builtin_prefetch(x + index * kLanes<Compute<E>>);
    __builtin_prefetch(y + index * kLanes<Compute<E>>);
  }
};

// The weights in a row of the map, `inside` elements of it counted from centre column
// `col` on.
template <typename E>
void load_weight(const Work& work, int64_t centre_row, int64_t col, Range inside,
                 E* room, Compute<E>* out) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  const int64_t count = inside.end - inside.begin;
  const E* in = pixel_at<E>(work, work.weight, centre_row - work.centre_rows.begin,
                            col + inside.begin / work.channels - work.centre_cols.begin,
                            work.centre_cols.end - work.centre_cols.begin);
  in = gather(work, in, count, room);
  T* const first = out + inside.begin;
  for_vectors<kLanes<T>>(
      count, [&](int64_t i) { store(first + i, IO::read(in + i)); },
      [&](int64_t i, int64_t rest) {
        E last[kLanes<T>] = {};
        __builtin_memcpy(last, in + i, rest * sizeof(E));
        store(first + i, IO::read(last));
      });
}

// A row of the map from (1 - SSIM) / 2.
template <typename E>
void store_map(const Work& work, int64_t centre_row, const Compute<E>* half, int64_t n,
               E* room) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    IO::write(room + i, map_value(load<Vec<T>>(half + i), T(1)));
  }
  scatter(work, room, n,
          pixel_at<E>(work, work.map, centre_row - work.centre_rows.begin,
                      work.cols.begin - work.centre_cols.begin,
                      work.centre_cols.end - work.centre_cols.begin));
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_ROWS_H_
