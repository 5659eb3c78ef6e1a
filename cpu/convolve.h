// The two passes of a convolution over folded rows, for one channel of kBatch rows.
//
// A batch of output rows needs kBatch + 2 kRadius input rows. A ring keeps as many
// batches as have them, of which the first kSpare rows of the oldest are not needed.
// Vectors of the same column lie together:
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
constexpr int kReach = kBatch + 2 * kRadius;  // input rows of a batch of outputs
constexpr int kRingBatches = (kReach + kBatch - 1) / kBatch;
static_assert(kRingBatches == 4);
constexpr int kSpare = kRingBatches * kBatch - kReach;

// Neighbouring pixels in one step of a horizontal pass: as many as leave registers for
// the vectors that their windows share.
constexpr int kOutputs = kRegisters >= 32 ? 4 : 2;

// The weighted sum of kWindow vectors.
template <Window kScale, typename T>
JFS_INLINE Vec<T> weighted_sum(const Vec<T>* v) {
  Vec<T> sum = v[0] + v[kWindow - 1];
  if constexpr (kScale == Window::kNormal) sum *= normal_tap<T>(0);
  unroll<kRadius - 1>([&](auto i) __attribute__((always_inline)) {
    constexpr int k = i + 1;
    sum += window_tap<T>(kScale, k) * (v[k] + v[kWindow - 1 - k]);
  });
  return sum + window_tap<T>(kScale, kRadius) * v[kRadius];
}

// Those of kCount windows, each one vector on.
template <Window kScale, int kCount, typename T>
JFS_INLINE void weighted_sums(const CompiledWindow<T>&, const Vec<T>* v, Vec<T>* out) {
  unroll<kCount>([&](auto i) __attribute__((always_inline)) {
    out[i] = weighted_sum<kScale, T>(v + i);
  });
}
// What lies beside the window is not multiplied by 0, as it may be a NaN.
template <Window kScale, int kCount, typename T>
JFS_INLINE void weighted_sums(const GivenWindow<T>& window, const Vec<T>* v,
                              Vec<T>* out) {
  for (int i = 0; i < kCount; ++i) out[i] = Vec<T>{};
  unroll<kWindow>([&](auto k) __attribute__((always_inline)) {
    if (!window.has(k)) return;
    unroll<kCount>([&](auto i) __attribute__((always_inline)) {
      out[i] += window.taps[k] * v[k + i];
    });
  });
}

// Four batches of folded rows of kMaps maps.
template <typename T, int kMaps>
struct Ring {
  static constexpr int64_t kColumn = int64_t(kMaps) * kBatch * kLanes<T>;
  T* memory;
  int64_t columns;
  int newest = 0;

  // The place of row k of a map in column 0 of the newest batch.
  T* row(int map, int k) const { return batch(0) + (map * kBatch + k) * kLanes<T>; }
  T* batch(int age) const {
    return memory + (newest - age + kRingBatches) % kRingBatches * columns * kColumn;
  }
  void next() { newest = (newest + 1) % kRingBatches; }
};

// The rows that a batch of outputs needs.
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

// The rows between the passes, of kMaps maps.
template <typename T, int kMaps>
struct Between {
  static constexpr int64_t kColumn = int64_t(kMaps) * kBatch * kLanes<T>;
  T* memory;

  JFS_INLINE T* at(int64_t column, int map, int row) const {
    return memory + column * kColumn + (map * kBatch + row) * kLanes<T>;
  }

  // Where to put rows that are to be surrounded.
  Between inner() const { return {memory + kRadius * kColumn}; }

  // Continues them to both sides, as far as windows reach: one lane on, or back, and
  // beside the first and the last lane there is one value for each map.
  void surround(int64_t length, const Vec<T>* beside) const {
    Mask<T> first = {}, last = {};
    first[0] = last[kLanes<T> - 1] = -1;
    const auto put = [&](int64_t to, int64_t from, int lanes, Mask<T> outer) {
      unroll<kMaps * kBatch>([&](auto k) __attribute__((always_inline)) {
        const T* const in = at(from, k / kBatch, k % kBatch) + lanes;
        store(at(to, k / kBatch, k % kBatch),
              outer ? beside[k / kBatch] : load<Vec<T>>(in));
      });
    };
    for (int64_t k = 0; k < kRadius; ++k) {
      const int64_t before = kRadius - 1 - k, after = kRadius + length + k;
      put(before, before + length, -1, first);
      put(after, after - length, 1, last);
    }
  }

  // Continues them past their length, as far as windows reach: one lane on.
  void extend(int64_t length) const {
    T* const out = memory + length * kColumn;
    for (int64_t i = 0; i < 2 * kRadius * kColumn; i += kLanes<T>) {
      store(out + i, load<Vec<T>>(memory + 1 + i));
    }
  }
};

// Convolves the maps of a ring across its rows, `length` columns from `first` on, to
// where `out` has its columns. With kSquares also their squares, which are then the
// second half of the maps of `out`.
template <Window kScale, bool kSquares, typename T, int kMaps, typename Out,
          typename Taps>
JFS_INLINE void convolve_ring(const Taps& window, const Ring<T, kMaps>& ring,
                              int64_t first, int64_t length, const Out& out) {
  using V = Vec<T>;
  const RingRows<T, kMaps> rows(ring);
  for (int64_t column = 0; column < length; ++column) {
    unroll<kMaps>([&](auto map) __attribute__((always_inline)) {
      V v[kReach];
      unroll<kReach>([&](auto k) __attribute__((always_inline)) {
        v[k] = load<V>(rows.at(first + column, map, k));
      });
      const auto put = [&](int to) __attribute__((always_inline)) {
        V sums[kBatch];
        weighted_sums<kScale, kBatch>(window, v, sums);
        unroll<kBatch>([&](auto row) __attribute__((always_inline)) {
          store(out.at(column, to, row), sums[row]);
        });
      };
      put(map);
      if constexpr (kSquares) {
        unroll<kReach>([&](auto k) __attribute__((always_inline)) {
          v[k] = unfused(v[k] * v[k]);
        });
        put(map + kMaps);
      }
    });
  }
}

// Vertical pass, with the unit window.
template <typename T, int kMaps, bool kSquares, int kOut, typename Taps>
void vertical(const Taps& window, const Ring<T, kMaps>& ring, int64_t first,
              int64_t length, const Between<T, kOut>& between) {
  static_assert(kOut == (kSquares ? 2 * kMaps : kMaps));
  convolve_ring<Window::kUnit, kSquares>(window, ring, first, length, between);
  between.extend(length);
}

// Horizontal pass for one map and row, kOutputs pixels from `column` on.
template <Window kScale, typename T, int kMaps, typename Taps>
JFS_INLINE void horizontal(const Taps& window, const Between<T, kMaps>& between,
                           int64_t column, int map, int row, Vec<T>* out) {
  using V = Vec<T>;
  V v[kOutputs + 2 * kRadius];
  unroll<kOutputs + 2 * kRadius>([&](auto k) __attribute__((always_inline)) {
    v[k] = load<V>(between.at(column + k, map, row));
  });
  weighted_sums<kScale, kOutputs>(window, v, out);
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_CONVOLVE_H_
