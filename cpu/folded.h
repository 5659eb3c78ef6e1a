// Folded rows: every channel of a row is cut into kLanes segments of equal length, one
// a lane, and the channels lie one after the other.
//
// Vector j of a channel holds pixel j of every segment, so that the neighbours of all
// its elements are in the vectors beside it: a horizontal convolution is then the same
// aligned loads and arithmetic as a vertical one, where rows in their natural order
// take an unaligned load, or a shuffle, a tap. Interleaved channels come apart on the
// way.
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

// Loops run past the length by less than this.
constexpr int kOverrun = 16;

template <typename T>
struct Folded {
  static_assert(kLanes<T> <= kOverrun);

  int64_t channels;
  int64_t length;  // vectors of a channel
  int64_t pitch;   // vectors from one channel to the next

  Folded(int64_t elements, int64_t channels)
      : channels(channels),
        length((elements / channels + kLanes<T> - 1) / kLanes<T>),
        pitch(length + kOverrun) {}

  // A row of so many channels beside it.
  Folded with_channels(int64_t count) const {
    Folded other = *this;
    other.channels = count;
    return other;
  }

  // Pixels of a channel that there is room for.
  int64_t pixels() const { return length * kLanes<T>; }
  int64_t columns() const { return channels * pitch; }
  int64_t elements() const { return columns() * kLanes<T>; }
};

// Where the vectors of a row come to lie, taken in the order of the row.
class Columns {
 public:
  Columns(int64_t channels, int64_t pitch, int64_t index)
      : channels_(channels),
        pitch_(pitch),
        pixel_(index / channels),
        channel_(index % channels) {}

  JFS_INLINE int64_t next() {
    const int64_t column = channel_ * pitch_ + pixel_;
    if (++channel_ == channels_) {
      channel_ = 0;
      ++pixel_;
    }
    return column;
  }

 private:
  const int64_t channels_, pitch_;
  int64_t pixel_, channel_;
};

// Calls body(j, columns) for squares of vectors from j on, the last one first.
template <int kLanes, typename Body>
JFS_INLINE void for_squares(int64_t channels, int64_t pitch, int64_t length,
                            Body body) {
  const int64_t last = (channels * length - 1) / kLanes * kLanes;
  for (int64_t j = last; j >= 0; j -= kLanes) {
    if (channels == 1) {
      body(j, Columns(1, pitch, j));
    } else {
      body(j, Columns(channels, pitch, j));
    }
  }
}

// Folds a row into vectors that are `step` elements apart. Reads past the row, and
// writes past the length what means nothing.
template <typename T>
JFS_INLINE void fold(const T* row, const Folded<T>& folded, T* out, int64_t step) {
  constexpr int n = kLanes<T>;
  const int64_t segment = folded.channels * folded.length;
  for_squares<n>(folded.channels, folded.pitch, folded.length,
                 [&](int64_t j, Columns columns) __attribute__((always_inline)) {
                   Vec<T> v[n];
                   unroll<n>([&](auto k) __attribute__((always_inline)) {
                     v[k] = load<Vec<T>>(row + k * segment + j);
                   });
                   transpose<n>(v);
                   unroll<n>([&](auto k) __attribute__((always_inline)) {
                     store(out + columns.next() * step, v[k]);
                   });
                 });
}

// The way back. Squares from the end to the beginning, and lanes from the first to the
// last, so that what is past the end of a segment is overwritten by the next.
template <typename T>
JFS_INLINE void unfold(const T* in, const Folded<T>& folded, T* row) {
  constexpr int n = kLanes<T>;
  const int64_t segment = folded.channels * folded.length;
  for_squares<n>(folded.channels, folded.pitch, folded.length,
                 [&](int64_t j, Columns columns) __attribute__((always_inline)) {
                   Vec<T> v[n];
                   unroll<n>([&](auto k) __attribute__((always_inline)) {
                     v[k] = load<Vec<T>>(in + columns.next() * n);
                   });
                   transpose<n>(v);
                   unroll<n>([&](auto k) __attribute__((always_inline)) {
                     store(row + k * segment + j, v[k]);
                   });
                 });
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_FOLDED_H_
