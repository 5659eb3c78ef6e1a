// Vectors of the compiler: arithmetic, comparison and ?: work on them lane by lane.

#ifndef JAX_FUSED_SSIM_CPU_VEC_H_
#define JAX_FUSED_SSIM_CPU_VEC_H_

#include <cstdint>

namespace jax_fused_ssim::cpu {

// kLanes values of T; the width in bytes is what one instruction set has.
template <typename T, int kLanes>
struct VecOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};

template <typename V, typename E>
inline __attribute__((always_inline)) V load(const E* p) {
  static_assert(sizeof(V) % sizeof(E) == 0);
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

template <typename V, typename E>
inline __attribute__((always_inline)) void store(E* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_VEC_H_
