// How a task's scratch is divided. All sizes in elements of the compute type.

#ifndef JAX_FUSED_SSIM_CPU_SCRATCH_H_
#define JAX_FUSED_SSIM_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "cpu/convolve.h"
#include "cpu/folded.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

constexpr int kImages = 2;   // the maps of the input's ring: s and d
constexpr int kMoments = 4;  // and their squares
constexpr int kOutputs = 2;  // neighbouring pixels in one step of a horizontal pass

template <typename T>
struct Shape {
  int64_t length;   // vectors of a folded row
  int64_t columns;  // the same, as folding and horizontal passes overrun it
  int64_t reach;    // columns between the two passes

  Shape(int64_t elements, int64_t channels)
      : length(folded_length<T>(elements, channels)),
        columns(round_up(length + (kOutputs - 1) * channels, kLanes<T>)),
        reach(columns + 2 * kRadius * channels) {}

  int64_t row() const { return columns * kLanes<T>; }
  template <int kMaps>
  int64_t ring() const {
    return kRingBatches * columns * Ring<T, kMaps>::kColumn;
  }
  int64_t between() const { return reach * kMoments * kBatch * kLanes<T>; }
};

// Hands out pieces from the beginning; with a null beginning it only counts.
template <typename T>
struct Scratch {
  T* next;
  int64_t used = 0;

  T* take(int64_t elements) {
    T* const piece = next;
    used += elements;
    if (next) next += elements;
    return piece;
  }
};

template <typename T>
struct ValueScratch {
  Ring<T, kImages> images;
  T* between;
  T* s;  // rows in their natural order
  T* d;
  T* half;  // folded rows
  T* own;
  size_t bytes;

  ValueScratch(const Shape<T>& shape, void* memory) {
    Scratch<T> scratch = {static_cast<T*>(memory)};
    images = {scratch.take(shape.template ring<kImages>()), shape.columns};
    between = scratch.take(shape.between());
    s = scratch.take(shape.row());
    d = scratch.take(shape.row());
    half = scratch.take(shape.row());
    own = scratch.take(shape.row());
    bytes = (scratch.used + kLanes<T>)*sizeof(T);
  }
};

template <typename T, int kMaps>
struct GradientScratch : ValueScratch<T> {
  Ring<T, kMaps> maps;
  T* inside;  // folded rows
  T* weight;
  T* grad1;
  T* grad2;
  size_t bytes;

  GradientScratch(const Shape<T>& shape, void* memory)
      : ValueScratch<T>(shape, memory) {
    const size_t before = ValueScratch<T>::bytes;
    Scratch<T> scratch = {memory ? static_cast<T*>(memory) + before / sizeof(T)
                                 : nullptr};
    maps = {scratch.take(shape.template ring<kMaps>()), shape.columns};
    inside = scratch.take(shape.row());
    weight = scratch.take(shape.row());
    grad1 = scratch.take(shape.row());
    grad2 = scratch.take(shape.row());
    bytes = before + (scratch.used + kLanes<T>)*sizeof(T);
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SCRATCH_H_
