// A handler for every op, on one platform.

#ifndef JAX_FUSED_SSIM_FFI_HANDLERS_H_
#define JAX_FUSED_SSIM_FFI_HANDLERS_H_

#include <cstddef>
#include <utility>

#include "common/call.h"
#include "ffi/ops.h"
#include "ffi/targets.h"
#include "ffi/unpack.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {

// A Platform has
//     Context                what a kernel runs on: an argument of XLA's handlers
//     bind()                 a binding of that argument
//     kTraits                a list of XLA's traits
//     kHalves                whether its kernels have kHasHalves
//     run(context, call)     runs a call with something to write; an ffi::Error
template <typename Platform, size_t kOp>
xla::ffi::Error handle(typename Platform::Context context, xla::ffi::RemainingArgs args,
                       xla::ffi::RemainingRets rets, xla::ffi::Dictionary attrs) {
  Call call;
  if (auto error = unpack(kOps[kOp], args, rets, attrs, &call); error.failure()) {
    return error;
  }
  if (call.images == 0 && call.results == 0) return xla::ffi::Error::Success();
  return Platform::run(context, call);
}

template <typename Platform, size_t kOp>
XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  // For as long as the process lives.
  static auto* const bound = Platform::bind()
                                 .RemainingArgs()
                                 .RemainingRets()
                                 .Attrs()
                                 .To(handle<Platform, kOp>, Platform::kTraits)
                                 .release();
  return bound->Call(frame);
}

template <typename Platform, size_t kOp>
void add_target(Targets& targets) {
  if constexpr (Platform::kHalves || !(kOps[kOp].has & kHasHalves)) {
    targets.push_back({kOps[kOp].target, handler<Platform, kOp>});
  }
}
template <typename Platform, size_t... kIndices>
Targets targets_of(std::index_sequence<kIndices...>) {
  Targets targets;
  (add_target<Platform, kIndices>(targets), ...);
  return targets;
}
template <typename Platform>
Targets targets_of() {
  return targets_of<Platform>(std::make_index_sequence<kOpCount>());
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_HANDLERS_H_
