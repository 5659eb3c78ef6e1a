// From the buffers and attributes of a custom call to what the kernels take.

#ifndef JAX_FUSED_SSIM_FFI_CALL_H_
#define JAX_FUSED_SSIM_FFI_CALL_H_

#include "common/plane_sum.h"
#include "common/problem.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {

enum class Op { kSum, kSumGrad, kMap, kMapGrad };

// One checked call. Which pointers are null follows from the op; grad2 is also null
// when the second gradient was not asked for.
struct Call {
  Problem problem;
  Images images;
  const void* cotangent = nullptr;
  void* sums = nullptr;
  void* scratch = nullptr;
  void* map = nullptr;
  void* grad1 = nullptr;
  void* grad2 = nullptr;
};

// Operands: img1, img2, and for kMapGrad the cotangent. Results, in this order: sums
// for kSum and kSumGrad, the map for kMap, one gradient or two for kSumGrad and
// kMapGrad, and scratch of kScratchWords words a plane. Attributes: data_range, k1, k2,
// scale (double), pad_y, pad_x, channels_last (bool). InvalidArgument, with what was
// found and what was expected, where anything does not fit.
xla::ffi::Error unpack(Op op, const xla::ffi::RemainingArgs& args,
                       const xla::ffi::RemainingRets& rets,
                       const xla::ffi::Dictionary& attrs, Call* call);

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_CALL_H_
