// From a request to the arguments that the kernels have in common.

#ifndef JAX_FUSED_SSIM_CUDA_JOB_CUH_
#define JAX_FUSED_SSIM_CUDA_JOB_CUH_

#include "common/formula.h"
#include "common/window.h"
#include "cuda/leading.cuh"
#include "cuda/request.h"

namespace jax_fused_ssim::cuda {

// Fills what a TileJob and a StripJob both have under one name, but for the sizes.
template <typename Job>
void fill_job(Job& job, const Request& request) {
  const Problem& problem = request.problem;
  job.img1 = static_cast<decltype(job.img1)>(request.img1);
  job.img2 = static_cast<decltype(job.img2)>(request.img2);
  job.cotangent = static_cast<decltype(job.cotangent)>(request.cotangent);
  job.accumulators = request.accumulators;
  job.map = static_cast<decltype(job.map)>(request.map);
  job.grad1 = static_cast<decltype(job.grad1)>(request.grad1);
  job.grad2 = static_cast<decltype(job.grad2)>(request.grad2);
  job.leading = in_elements(problem);
  job.map_y = kRadius - problem.pad_y;
  job.map_x = kRadius - problem.pad_x;

  using T = decltype(job.gradient_factor);
  job.constants = constants<T>(problem.data_range, problem.k1, problem.k2);
  const double scale = request.cotangent ? 1 : problem.scale;
  job.gradient_factor = gradient_factor<T>(scale, problem.data_range);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_JOB_CUH_
