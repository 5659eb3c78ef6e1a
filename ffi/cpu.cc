// Handlers for CPUs.

#include <exception>
#include <string>

#include "cpu/ssim.h"
#include "ffi/call.h"
#include "ffi/targets.h"
#include "ffi/thread_pool.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

template <Op op>
void run(const cpu::Parallel& parallel, const Call& call) {
  if constexpr (op == Op::kSum) {
    cpu::ssim_sum(parallel, call.problem, call.images,
                  static_cast<PlaneSum*>(call.scratch), call.sums);
  } else if constexpr (op == Op::kSumGrad) {
    cpu::ssim_sum_grad(parallel, call.problem, call.images,
                       static_cast<PlaneSum*>(call.scratch), call.sums, call.grad1,
                       call.grad2);
  } else if constexpr (op == Op::kMap) {
    cpu::ssim_map(parallel, call.problem, call.images, call.map);
  } else {
    cpu::ssim_map_grad(parallel, call.problem, call.images, call.cotangent, call.grad1,
                       call.grad2);
  }
}

template <Op op>
ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args,
                  ffi::RemainingRets rets, ffi::Dictionary attrs) {
  Call call;
  if (auto error = unpack(op, args, rets, attrs, &call); error.failure()) return error;
  if (call.problem.images == 0) return ffi::Error::Success();
  try {
    run<op>(ThreadPool(pool), call);
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("jax_fused_ssim: ") + error.what());
  }
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs();
}

XLA_FFI_DEFINE_HANDLER(kSum, handle<Op::kSum>, binding());
XLA_FFI_DEFINE_HANDLER(kSumGrad, handle<Op::kSumGrad>, binding());
XLA_FFI_DEFINE_HANDLER(kMap, handle<Op::kMap>, binding());
XLA_FFI_DEFINE_HANDLER(kMapGrad, handle<Op::kMapGrad>, binding());

}  // namespace

std::array<Target, 4> cpu_targets() {
  return {{{kSsimSum, kSum},
           {kSsimSumGrad, kSumGrad},
           {kSsimMap, kMap},
           {kSsimMapGrad, kMapGrad}}};
}

}  // namespace jax_fused_ssim
