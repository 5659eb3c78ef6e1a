// The kernels, for one instruction set: the file that includes this defines JFS_ISA, a
// namespace of its own, JFS_VECTOR_BYTES, JFS_KERNELS, the table to fill, and its name.
//
// Rows are streamed, four at a time: of the input (as sum and difference) and of the
// derivative maps the last 16 are kept in rings, so that a task reads each pixel once,
// writes each result once, and its scratch does not grow with the height. A convolution
// is a vertical pass over a ring, then a horizontal one over the rows that this gave;
// rows are folded (folded.h), so that both are aligned loads. Every lane does the same
// arithmetic whatever the tile, whole vectors to the end of a row, so that a pixel's
// result depends on its window alone. Of volumes slices are streamed in the same way
// (slices.h).

#include <cstddef>
#include <cstdint>

#include "cpu/folded.h"
#include "cpu/gradient.h"
#include "cpu/scratch.h"
#include "cpu/value.h"
#include "cpu/volume_gradient.h"
#include "cpu/volume_value.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

template <typename E, typename Taps>
void value_of(const Work& work) {
  Value<E, Taps>{work}.run();
}

template <typename E, typename Taps>
void gradient_of(const Work& work) {
  if (work.grad[1]) {
    Gradient<E, 2, Taps>{work}.run();
  } else {
    Gradient<E, 1, Taps>{work}.run();
  }
}

template <typename T, typename Taps>
void volume_value_of(const Work& work) {
  VolumeValue<T, Taps>{work}.run();
}

template <typename T, typename Taps>
void volume_gradient_of(const Work& work) {
  if (work.grad[1]) {
    VolumeGradient<T, 2, Taps>{work}.run();
  } else {
    VolumeGradient<T, 1, Taps>{work}.run();
  }
}

template <typename E>
constexpr auto value = value_of<E, CompiledWindow<Compute<E>>>;
template <typename E>
constexpr auto gradient = gradient_of<E, CompiledWindow<Compute<E>>>;
template <typename T>
constexpr auto given_value = value_of<T, GivenWindow<T>>;
template <typename T>
constexpr auto given_gradient = gradient_of<T, GivenWindow<T>>;
template <typename T>
constexpr auto volume_value = volume_value_of<T, CompiledWindow<T>>;
template <typename T>
constexpr auto volume_gradient = volume_gradient_of<T, CompiledWindow<T>>;
template <typename T>
constexpr auto given_volume_value = volume_value_of<T, GivenWindow<T>>;
template <typename T>
constexpr auto given_volume_gradient = volume_gradient_of<T, GivenWindow<T>>;

// Reading one lane on goes past the end, by less than one vector for every lane.
template <typename T>
size_t bytes_with_end(const Arena<T>& arena) {
  return arena.bytes() + JFS_VECTOR_BYTES;
}

template <typename E>
size_t value_scratch(int64_t elements, int64_t channels, int64_t weight_channels) {
  using T = Compute<E>;
  Arena<T> arena(nullptr);
  Scratch<T>(Folded<T>(elements, channels), weight_channels, arena);
  return bytes_with_end(arena);
}

template <typename E>
size_t gradient_scratch(int64_t elements, int64_t channels, int64_t weight_channels) {
  using T = Compute<E>;
  Arena<T> arena(nullptr);
  GradientScratch<T, kMaxMaps>(Folded<T>(elements, channels), weight_channels, arena);
  return bytes_with_end(arena);
}

template <typename T>
size_t volume_value_scratch(int64_t elements, int64_t channels, int64_t weight_channels,
                            int64_t rows) {
  const Folded<T> folded(elements, channels);
  Arena<T> arena(nullptr);
  Scratch<T>(folded, weight_channels, arena);
  SliceRing<T, kMoments>(folded, rows, arena);
  return bytes_with_end(arena);
}

template <typename T>
size_t volume_gradient_scratch(int64_t elements, int64_t channels,
                               int64_t weight_channels, int64_t rows) {
  const Folded<T> folded(elements, channels);
  Arena<T> arena(nullptr);
  GradientScratch<T, kMaxMaps>(folded, weight_channels, arena);
  VolumeGradientScratch<T, kMaxMaps>(folded, rows, arena);
  return bytes_with_end(arena);
}

}  // namespace
}  // namespace JFS_ISA

// In the order of DType.
#define JFS_EVERY_TYPE(f) \
  {JFS_ISA::f<Float16>, JFS_ISA::f<BFloat16>, JFS_ISA::f<float>, JFS_ISA::f<double>}
#define JFS_WIDE_TYPES(f) {nullptr, nullptr, JFS_ISA::f<float>, JFS_ISA::f<double>}

const Kernels JFS_KERNELS = {
    JFS_ISA_NAME,
    {JFS_EVERY_TYPE(value), JFS_WIDE_TYPES(given_value)},
    {JFS_EVERY_TYPE(gradient), JFS_WIDE_TYPES(given_gradient)},
    JFS_EVERY_TYPE(value_scratch),
    JFS_EVERY_TYPE(gradient_scratch),
    {JFS_WIDE_TYPES(volume_value), JFS_WIDE_TYPES(given_volume_value)},
    {JFS_WIDE_TYPES(volume_gradient), JFS_WIDE_TYPES(given_volume_gradient)},
    JFS_WIDE_TYPES(volume_value_scratch),
    JFS_WIDE_TYPES(volume_gradient_scratch),
};

#undef JFS_EVERY_TYPE
#undef JFS_WIDE_TYPES

}  // namespace jax_fused_ssim::cpu
