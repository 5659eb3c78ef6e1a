// Loads, stores and asynchronous copies that take their condition as an operand.
//
// The row loops of cuda/strip_*.cuh keep some 160 partial sums in registers, which move
// up by one every row at no cost as long as the loop body is one basic block: any
// branch in it makes the compiler insert moves. So what not every thread does is
// predicated.

#ifndef JAX_FUSED_SSIM_CUDA_PREDICATED_CUH_
#define JAX_FUSED_SSIM_CUDA_PREDICATED_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace jax_fused_ssim::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Keeps a value in its register: without it the compiler computes cheap constants anew
// in every row.
__device__ __forceinline__ void pin(float& v) { asm volatile("" : "+f"(v)); }
__device__ __forceinline__ void pin(int& v) { asm volatile("" : "+r"(v)); }
__device__ __forceinline__ void pin_shared(unsigned char*& p) {
  uint32_t address = shared_address(p);
  asm volatile("" : "+r"(address));
  p = static_cast<unsigned char*>(__cvta_shared_to_generic(address));
}

// ---- Global to shared memory, asynchronously ----------------------------------------

// How a copy knows how much there is: by a size, or by a predicate where that is all of
// it or nothing. A size becomes an address as well, which takes more instructions and
// leads to another order of the loop: which is faster must be measured.
enum class CopyExtent { kSize, kAllOrNothing };

// Copies the first `bytes` of kBytes and clears the rest; neither if not `on`. Both
// addresses are multiples of kBytes; with bytes == 0 nothing is read.
template <int kBytes, CopyExtent kExtent>
__device__ __forceinline__ void copy_async_if(bool on, uint32_t to, const void* from,
                                              int bytes) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kExtent == CopyExtent::kSize && kBytes == 16) {
    asm volatile(
        "{.reg .pred p; setp.ne.s32 p, %3, 0;\n"
        "@p cp.async.cg.shared.global [%0], [%1], 16, %2;}" ::"r"(to),
        "l"(from), "r"(bytes), "r"(int(on))
        : "memory");
  } else if constexpr (kExtent == CopyExtent::kSize) {
    asm volatile(
        "{.reg .pred p; setp.ne.s32 p, %3, 0;\n"
        "@p cp.async.ca.shared.global [%0], [%1], %4, %2;}" ::"r"(to),
        "l"(from), "r"(bytes), "r"(int(on)), "n"(kBytes)
        : "memory");
  } else if constexpr (kBytes == 16) {
    asm volatile(
        "{.reg .pred p, none; setp.ne.s32 p, %3, 0; setp.eq.s32 none, %2, 0;\n"
        "@p cp.async.cg.shared.global [%0], [%1], 16, none;}" ::"r"(to),
        "l"(from), "r"(int(bytes > 0)), "r"(int(on))
        : "memory");
  } else {
    asm volatile(
        "{.reg .pred p, none; setp.ne.s32 p, %3, 0; setp.eq.s32 none, %2, 0;\n"
        "@p cp.async.ca.shared.global [%0], [%1], %4, none;}" ::"r"(to),
        "l"(from), "r"(int(bytes > 0)), "r"(int(on)), "n"(kBytes)
        : "memory");
  }
#endif
}

__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most the last `kPending` groups of this thread's copies are under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// ---- Shared memory ------------------------------------------------------------------

__device__ __forceinline__ float load_shared_if(bool on, uint32_t from) {
  float v;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; mov.f32 %0, 0f00000000;\n"
      "@p ld.shared.f32 %0, [%1];}"
      : "=f"(v)
      : "r"(from), "r"(int(on))
      : "memory");
  return v;
}

__device__ __forceinline__ float load_shared_byte_if(bool on, uint32_t from) {
  uint32_t v;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; mov.u32 %0, 0;\n"
      "@p ld.shared.u8 %0, [%1];}"
      : "=r"(v)
      : "r"(from), "r"(int(on))
      : "memory");
  return static_cast<float>(v);
}

__device__ __forceinline__ void store_shared_if(bool on, uint32_t to, float v) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; @p st.shared.f32 [%0], %1;}" ::"r"(to),
      "f"(v), "r"(int(on))
      : "memory");
}

// ---- Global memory ------------------------------------------------------------------

