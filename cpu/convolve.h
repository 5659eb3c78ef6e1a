// The two passes of a convolution over folded rows, kBatch rows at a time.
//
// A batch of output rows needs kBatch + 10 input rows. A ring keeps four batches, of
// which the last two rows of the oldest are the first that are needed. Vectors of the
// same column lie together:
//     ring     [batch][column][map][row of the batch]
//     between  [column][map][row of the batch]
// so that every offset but the column's is a constant of the code, each batch is one
// stream of memory, and a vector that is loaded serves all the outputs it reaches.
//
// Taps are added in pairs, the two at the same distance from the middle first to each
// other: half of the multiplications, and additions have units of their own on some
// CPUs. From the outside in, so that the partial sums, and with them their rounding,
// stay small for longest.

#ifndef JAX_FUSED_SSIM_CPU_CONVOLVE_H_
#define JAX_FUSED_SSIM_CPU_CONVOLVE_H_

#include "common/window.h"
#include "cpu/simd.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

constexpr int kBatch = 4;
constexpr int kRingBatches = 4;
constexpr int kReach = kBatch + 2 * kRadius;  // input rows of a batch of outputs
constexpr int kSpare = kRingBatches * kBatch - kReach;

// The weighted sum of 11 vectors, `step` apart.
template <typename T>
JFS_INLINE Vec<T> weighted_sum(const Vec<T>* v) {
  Vec<T> sum = window_tap<T>(0) * (v[0] + v[10]);
  sum += window_tap<T>(1) * (v[1] + v[9]);
  sum += window_tap<T>(2) * (v[2] + v[8]);
  sum += window_tap<T>(3) * (v[3] + v[7]);
  sum += window_tap<T>(4) * (v[4] + v[6]);
  return sum + window_tap<T>(5) * v[5];
}

// kMaps maps, four batches of folded rows of them.
template <typename T, int kMaps>
struct Ring {
  static constexpr int64_t kColumn = int64_t(kMaps) * kBatch * kLanes<T>;
  T* memory;
  int64_t columns;
  int newest = 0;

  T* batch(int age) const {
    return memory + (newest - age + kRingBatches) % kRingBatches * columns * kColumn;
  }
  void next() { newest = (newest + 1) % kRingBatches; }
};

// Where row k of those that a batch of outputs needs is in the ring.
template <typename T, int kMaps>
struct RingRows {
  const T* batch[kRingBatches];
  explicit RingRows(const Ring<T, kMaps>& ring) {
    for (int k = 0; k < kRingBatches; ++k) batch[k] = ring.batch(kRingBatches - 1 - k);
  }
  JFS_INLINE const T* at(int64_t column, int map, int k) const {
    return batch[(k + kSpare) / kBatch] + column * Ring<T, kMaps>::kColumn +
           (map * kBatch + (k + kSpare) % kBatch) * kLanes<T>;
  }
};

template <typename T>
JFS_INLINE T* between_at(T* between, int maps, int64_t column, int map, int row) {
  return between + ((column * maps + map) * kBatch + row) * kLanes<T>;
}

// Vertical pass for the maps of a ring. With kSquares also for their squares, which are
// then the second half of the maps between.
template <typename T, int kMaps, bool kSquares>
void vertical(const Ring<T, kMaps>& ring, int64_t length, T* between) {
  using V = Vec<T>;
  constexpr int kOut = kSquares ? 2 * kMaps : kMaps;
  const RingRows<T, kMaps> rows(ring);
  for (int64_t column = 0; column < length; ++column) {
    unroll<kMaps>([&](auto map) __attribute__((always_inline)) {
      V v[kReach];
      unroll<kReach>([&](auto k) __attribute__((always_inline)) {
        v[k] = load<V>(rows.at(column, map, k));
      });
      unroll<kBatch>([&](auto row) __attribute__((always_inline)) {
        store(between_at(between, kOut, column, map, row), weighted_sum<T>(v + row));
      });
      if constexpr (kSquares) {
        unroll<kReach>([&](auto k) __attribute__((always_inline)) {
          v[k] = unfused(v[k] * v[k]);
        });
        unroll<kBatch>([&](auto row) __attribute__((always_inline)) {
          store(between_at(between, kOut, column, map + kMaps, row),
                weighted_sum<T>(v + row));
        });
      }
    });
  }
}

// Continues the rows between the passes past their length, as far as windows reach.
template <typename T, int kMaps>
void extend(T* between, int64_t length, int64_t channels) {
  constexpr int64_t kColumn = int64_t(kMaps) * kBatch * kLanes<T>;
  const T* in = between + 1;  // one lane on
  T* out = between + length * kColumn;
  for (int64_t i = 0; i < 2 * kRadius * channels * kColumn; i += kLanes<T>) {
    store(out + i, load<Vec<T>>(in + i));
  }
}

// Horizontal pass for one map and row, kOutputs neighbouring pixels from `column` on.
template <typename T, int kMaps, int kOutputs>
JFS_INLINE void horizontal(const T* between, int64_t column, int64_t channels, int map,
                           int row, Vec<T>* out) {
  using V = Vec<T>;
  V v[kOutputs + 2 * kRadius];
  unroll<kOutputs + 2 * kRadius>([&](auto k) __attribute__((always_inline)) {
    v[k] = load<V>(between_at(between, kMaps, column + k * channels, map, row));
  });
  unroll<kOutputs>(
      [&](auto k) __attribute__((always_inline)) { out[k] = weighted_sum<T>(v + k); });
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_CONVOLVE_H_
