// What of CUDA the machine has.

#ifndef JAX_FUSED_SSIM_CUDA_MACHINE_H_
#define JAX_FUSED_SSIM_CUDA_MACHINE_H_

#include <vector>

namespace jax_fused_ssim::cuda {

// 1000 * major + 10 * minor of the newest CUDA that the driver runs, 0 without a
// driver, and of the runtime inside this module.
int driver_version();
int runtime_version();

// 10 * major + minor of every GPU that this process may use.
std::vector<int> compute_capabilities();

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_MACHINE_H_
