// SSIM on a CPU.

#ifndef JAX_FUSED_SSIM_CPU_SSIM_H_
#define JAX_FUSED_SSIM_CPU_SSIM_H_

#include "common/call.h"
#include "cpu/parallel.h"

namespace jax_fused_ssim::cpu {

// Everything that the call wants, in one pass over the images.
void run(const Parallel& parallel, const Call& call);

// "avx512", "avx2" or "baseline": what the kernels run with on this machine.
const char* instruction_set();

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SSIM_H_
