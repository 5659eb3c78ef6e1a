// The vectors of the instruction set that a file is compiled for: it defines JFS_ISA, a
// namespace of its own, and JFS_VECTOR_BYTES.

#ifndef JAX_FUSED_SSIM_CPU_SIMD_H_
#define JAX_FUSED_SSIM_CPU_SIMD_H_

#include "cpu/element.h"
#include "cpu/vec.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

template <typename T>
constexpr int kLanes = JFS_VECTOR_BYTES / sizeof(T);

template <typename T>
using Vec = typename VecOf<T, kLanes<T>>::type;

#if defined(__x86_64__) && !defined(__AVX512F__)
constexpr int kRegisters = 16;
#else
constexpr int kRegisters = 32;
#endif

template <typename E>
using Compute = typename Element<E>::Compute;

template <typename E>
using GradientOf = typename Element<E>::Gradient;

// What comparing two vectors gives.
template <typename T>
using Mask = decltype(Vec<T>{} < Vec<T>{});

template <typename T>
JFS_INLINE Vec<T> select(const T* mask, Vec<T> v) {
  return load<Mask<T>>(mask) ? v : Vec<T>{};
}

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SIMD_H_
