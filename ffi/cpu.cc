// Handlers for CPUs.

#include <exception>
#include <string>

#include "cpu/ssim.h"
#include "ffi/handlers.h"
#include "ffi/targets.h"
#include "ffi/thread_pool.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

struct Cpu {
  using Context = ffi::ThreadPool;
  static auto bind() { return ffi::Ffi::Bind().Ctx<Context>(); }
  static constexpr std::initializer_list<ffi::Traits> kTraits = {};
  static constexpr bool kHalves = false;

  static ffi::Error run(Context pool, const Call& call) {
    try {
      cpu::run(ThreadPool(pool), call);
    } catch (const std::exception& error) {
      return ffi::Error::Internal(std::string("jax_fused_ssim: ") + error.what());
    }
    return ffi::Error::Success();
  }
};

}  // namespace

Targets cpu_targets() { return targets_of<Cpu>(); }

}  // namespace jax_fused_ssim
