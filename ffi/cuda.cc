// Handlers for NVIDIA GPUs.

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/ssim.h"
#include "ffi/call.h"
#include "ffi/targets.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

template <Op op>
cudaError_t run(cudaStream_t stream, const Call& call) {
  if constexpr (op == Op::kSum) {
    return cuda::ssim_sum(stream, call.problem, call.images, call.scratch, call.sums);
  } else if constexpr (op == Op::kSumGrad) {
    return cuda::ssim_sum_grad(stream, call.problem, call.images, call.scratch,
                               call.sums, call.grad1, call.grad2);
  } else if constexpr (op == Op::kMap) {
    return cuda::ssim_map(stream, call.problem, call.images, call.scratch, call.map);
  } else {
    return cuda::ssim_map_grad(stream, call.problem, call.images, call.scratch,
                               call.cotangent, call.grad1, call.grad2);
  }
}

template <Op op>
ffi::Error handle(cudaStream_t stream, ffi::RemainingArgs args, ffi::RemainingRets rets,
                  ffi::Dictionary attrs) {
  Call call;
  if (auto error = unpack(op, args, rets, attrs, &call); error.failure()) return error;
  if (call.problem.images == 0) return ffi::Error::Success();
  const cudaError_t error = run<op>(stream, call);
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string("jax_fused_ssim: CUDA: ") +
                              cudaGetErrorString(error));
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::PlatformStream<cudaStream_t>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs();
}

// The same launches in every call and no synchronisation: XLA may record them once in a
// CUDA graph and replay it.
constexpr auto kTraits = {ffi::Traits::kCmdBufferCompatible};

XLA_FFI_DEFINE_HANDLER(kSum, handle<Op::kSum>, binding(), kTraits);
XLA_FFI_DEFINE_HANDLER(kSumGrad, handle<Op::kSumGrad>, binding(), kTraits);
XLA_FFI_DEFINE_HANDLER(kMap, handle<Op::kMap>, binding(), kTraits);
XLA_FFI_DEFINE_HANDLER(kMapGrad, handle<Op::kMapGrad>, binding(), kTraits);

}  // namespace

std::array<Target, 4> cuda_targets() {
  return {{{kSsimSum, kSum},
           {kSsimSumGrad, kSumGrad},
           {kSsimMap, kMap},
           {kSsimMapGrad, kMapGrad}}};
}

}  // namespace jax_fused_ssim
