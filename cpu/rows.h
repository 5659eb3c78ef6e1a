// Rows of images, maps, weights and gradients: read into rows of the compute type in
// scratch, and written from there. Elements in the order of the image, as far as a task
// goes.

#ifndef JAX_FUSED_SSIM_CPU_ROWS_H_
#define JAX_FUSED_SSIM_CPU_ROWS_H_

#include <cstdint>
#include <type_traits>

#include "common/formula.h"
#include "common/integer.h"
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

inline bool is_in(Range range, int64_t v) { return v >= range.begin && v < range.end; }

// What is less than `reach` away from a range, or in it.
inline Range around(Range range, int64_t reach) {
  return {range.begin - reach, range.end + reach};
}

inline Range in_both(Range a, Range b) {
  const int64_t begin = clamp(a.begin, b.begin, b.end);
  return {begin, clamp(a.end, begin, b.end)};
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

inline bool has_integers(const Work& work) {
  return work.pixels[0] != Pixels::kOwn || work.pixels[1] != Pixels::kOwn;
}

// Calls f with the pixels of an image, a pointer to what they are.
template <typename E, typename F>
JFS_INLINE void with_pixels(const Work& work, int image, F f) {
  const void* const pixels = work.img[image];
  switch (work.pixels[image]) {
    case Pixels::kOwn:
      return f(static_cast<const E*>(pixels));
    case Pixels::kU8:
      return f(static_cast<const uint8_t*>(pixels));
    case Pixels::kU16:
      return f(static_cast<const uint16_t*>(pixels));
  }
}

// What such a pointer points to.
template <typename Pointer>
using PixelOf = std::remove_const_t<std::remove_pointer_t<Pointer>>;

template <typename E>
IntegerScale<Compute<E>> pixel_scale(const Work& work, int image) {
  const IntegerScale<double>& scale = work.integer_scale[image];
  return {static_cast<Compute<E>>(scale.high), static_cast<Compute<E>>(scale.low)};
}

// `channels` of the `stride` that the pixels at `from` have, n elements: where they are
// when these are all, else a copy in `room`.
template <typename E>
const E* gather(int64_t channels, int64_t stride, const E* from, int64_t n, E* room) {
  if (channels == stride) return from;
  for (int64_t i = 0; i < n; i += channels, from += stride) {
    __builtin_memcpy(room + i, from, channels * sizeof(E));
  }
  return room;
}

// The task's channels of the pixels of an image.
template <typename E>
const E* gather(const Work& work, const E* from, int64_t n, E* room) {
  return gather(work.channels, work.pixel_stride, from, n, room);
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

// The columns of an image that a row covers from `col` on, as elements of that row, of
// which it has n.
inline Range elements_inside(int64_t channels, Range cols, int64_t col, int64_t n) {
  const int64_t begin = clamp((cols.begin - col) * channels, 0, n);
  return {begin, clamp((cols.end - col) * channels, begin, n)};
}
inline Range elements_inside(const Work& work, Range cols, int64_t col, int64_t n) {
  return elements_inside(work.channels, cols, col, n);
}

// Calls body(i) for whole vectors and tail(i, count) for the rest of [0, count).
template <int kStep, typename Body, typename Tail>
JFS_INLINE void for_vectors(int64_t count, Body body, Tail tail) {
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) body(i);
  if (i < count) tail(i, count - i);
}

// Converts n pixels to the compute type; `scale` is for integers.
template <typename P, typename T>
void convert(const P* in, int64_t n, IntegerScale<T> scale, T* out) {
  if constexpr (std::is_integral_v<P>) {
    // The compiler takes whole vectors of bytes here, but single bytes where it is told
    // to convert a part of a vector.
    for (int64_t i = 0; i < n; ++i) {
      out[i] = integer_pixel(static_cast<T>(in[i]), scale);
    }
  } else {
    using IO = Lanes<P, kLanes<T>>;
    for_vectors<kLanes<T>>(
        n, [&](int64_t i) { store(out + i, IO::read(in + i)); },
        [&](int64_t i, int64_t rest) {
          P last[kLanes<T>] = {};
          __builtin_memcpy(last, in + i, rest * sizeof(P));
          const Vec<T> v = IO::read(last);
          __builtin_memcpy(out + i, &v, rest * sizeof(T));
        });
  }
}

// Pixels of one image in the compute type, n elements from (row, col) on: where they
// are when they have it and lie together, else in `room`. `gathered` is room for as
// many.
template <typename E>
const Compute<E>* converted(const Work& work, int image, int64_t row, int64_t col,
                            int64_t n, Compute<E>* gathered, Compute<E>* room) {
  using T = Compute<E>;
  const T* result = room;
  with_pixels<E>(work, image, [&](auto* pixels) {
    using P = PixelOf<decltype(pixels)>;
    const P* const from = pixel_at<P>(work, pixels, row, col, work.width);
    if constexpr (std::is_same_v<P, T>) {
      result = gather(work, from, n, room);
    } else {
      const P* const in = gather(work, from, n, reinterpret_cast<P*>(gathered));
      convert(in, n, pixel_scale<E>(work, image), room);
    }
  });
  return result;
}

// The sum and difference of the images in a row, n elements from column `col` on; zeros
// of the images outside. Writes whole vectors, past the n-th element too. `room` is for
// two rows; the centres are those of the elements.
template <typename E, bool kOneCentre>
void load_row(const Work& work, int64_t row, int64_t col, int64_t n,
              Compute<E> tap_over_range, const Compute<E>* centre_x,
              const Compute<E>* centre_y, Compute<E>* room, Compute<E>* s,
              Compute<E>* d) {
  using T = Compute<E>;
  using V = Vec<T>;
  const bool inside = row >= 0 && row < work.height;
  const Range cols = elements_inside(work, {0, inside ? work.width : 0}, col, n);
  const int64_t begin = cols.begin, end = cols.end;  // a lambda captures no binding
  auto put = [&](V x, V y, int64_t i) {
    const auto v = sum_difference<kOneCentre>(x, y, load<V>(centre_x + i),
                                              load<V>(centre_y + i), tap_over_range);
    store(s + i, v.s);
    store(d + i, v.d);
  };
  // In order, as each overwrites what the one before wrote too much.
  for (int64_t i = 0; i < begin; i += kLanes<T>) put(V{}, V{}, i);
  if (begin < end) {
    const int64_t first = col + begin / work.channels, count = end - begin;
    auto put_pixels = [&](auto* x, auto* y) {
      using P = PixelOf<decltype(x)>;
      using IO = Lanes<P, kLanes<T>>;
      for_vectors<kLanes<T>>(
          count, [&](int64_t i) { put(IO::read(x + i), IO::read(y + i), begin + i); },
          [&](int64_t i, int64_t rest) {
            // Whole vectors here too, through copies: reading past the image is not
            // allowed.
            P px[kLanes<T>] = {}, py[kLanes<T>] = {};
            __builtin_memcpy(px, x + i, rest * sizeof(P));
            __builtin_memcpy(py, y + i, rest * sizeof(P));
            put(IO::read(px), IO::read(py), begin + i);
          });
    };
    if (has_integers(work)) {
      // What is gathered has its room where its sums come to lie.
      T* const gathered = s + begin;
      put_pixels(converted<E>(work, 0, row, first, count, gathered, room),
                 converted<E>(work, 1, row, first, count, gathered, room + count));
    } else {
      E* const gathered = reinterpret_cast<E*>(room);
      const E* const x = pixel_at<E>(work, work.img[0], row, first, work.width);
      const E* const y = pixel_at<E>(work, work.img[1], row, first, work.width);
      put_pixels(gather(work, x, count, gathered),
                 gather(work, y, count, gathered + count));
    }
  }
  for (int64_t i = end; i < n; i += kLanes<T>) put(V{}, V{}, i);
}

// What weighs the pixels of a part of the image, or scales the means of their windows,
// all of them in memory.
struct Weights {
  const void* memory;
  Range rows, cols;
};

inline Weights of_image(const Work& work, const void* memory) {
  return {memory, {0, work.height}, {0, work.width}};
}
inline Weights map_weights(const Work& work) {
  if (work.sums) return of_image(work, work.weight);
  return {work.weight, work.centre_rows, work.centre_cols};
}
inline Weights error_weights(const Work& work) {
  return of_image(work, work.error_weight);
}

// Where the weights of an image pixel lie, in pixels.
inline int64_t weight_pixel(const Weights& weights, int64_t row, int64_t col) {
  const int64_t width = weights.cols.end - weights.cols.begin;
  return (row - weights.rows.begin) * width + col - weights.cols.begin;
}

template <typename E>
JFS_INLINE const E* weight_at(const Work& work, const Weights& weights, int64_t row,
                              int64_t col) {
  return static_cast<const E*>(weights.memory) +
         weight_pixel(weights, row, col) * work.weight_stride;
}

// Clears s and d of a row where windows see nothing: n elements from image column `col`
// on.
template <typename T>
void leave_out(const Work& work, int64_t row, int64_t col, int64_t n, T* s, T* d) {
  const bool inside = row >= 0 && row < work.height;
  const Range cols = elements_inside(work, {0, inside ? work.width : 0}, col, n);
  for (T* const out : {s, d}) {
    fill(out, 0, cols.begin, T(0));
    fill(out, cols.end, n, T(0));
  }
  if (cols.begin == cols.end) return;
  const T* weight =
      weight_at<T>(work, error_weights(work), row, col + cols.begin / work.channels);
  const int64_t step = work.weight_channels == work.channels ? 1 : 0;
  for (int64_t i = cols.begin; i < cols.end; weight += work.weight_stride) {
    for (int64_t c = 0; c < work.channels; ++c, ++i) {
      const bool seen = weight[c * step] > 0;
      s[i] = seen ? s[i] : 0;
      d[i] = seen ? d[i] : 0;
    }
  }
}

// The weights in a folded row that belong to the channel whose pixels begin at
// `column`.
inline int64_t weight_column(const Work& work, int64_t column) {
  return work.weight_channels == work.channels ? column : 0;
}

// Fetches a row of the images into the cache, and the weights of a loss that are read
// next to it, bit by bit between the arithmetic on an earlier one: all at once the
// requests would wait for each other.
template <typename E, bool kWeights>
struct Prefetch {
  static constexpr int kRows = kWeights ? 4 : 2;
  const char* at[kRows];
  int64_t bytes[kRows];  // of a part

  // A row has as many parts as it has columns folded; past its end it is harmless.
  Prefetch(const Work& work, int64_t row, int64_t col, int64_t first_part) {
    const int64_t inside_row = clamp(row, 0, work.height - 1);
    const int64_t inside_col = clamp(col, 0, work.width - 1);
    for (int k = 0; k < 2; ++k) {
      with_pixels<E>(work, k, [&](auto* pixels) {
        using P = PixelOf<decltype(pixels)>;
        const P* const row_at =
            pixel_at<P>(work, pixels, inside_row, inside_col, work.width);
        bytes[k] = kLanes<Compute<E>> * sizeof(P);
        at[k] = reinterpret_cast<const char*>(row_at) + first_part * bytes[k];
      });
    }
    if constexpr (kWeights) {
      const Weights both[] = {map_weights(work), error_weights(work)};
      const int64_t rows[] = {row - kRadius, row};
      for (int k = 0; k < 2; ++k) {
        const auto* const row_at = weight_at<Compute<E>>(
            work, both[k], clamp(rows[k], both[k].rows.begin, both[k].rows.end - 1),
            clamp(col, both[k].cols.begin, both[k].cols.end - 1));
        bytes[2 + k] = JFS_VECTOR_BYTES;
        at[2 + k] = reinterpret_cast<const char*>(row_at) +
                    weight_column(work, first_part) * JFS_VECTOR_BYTES;
      }
    }
  }
  JFS_INLINE void part(int64_t index) const {
    unroll<kRows>([&](auto k) __attribute__((always_inline)) {
      __builtin_prefetch(at[k] + index * bytes[k]);
    });
  }
};

// The weights of the pixels in an image row, `inside` elements of it counted from image
// column `col` on; others mean nothing. Where they are when they have the compute type
// and `pixels` can be read there, else in `out`.
template <typename E>
const Compute<E>* load_weight(const Work& work, const Weights& weights, int64_t row,
                              int64_t col, Range inside, int64_t pixels, E* room,
                              Compute<E>* out) {
  using T = Compute<E>;
  const int64_t channels = work.weight_channels, stride = work.weight_stride;
  if constexpr (std::is_same_v<E, T>) {
    const int64_t first = weight_pixel(weights, row, col);
    const int64_t end = weight_pixel(weights, weights.rows.end, weights.cols.begin);
    if (channels == stride && first >= 0 && first + pixels <= end) {
      return weight_at<E>(work, weights, row, col);
    }
  }
  using IO = Lanes<E, kLanes<T>>;
  const int64_t count = inside.end - inside.begin;
  const int64_t first_col = col + inside.begin / channels;
  const E* const in = gather(channels, stride,
                             weight_at<E>(work, weights, row, first_col), count, room);
  T* const first = out + inside.begin;
  for_vectors<kLanes<T>>(
      count, [&](int64_t i) { store(first + i, IO::read(in + i)); },
      [&](int64_t i, int64_t rest) {
        E last[kLanes<T>] = {};
        __builtin_memcpy(last, in + i, rest * sizeof(E));
        store(first + i, IO::read(last));
      });
  return out;
}

// A row of a map v from (1 - v) / 2.
template <typename E>
void store_map(const Work& work, int64_t centre_row, const Compute<E>* half, int64_t n,
               E* room, void* map) {
  using T = Compute<E>;
  using IO = Lanes<E, kLanes<T>>;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    IO::write(room + i, map_value(load<Vec<T>>(half + i), T(1)));
  }
  scatter(work, room, n,
          pixel_at<E>(work, map, centre_row - work.centre_rows.begin,
                      work.cols.begin - work.centre_cols.begin,
                      work.centre_cols.end - work.centre_cols.begin));
}

// A row of a gradient, n elements, to its place.
template <typename G, typename T>
void store_gradient(const Work& work, const T* row, int64_t n, G* room, G* out) {
  if constexpr (std::is_same_v<G, T>) {
    scatter(work, row, n, out);
  } else {
    for (int64_t i = 0; i < n; i += kLanes<T>) {
      Lanes<G, kLanes<T>>::write(room + i, load<Vec<T>>(row + i));
    }
    scatter(work, room, n, out);
  }
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_ROWS_H_
