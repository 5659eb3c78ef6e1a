// The custom call targets of every platform.

#ifndef JAX_FUSED_SSIM_FFI_TARGETS_H_
#define JAX_FUSED_SSIM_FFI_TARGETS_H_

#include <array>

#include "xla/ffi/api/c_api.h"

namespace jax_fused_ssim {

struct Target {
  const char* name;
  XLA_FFI_Error* (*handler)(XLA_FFI_CallFrame*);
};

constexpr const char* kSsimSum = "jax_fused_ssim_ssim_sum";
constexpr const char* kSsimSumGrad = "jax_fused_ssim_ssim_sum_grad";
constexpr const char* kSsimMap = "jax_fused_ssim_ssim_map";
constexpr const char* kSsimMapGrad = "jax_fused_ssim_ssim_map_grad";

std::array<Target, 4> cpu_targets();
#ifdef JAX_FUSED_SSIM_HAS_CUDA
std::array<Target, 4> cuda_targets();
#endif

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_TARGETS_H_
