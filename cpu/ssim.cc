// Picks the kernels for this CPU, runs them over a call, and finishes the sums.

#include "cpu/ssim.h"

#include <cstdlib>
#include <cstring>

#include "common/loss.h"
#include "cpu/tasks.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace {

const Kernels& pick_kernels() {
  const Kernels* best = &kBaselineKernels;
#ifdef JAX_FUSED_SSIM_X86
  // For tests: a name here stops the search at that instruction set.
  const char* wanted = std::getenv("JAX_FUSED_SSIM_CPU");
  auto stop = [&] { return wanted && !std::strcmp(wanted, best->name); };
  if (!stop() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    best = &kAvx2Kernels;
    if (!stop() && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      best = &kAvx512Kernels;
    }
  }
#endif
  return *best;
}

template <typename T, bool kErrors>
void finish_sums(const Call& call) {
  const int64_t planes = call.planes_of_result();
  for (int64_t result = 0; result < call.results; ++result) {
    PlaneSums<kErrors> sums;
    for (int64_t i = result * planes; i < (result + 1) * planes; ++i) {
      PlaneSums<kErrors> plane;
      plane.dissimilarity = call.accumulators()[i];
      if constexpr (kErrors) plane.errors = call.error_accumulators()[i];
      sums.add(plane);
    }
    T* const terms = kErrors ? static_cast<T*>(call.terms) + kTerms * result : nullptr;
    const Scales scales = scales_of_image(call, result * planes / call.channels);
    sums.finish(call.parameters, static_cast<T*>(call.loss) + result, terms,
                scales[kMapScale], scales[kErrorScale], 1);
  }
}

void finish(const Call& call) {
  if (call.dtype == DType::kF64) {
    call.has_errors() ? finish_sums<double, true>(call)
                      : finish_sums<double, false>(call);
  } else {
    call.has_errors() ? finish_sums<float, true>(call)
                      : finish_sums<float, false>(call);
  }
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& picked = pick_kernels();
  return picked;
}

void run(const Parallel& parallel, const Call& call) {
  if (call.planes() == 0) return finish(call);
  if (PlaneSum* const sums = call.accumulators()) {
    std::memset(sums, 0, call.planes() * sizeof(PlaneSum));
  }
  if (ErrorSums* const sums = call.error_accumulators()) {
    std::memset(sums, 0, call.planes() * sizeof(ErrorSums));
  }
  const auto run_all = call.parameters.volumes ? run_volumes : run_images;
  run_all(parallel, call);
  finish(call);
}

const char* instruction_set() { return kernels().name; }

}  // namespace jax_fused_ssim::cpu
