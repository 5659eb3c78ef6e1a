// How a task's scratch is divided.

#ifndef JAX_FUSED_SSIM_CPU_SCRATCH_H_
#define JAX_FUSED_SSIM_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "common/measure.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

constexpr int kImages = 2;  // the maps of the input's ring: s and d
constexpr int kMaxMaps = DerivativeMaps<2>::kCount;

static_assert(kOutputs <= kOverrun);

// Hands out pieces from the beginning; with a null beginning it only counts.
template <typename T>
class Arena {
 public:
  explicit Arena(void* memory) : next_(static_cast<T*>(memory)) {}
  T* take(int64_t elements) {
    T* const piece = next_;
    used_ += elements;
    if (next_) next_ += elements;
    return piece;
  }
  size_t bytes() const { return used_ * sizeof(T); }

 private:
  T* next_;
  int64_t used_ = 0;
};

// A batch of folded rows.
template <typename T>
struct Rows {
  T* memory;
  int64_t elements;
  T* row(int k) const { return memory + k * elements; }
};

template <typename T>
struct Scratch {
  Ring<T, kImages> images;
  T* between;
  T* s;  // rows in their natural order
  T* d;
  T* room;      // two of images' elements
  T* centre_x;  // of the elements of a row
  T* centre_y;
  T* own;      // masks, folded
  T* counted;  // of input rows
  Rows<T> half;
  Rows<T> luminance;
  Rows<T> weight;           // of centres
  Rows<T> mean_scale;       // likewise
  Ring<T, 1> error_weight;  // of input rows

  Scratch(const Folded<T>& folded, int64_t weight_channels, Arena<T>& arena) {
    const int64_t row = folded.elements();
    const Folded<T> weights = folded.with_channels(weight_channels);
    const int64_t weight_row = weights.elements();
    images = {arena.take(kRingBatches * kImages * kBatch * row), folded.columns()};
    between = arena.take((folded.pitch + 2 * kRadius) * kMoments * kBatch * kLanes<T>);
    s = arena.take(row);
    d = arena.take(row);
    room = arena.take(2 * row);
    centre_x = arena.take(row);
    centre_y = arena.take(row);
    own = arena.take(row);
    counted = arena.take(row);
    half = {arena.take(kBatch * row), row};
    luminance = {arena.take(kBatch * row), row};
    weight = {arena.take(kBatch * weight_row), weight_row};
    mean_scale = {arena.take(kBatch * weight_row), weight_row};
    error_weight = {arena.take(kRingBatches * kBatch * weight_row), weights.columns()};
  }
};

template <typename T, int kMaps>
struct GradientScratch : Scratch<T> {
  Ring<T, kMaps> maps;
  T* inside;
  Rows<T> grad[2];

  GradientScratch(const Folded<T>& folded, int64_t weight_channels, Arena<T>& arena)
      : Scratch<T>(folded, weight_channels, arena) {
    const int64_t row = folded.elements();
    maps = {arena.take(kRingBatches * kMaps * kBatch * row), folded.columns()};
    inside = arena.take(row);
    for (auto& rows : grad) rows = {arena.take(kBatch * row), row};
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SCRATCH_H_
