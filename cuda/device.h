// What the choice of a kernel depends on: the GPU that the stream belongs to.

#ifndef JAX_FUSED_SSIM_CUDA_DEVICE_H_
#define JAX_FUSED_SSIM_CUDA_DEVICE_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>

namespace jax_fused_ssim::cuda {

struct Device {
  int major = 0;  // of the compute capability
  int multiprocessors = 0;
  int shared_bytes = 0;            // that one block can have
  bool overlaps_launches = false;  // see cuda/overlap.cuh

  // Describes the current device; `stream` is one of its streams.
  static cudaError_t current(cudaStream_t stream, Device* device) {
    int id = 0;
    cudaError_t error = cudaGetDevice(&id);
    const auto get = [&](int* value, cudaDeviceAttr attribute) {
      if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, id);
    };
    get(&device->major, cudaDevAttrComputeCapabilityMajor);
    get(&device->multiprocessors, cudaDevAttrMultiProcessorCount);
    get(&device->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    // For tests: as on a GPU that has no more than that.
    if (const char* const bytes = std::getenv("JAX_FUSED_SSIM_CUDA_SHARED_BYTES")) {
      device->shared_bytes = std::min(device->shared_bytes, std::atoi(bytes));
    }
    device->overlaps_launches = device->major >= 9;
    // Neither the runtime nor the driver of CUDA 12.2 and older can capture such
    // launches.
    int driver = 0;
    if (error == cudaSuccess) error = cudaDriverGetVersion(&driver);
    if (error == cudaSuccess && std::min(driver, CUDART_VERSION) < 12030) {
      cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
      error = cudaStreamIsCapturing(stream, &capturing);
      device->overlaps_launches &= capturing == cudaStreamCaptureStatusNone;
    }
    return error;
  }
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_DEVICE_H_
