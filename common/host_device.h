// JFS_HOST_DEVICE marks what both the CPU and the CUDA kernels call.

#ifndef JAX_FUSED_SSIM_COMMON_HOST_DEVICE_H_
#define JAX_FUSED_SSIM_COMMON_HOST_DEVICE_H_

#ifdef __CUDACC__
#define JFS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define JFS_HOST_DEVICE inline __attribute__((always_inline))
#endif

#endif  // JAX_FUSED_SSIM_COMMON_HOST_DEVICE_H_
