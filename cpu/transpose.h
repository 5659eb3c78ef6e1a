// Transposes a square of vectors in registers, kLanes vectors of kLanes elements.
//
// Only shuffles that every instruction set has as one instruction: first elements of
// two vectors are interleaved within pieces of 16 bytes, then whole pieces change
// places.

#ifndef JAX_FUSED_SSIM_CPU_TRANSPOSE_H_
#define JAX_FUSED_SSIM_CPU_TRANSPOSE_H_

#include "cpu/vec.h"

namespace jax_fused_ssim::cpu {

// Within pieces of kPiece elements: runs of kRun elements alternately from a and from
// b, out of the lower (kHigh = 0) or the upper halves (1) of their pieces.
template <int kLanes, int kPiece, int kRun, int kHigh>
struct Interleave {
  static constexpr int source(int i) {
    const int piece = i / kPiece, place = i % kPiece;
    return piece * kPiece + kHigh * kPiece / 2 + place / kRun / 2 * kRun +
           place % kRun + (place / kRun % 2) * kLanes;
  }
};

// The even (kOdd = 0) or the odd pieces (1) of a, then those of b.
template <int kLanes, int kPiece, int kOdd>
struct Separate {
  static constexpr int source(int i) {
    const int piece = i / kPiece, half = kLanes / kPiece / 2;
    return (piece % half * 2 + kOdd) * kPiece + i % kPiece + piece / half * kLanes;
  }
};

constexpr int log2_of(int n) { return n == 1 ? 0 : 1 + log2_of(n / 2); }

// Replaces each pair of vectors whose indices differ in one bit by two shuffles of it.
template <int kLanes, int kBit, typename Low, typename High, typename V>
JFS_INLINE void shuffle_pairs(V* v) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>{};
  unroll<kLanes / 2>([&](auto k) __attribute__((always_inline)) {
    constexpr int low = k % (1 << kBit) + (k >> kBit << (kBit + 1));
    constexpr int high = low + (1 << kBit);
    const V a = v[low], b = v[high];
    v[low] = shuffle<Low>(a, b, lanes);
    v[high] = shuffle<High>(a, b, lanes);
  });
}

template <int kLanes, typename V>
JFS_INLINE void transpose(V* v) {
  constexpr int kPiece = 16 / (sizeof(V) / kLanes);
  constexpr int kInPiece = log2_of(kPiece);
  unroll<kInPiece>([&](auto bit) __attribute__((always_inline)) {
    shuffle_pairs<kLanes, bit, Interleave<kLanes, kPiece, 1 << bit, 0>,
                  Interleave<kLanes, kPiece, 1 << bit, 1>>(v);
  });
  unroll<log2_of(kLanes) - kInPiece>([&](auto bit) __attribute__((always_inline)) {
    shuffle_pairs<kLanes, kInPiece + bit, Separate<kLanes, kPiece, 0>,
                  Separate<kLanes, kPiece, 1>>(v);
  });
  if constexpr (kInPiece == 2) {
    // What interleaving leaves: the two lowest bits of the index in reverse.
    unroll<kLanes / 4>([&](auto k) __attribute__((always_inline)) {
      std::swap(v[4 * k + 1], v[4 * k + 2]);
    });
  }
}

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_TRANSPOSE_H_
