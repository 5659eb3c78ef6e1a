// Vectors of the compiler: arithmetic, comparison and ?: work on them lane by lane.

#ifndef JAX_FUSED_SSIM_CPU_VEC_H_
#define JAX_FUSED_SSIM_CPU_VEC_H_

#include <cstdint>
#include <utility>

#define JFS_INLINE inline __attribute__((always_inline))

namespace jax_fused_ssim::cpu {

// kLanes values of T; the width in bytes is what one instruction set has.
template <typename T, int kLanes>
struct VecOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};

template <typename V, typename E>
JFS_INLINE V load(const E* p) {
  static_assert(sizeof(V) % sizeof(E) == 0);
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

template <typename V, typename E>
JFS_INLINE void store(E* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// Lane i of the result is lane Pattern::source(i) of a followed by b.
template <typename Pattern, typename V, int... i>
JFS_INLINE V shuffle(V a, V b, std::integer_sequence<int, i...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, Pattern::source(i)...);
#else
  using Index = decltype(a < b);
  return __builtin_shuffle(a, b, Index{Pattern::source(i)...});
#endif
}

// The same value, which the compiler does not fuse with what comes next: where a
// product goes into several sums it would fuse some, and equal windows would give other
// bits.
template <typename V>
JFS_INLINE V unfused(V v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#else
  asm("" : "+m"(v));
#endif
  return v;
}

// Calls body(k) for k = 0 ... n - 1, where k is a constant in every call: arrays of
// vectors indexed with it stay in registers, which a loop does not promise.
template <typename Body, int... k>
JFS_INLINE void unroll([[maybe_unused]] Body body, std::integer_sequence<int, k...>) {
  (body(std::integral_constant<int, k>{}), ...);
}
template <int n, typename Body>
JFS_INLINE void unroll(Body body) {
  unroll(body, std::make_integer_sequence<int, n>{});
}

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_VEC_H_
