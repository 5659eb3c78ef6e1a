// Folded rows: a row of elements cut into kLanes segments of equal length, one a lane.
//
// Vector j holds element j of every segment, so that the neighbours of all its elements
// are in the vectors beside it: a horizontal convolution is then the same aligned loads
// and arithmetic as a vertical one, where rows in their natural order take an unaligned
// load, or a shuffle, a tap. With interleaved channels the neighbour of a pixel is
// `channels` vectors away, and a segment is a multiple of that.
//
// Past the end of a segment come the elements of the next lane's: vector length + j is
// vector j moved down by one lane. What then enters the last lane lies beyond the row
// and is never used.

#ifndef JAX_FUSED_SSIM_CPU_FOLDED_H_
#define JAX_FUSED_SSIM_CPU_FOLDED_H_

#include "cpu/simd.h"
#include "cpu/transpose.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Vectors of a folded row of `elements` elements.
template <typename T>
int64_t folded_length(int64_t elements, int64_t channels) {
  return round_up((elements + kLanes<T> - 1) / kLanes<T>, channels);
}

// Folds a row into vectors that are `step` elements apart. Reads and writes the length
// rounded up to kLanes vectors; what is past the length means nothing.
template <typename T>
JFS_INLINE void fold(const T* row, int64_t length, T* out, int64_t step) {
  using V = Vec<T>;
  constexpr int n = kLanes<T>;
  for (int64_t j = 0; j < length; j += n) {
    V v[n];
    unroll<n>([&](auto k) __attribute__((always_inline)) {
      v[k] = load<V>(row + k * length + j);
    });
    transpose<n>(v);
    unroll<n>([&](auto k) __attribute__((always_inline)) {
      store(out + (j + k) * step, v[k]);
    });
  }
}

// The way back. Segments are written from the end to the beginning, and lanes from the
// first to the last, so that what is past the length of one is overwritten by the next.
template <typename T>
JFS_INLINE void unfold(const T* in, int64_t step, int64_t length, T* row) {
  using V = Vec<T>;
  constexpr int n = kLanes<T>;
  for (int64_t j = round_up(length, n) - n; j >= 0; j -= n) {
    V v[n];
    unroll<n>([&](auto k) __attribute__((always_inline)) {
      v[k] = load<V>(in + (j + k) * step);
    });
    transpose<n>(v);
    unroll<n>([&](auto k) __attribute__((always_inline)) {
      store(row + k * length + j, v[k]);
    });
  }
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_FOLDED_H_
