// From the buffers and attributes of a custom call to what the kernels take.

#ifndef JAX_FUSED_SSIM_FFI_UNPACK_H_
#define JAX_FUSED_SSIM_FFI_UNPACK_H_

#include "common/call.h"
#include "ffi/ops.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {

// Operands and results are those of ffi/ops.h, attributes those of
// common/parameters.h. InvalidArgument, with what was found and what was expected,
// where anything does not fit.
xla::ffi::Error unpack(const Op& op, const xla::ffi::RemainingArgs& args,
                       const xla::ffi::RemainingRets& rets,
                       const xla::ffi::Dictionary& attrs, Call* call);

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_UNPACK_H_
