// The four ops on a CPU: the CPU's counterpart of cuda/ssim.h, which documents the
// operands. `accumulators` has any content on entry.

#ifndef JAX_FUSED_SSIM_CPU_SSIM_H_
#define JAX_FUSED_SSIM_CPU_SSIM_H_

#include "common/plane_sum.h"
#include "common/problem.h"
#include "cpu/parallel.h"

namespace jax_fused_ssim::cpu {

void ssim_sum(const Parallel& parallel, const Problem& problem, const Images& images,
              PlaneSum* accumulators, void* sums);

void ssim_sum_grad(const Parallel& parallel, const Problem& problem,
                   const Images& images, PlaneSum* accumulators, void* sums,
                   void* grad1, void* grad2);

void ssim_map(const Parallel& parallel, const Problem& problem, const Images& images,
              void* map);

void ssim_map_grad(const Parallel& parallel, const Problem& problem,
                   const Images& images, const void* cotangent, void* grad1,
                   void* grad2);

// "avx512", "avx2" or "baseline": what the kernels run with on this machine.
const char* instruction_set();

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_SSIM_H_
