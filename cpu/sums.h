// Adds folded rows to the exact sums of their channels, as one term a row and channel.

#ifndef JAX_FUSED_SSIM_CPU_SUMS_H_
#define JAX_FUSED_SSIM_CPU_SUMS_H_

#include "common/measure.h"
#include "common/plane_sum.h"
#include "common/window.h"
#include "cpu/element.h"
#include "cpu/folded.h"
#include "cpu/simd.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// A sum of vectors in double, lane by lane.
template <typename T>
class DoubleSum {
 public:
  JFS_INLINE void add(const T* v) {
    for (int k = 0; k < kParts; ++k) {
      parts_[k] += __builtin_convertvector(load<Part>(v + k * n), Double);
    }
  }
  JFS_INLINE void add(Vec<T> v) {
    T room[kLanes<T>];
    store(room, v);
    add(room);
  }
  double value() const {
    Double lanes = parts_[0];
    for (int k = 1; k < kParts; ++k) lanes += parts_[k];
    double sum = lanes[0];
    for (int i = 1; i < n; ++i) sum += lanes[i];
    return sum;
  }

 private:
  static constexpr int kParts = sizeof(double) / sizeof(T);
  static constexpr int n = kLanes<T> / kParts;
  using Part = typename VecOf<T, n>::type;
  using Double = typename VecOf<double, n>::type;
  Double parts_[kParts] = {};
};

// A row of (1 - SSIM) / 2, times `unit`.
template <typename T>
void add_row(const T* half, const Folded<T>& folded, double unit, PlaneSum* sums) {
  for (int64_t c = 0; c < folded.channels; ++c) {
    const T* const channel = half + c * folded.pitch * kLanes<T>;
    DoubleSum<T> sum;
    for (int64_t j = 0; j < folded.length * kLanes<T>; j += kLanes<T>) {
      sum.add(channel + j);
    }
    plane_sum_add(sums[c], plane_sum_term(2 * unit * sum.value()));
  }
}

template <typename T>
JFS_INLINE Vec<T> magnitude(Vec<T> v) {
  const auto sign = bit_cast<Mask<T>>(-Vec<T>{});
  return bit_cast<Vec<T>>(bit_cast<Mask<T>>(v) & ~sign);
}

// Vectors of errors that are added to each other before they are converted, which is
// slow: few enough for that to lose no more than rounding the errors themselves does.
constexpr int kErrorVectors = 4;
static_assert(kErrorVectors <= kOverrun);

// Weights in a folded row, to be multiplied by `unit`: their vectors are `step`
// elements apart, their channels `pitch` vectors, 0 where all have the same.
template <typename T>
struct FoldedWeights {
  const T* memory;
  int64_t step, pitch;
  double unit;
};

// What is counted of a row of d times t, whose vectors are `step` elements apart.
template <bool kWeighted, typename Taps, typename T>
void add_errors(const T* d, int64_t step, const T* counted,
                const FoldedWeights<T>& weights, const Folded<T>& folded,
                ErrorSums* errors) {
  constexpr double per_t = 1 / double(Taps::kScale);
  const double scale = per_t * weights.unit;
  for (int64_t c = 0; c < folded.channels; ++c) {
    const T* const channel = d + c * folded.pitch * step;
    const T* const mask = counted + c * folded.pitch * kLanes<T>;
    const T* const weight = weights.memory + c * weights.pitch * weights.step;
    DoubleSum<T> absolute, square;
    for (int64_t j = 0; j < folded.length; j += kErrorVectors) {
      Vec<T> magnitudes = {}, squares = {};
      for (int64_t k = j; k < j + kErrorVectors; ++k) {
        Vec<T> v = load<Vec<T>>(channel + k * step), weighted;
        if constexpr (kWeighted) {
          const auto w =
              select(mask + k * kLanes<T>, load<Vec<T>>(weight + k * weights.step));
          v = where_positive(w, v);
          weighted = v * w;
        } else {
          weighted = v = select(mask + k * kLanes<T>, v);
        }
        magnitudes += magnitude<T>(weighted);
        squares += weighted * v;
      }
      absolute.add(magnitudes);
      square.add(squares);
    }
    plane_sum_add(errors[c].absolute, plane_sum_term(absolute.value() * scale));
    plane_sum_add(errors[c].square, plane_sum_term(square.value() * (per_t * scale)));
  }
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SUMS_H_
