// Launches that follow one another in an op, in the kernel. On compute capability 9.0
// and newer one may begin before the one before it has ended, which saves a microsecond
// each, and waits for it where it needs what that one wrote.

#ifndef JAX_FUSED_SSIM_CUDA_OVERLAP_CUH_
#define JAX_FUSED_SSIM_CUDA_OVERLAP_CUH_

#include <cuda_runtime.h>

namespace jax_fused_ssim::cuda {

// Until all that the launch before wrote is there. Nothing that the launch reads or
// writes before may be what that one, or one before it, works on.
__device__ __forceinline__ void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the launch after begin, once every block has called this or ended.
__device__ __forceinline__ void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_OVERLAP_CUH_
