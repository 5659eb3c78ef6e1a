// The custom call targets of every platform.

#ifndef JAX_FUSED_SSIM_FFI_TARGETS_H_
#define JAX_FUSED_SSIM_FFI_TARGETS_H_

#include <vector>

#include "ffi/ops.h"
#include "xla/ffi/api/c_api.h"

namespace jax_fused_ssim {

struct Target {
  const char* name;
  XLA_FFI_Error* (*handler)(XLA_FFI_CallFrame*);
};
using Targets = std::vector<Target>;

Targets cpu_targets();
#ifdef JAX_FUSED_SSIM_HAS_CUDA
Targets cuda_targets();
// Of the one that is no op on a Call: ffi/halve.cc.
Target cuda_halved_target();
#endif

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_TARGETS_H_
