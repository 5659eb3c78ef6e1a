// What the choice of a kernel depends on: the GPU that the stream belongs to.

#ifndef JAX_FUSED_SSIM_CUDA_DEVICE_H_
#define JAX_FUSED_SSIM_CUDA_DEVICE_H_

#include <cuda_runtime_api.h>

namespace jax_fused_ssim::cuda {

struct Device {
  int major = 0;  // of the compute capability
  int multiprocessors = 0;
  int shared_bytes = 0;  // that one block can have

  static cudaError_t current(Device* device) {
    int id = 0;
    cudaError_t error = cudaGetDevice(&id);
    const auto get = [&](int* value, cudaDeviceAttr attribute) {
      if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, id);
    };
    get(&device->major, cudaDevAttrComputeCapabilityMajor);
    get(&device->multiprocessors, cudaDevAttrMultiProcessorCount);
    get(&device->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    return error;
  }
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_DEVICE_H_
