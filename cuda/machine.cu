#include <cuda_runtime_api.h>

#include "cuda/machine.h"

namespace jax_fused_ssim::cuda {

int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

int runtime_version() {
  int version = 0;
  return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

std::vector<int> compute_capabilities() {
  int count = 0;
  // Without a driver, or with one too old, it fails: no GPU that can be used.
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // or the next launch would report it
    return {};
  }
  std::vector<int> capabilities;
  for (int id = 0; id < count; ++id) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, id);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, id);
    capabilities.push_back(10 * major + minor);
  }
  return capabilities;
}

}  // namespace jax_fused_ssim::cuda