// Into the L2 cache.
__device__ __forceinline__ void prefetch(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

// From memory that no thread of the launch writes; zero if not `on`. The clobber is for
// the compiler, which is not to move them to where they are used.
__device__ __forceinline__ float load_if(bool on, const float* from) {
  float v;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; mov.f32 %0, 0f00000000;\n"
      "@p ld.global.nc.f32 %0, [%1];}"
      : "=f"(v)
      : "l"(from), "r"(int(on))
      : "memory");
  return v;
}

// Two neighbours, aligned to the two.
__device__ __forceinline__ void load2_if(bool on, const float* from, float (&v)[2]) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %3, 0; mov.f32 %0, 0f00000000;\n"
      "mov.f32 %1, 0f00000000; @p ld.global.nc.v2.f32 {%0, %1}, [%2];}"
      : "=f"(v[0]), "=f"(v[1])
      : "l"(from), "r"(int(on))
      : "memory");
}
__device__ __forceinline__ void load2_if(bool on, const double* from, double (&v)[2]) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %3, 0; mov.f64 %0, 0d0000000000000000;\n"
      "mov.f64 %1, 0d0000000000000000; @p ld.global.nc.v2.f64 {%0, %1}, [%2];}"
      : "=d"(v[0]), "=d"(v[1])
      : "l"(from), "r"(int(on))
      : "memory");
}

__device__ __forceinline__ unsigned short load_bits_if(bool on, const void* from) {
  unsigned short v;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; mov.u16 %0, 0;\n"
      "@p ld.global.nc.u16 %0, [%1];}"
      : "=h"(v)
      : "l"(from), "r"(int(on))
      : "memory");
  return v;
}
__device__ __forceinline__ float load_if(bool on, const __half* from) {
  return __half2float(__ushort_as_half(load_bits_if(on, from)));
}
__device__ __forceinline__ float load_if(bool on, const __nv_bfloat16* from) {
  return __bfloat162float(__ushort_as_bfloat16(load_bits_if(on, from)));
}

__device__ __forceinline__ void store_if(bool on, float* to, float v) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; @p st.global.f32 [%0], %1;}" ::"l"(to),
      "f"(v), "r"(int(on))
      : "memory");
}

__device__ __forceinline__ void store_bits_if(bool on, void* to, unsigned short v) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %2, 0; @p st.global.u16 [%0], %1;}" ::"l"(to),
      "h"(v), "r"(int(on))
      : "memory");
}
__device__ __forceinline__ void store_if(bool on, __half* to, float v) {
  store_bits_if(on, to, __half_as_ushort(__float2half_rn(v)));
}
__device__ __forceinline__ void store_if(bool on, __nv_bfloat16* to, float v) {
  store_bits_if(on, to, __bfloat16_as_ushort(__float2bfloat16_rn(v)));
}

// Two neighbours in one store, aligned to the two.
__device__ __forceinline__ void store2_if(bool on, float* to, float a, float b) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %3, 0; @p st.global.v2.f32 [%0], {%1, %2};}" ::"l"(
          to),
      "f"(a), "f"(b), "r"(int(on))
      : "memory");
}

// Four neighbours in one store, aligned to the four.
__device__ __forceinline__ void store4_if(bool on, float* to, const float (&v)[4]) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %5, 0;\n"
      "@p st.global.v4.f32 [%0], {%1, %2, %3, %4};}" ::"l"(to),
      "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "r"(int(on))
      : "memory");
}

__device__ __forceinline__ void store4_bits_if(bool on, void* to, unsigned int low,
                                               unsigned int high) {
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %3, 0; @p st.global.v2.b32 [%0], {%1, %2};}" ::"l"(
          to),
      "r"(low), "r"(high), "r"(int(on))
      : "memory");
}
__device__ __forceinline__ void store4_if(bool on, __half* to, const float (&v)[4]) {
  const __half2 low = __floats2half2_rn(v[0], v[1]);
  const __half2 high = __floats2half2_rn(v[2], v[3]);
  store4_bits_if(on, to, reinterpret_cast<const unsigned int&>(low),
                 reinterpret_cast<const unsigned int&>(high));
}
__device__ __forceinline__ void store4_if(bool on, __nv_bfloat16* to,
                                          const float (&v)[4]) {
  const __nv_bfloat162 low = __floats2bfloat162_rn(v[0], v[1]);
  const __nv_bfloat162 high = __floats2bfloat162_rn(v[2], v[3]);
  store4_bits_if(on, to, reinterpret_cast<const unsigned int&>(low),
                 reinterpret_cast<const unsigned int&>(high));
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_PREDICATED_CUH_
