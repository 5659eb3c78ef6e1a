// The element types of images: how a vector of each is read and written.
//
// The 16-bit conversions are integer arithmetic on vectors, so that every instruction
// set and compiler has them. They also hold where subnormal floats are flushed to zero,
// as XLA's threads do: no step makes one.

#ifndef JAX_FUSED_SSIM_CPU_ELEMENT_H_
#define JAX_FUSED_SSIM_CPU_ELEMENT_H_

#include <cstdint>

#include "cpu/vec.h"

namespace jax_fused_ssim::cpu {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// Compute: the type of the arithmetic. Gradient: that of a gradient's elements.
template <typename E>
struct Element {
  using Compute = E;
  using Gradient = E;
};
template <>
struct Element<Float16> {
  using Compute = float;
  using Gradient = float;
};
template <>
struct Element<BFloat16> {
  using Compute = float;
  using Gradient = BFloat16;
};

template <typename To, typename From>
inline __attribute__((always_inline)) To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

// read: kLanes elements to a vector of Compute. write: the other way, rounding to
// nearest even; to Float16 only values within [-1, 1] and NaN, which is what a map
// holds.
template <typename E, int kLanes>
struct Lanes {
  using V = typename VecOf<E, kLanes>::type;
  static inline __attribute__((always_inline)) V read(const E* p) { return load<V>(p); }
  static inline __attribute__((always_inline)) void write(E* p, V v) { store(p, v); }
};

template <int kLanes>
struct Lanes<BFloat16, kLanes> {
  using V = typename VecOf<float, kLanes>::type;
  using U32 = typename VecOf<uint32_t, kLanes>::type;
  using U16 = typename VecOf<uint16_t, kLanes>::type;

  static inline __attribute__((always_inline)) V read(const BFloat16* p) {
    return bit_cast<V>(__builtin_convertvector(load<U16>(p), U32) << 16);
  }
  static inline __attribute__((always_inline)) void write(BFloat16* p, V v) {
    // A carry past the largest mantissa gives infinity, and infinity stays.
    const U32 bits = bit_cast<U32>(v);
    const U32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const U32 nan = U32{} + 0x7fc0;
    const U32 result = v == v ? rounded : nan;
    store(p, __builtin_convertvector(result, U16));
  }
};

template <int kLanes>
struct Lanes<Float16, kLanes> {
  using V = typename VecOf<float, kLanes>::type;
  using U32 = typename VecOf<uint32_t, kLanes>::type;
  using U16 = typename VecOf<uint16_t, kLanes>::type;

  static inline __attribute__((always_inline)) V read(const Float16* p) {
    const U32 half = __builtin_convertvector(load<U16>(p), U32);
    const U32 sign = (half & 0x8000) << 16;
    const U32 exponent = half & 0x7c00;
    const U32 magnitude = (half & 0x7fff) << 13;
    const U32 normal = magnitude + (112u << 23);
    const U32 infinite = magnitude + (224u << 23);
    // A subnormal half is m 2^-24: put m into the mantissa of 2^-14 and subtract 2^-14.
    const V subnormal = bit_cast<V>(magnitude + (113u << 23)) - 0x1p-14f;
    const U32 finite = exponent == 0 ? bit_cast<U32>(subnormal) : normal;
    return bit_cast<V>((exponent == 0x7c00 ? infinite : finite) | sign);
  }
  static inline __attribute__((always_inline)) void write(Float16* p, V v) {
    const U32 bits = bit_cast<U32>(v);
    const U32 sign = (bits >> 16) & 0x8000;
    const U32 magnitude = bits & 0x7fffffff;
    const U32 normal =
        (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
    // In the binade of 0.5 one ulp is 2^-24, the spacing of subnormal halves.
    const U32 subnormal = bit_cast<U32>(bit_cast<V>(magnitude) + 0.5f) - 0x3f000000;
    const U32 finite = magnitude < (113u << 23) ? subnormal : normal;
    const U32 nan = U32{} + 0x7e00;
    const U32 result = (v == v ? finite : nan) | sign;
    store(p, __builtin_convertvector(result, U16));
  }
};

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_ELEMENT_H_
