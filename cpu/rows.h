// Rows of images, maps, cotangents and gradients: read into rows of the compute type in
// scratch, and written from there. Elements in the order of the image, as far as a task
// goes.

#ifndef JAX_FUSED_SSIM_CPU_ROWS_H_
#define JAX_FUSED_SSIM_CPU_ROWS_H_

#include "common/formula.h"
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

template <typename E>
const E* row_of(const void* image, int64_t row, int64_t width, int64_t channels) {
  return static_cast<const E*>(image) + row * width * channels;
}

// Calls body(i) for whole vectors and tail(i, count) for the rest of [0, count).
template <int kStep, typename Body, typename Tail>
JFS_INLINE void for_vectors(int64_t count, Body body, Tail tail) {
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) body(i);
  if (i < count) tail(i, count - i);
}

// The sum and difference of the images in a row, n elements from column `col` on; zeros
// of the images outside. Writes whole vectors, past the n-th element too.
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
  if (begin < end) {
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
          // allowed.
          E px[kLanes<T>] = {}, py[kLanes<T>] = {};
          __builtin_memcpy(px, x + i, count * sizeof(E));
          __builtin_memcpy(py, y + i, count * sizeof(E));
          convert(px, py, i);
        });
  }
  fill(s, end, n, T(-1));
  fill(d, end, n, T(0));
}

// The cotangent in a row of the map, as far as there are centres: elements [begin, end)
// counted from centre column `col` on.
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

// A row of the map from (1 - SSIM) / 2.
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

template <typename T>
void store_gradient(const Work& work, int64_t row, const T* in, int64_t n, void* out) {
  const int64_t offset = (row * work.width + work.cols.begin) * work.channels;
  __builtin_memcpy(static_cast<T*>(out) + offset, in, n * sizeof(T));
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_ROWS_H_
