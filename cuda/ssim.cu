// The ops of cuda/ssim.h: which kernel, and the ends of a sum.
//
// A sum is three steps on the stream: clear one accumulator a plane, let the main
// kernel add to them with integer atomics (common/plane_sum.h), convert them. The
// conversion is a launch of its own because the last block of the main kernel to finish
// would have to wait for the memory of all others, which takes no less time.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/request.h"
#include "cuda/ssim.h"

namespace jax_fused_ssim::cuda {
namespace {

template <typename T>
__global__ void finish_sums(const PlaneSum* accumulators, int64_t planes, double scale,
                            T* sums) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < planes; i += threads) {
    sums[i] = static_cast<T>(scale * plane_sum_value(accumulators[i]));
  }
}

// Map, gradients and sums are bitwise the same from both kernels, so the choice may
// depend on the size of the batch. For tests, JAX_FUSED_SSIM_CUDA_KERNEL=tile or =strip
// takes that one wherever it is possible; other values mean nothing.
template <typename Element>
cudaError_t launch(cudaStream_t stream, const Request& request) {
  Device device;
  const cudaError_t error = Device::current(&device);
  if (error != cudaSuccess) return error;
  const char* const wanted = std::getenv("JAX_FUSED_SSIM_CUDA_KERNEL");
  Fit fit = strip_fit<Element>(request, device);
  if (wanted && fit != Fit::kImpossible) {
    if (!std::strcmp(wanted, "tile")) fit = Fit::kPossible;
    if (!std::strcmp(wanted, "strip")) fit = Fit::kBest;
  }
  if (fit == Fit::kBest) return launch_strip<Element>(stream, request, device);
  return launch_tile<Element>(stream, request);
}

cudaError_t launch(cudaStream_t stream, DType dtype, const Request& request) {
  switch (dtype) {
    case DType::kF16:
      return launch<__half>(stream, request);
    case DType::kBF16:
      return launch<__nv_bfloat16>(stream, request);
    case DType::kF32:
      return launch<float>(stream, request);
    case DType::kF64:
      return launch_tile<double>(stream, request);
  }
  return cudaErrorInvalidValue;
}

Request request_for(const Problem& problem, const Images& images) {
  Request request;
  request.problem = problem;
  request.img1 = images.img1;
  request.img2 = images.img2;
  return request;
}

}  // namespace

cudaError_t ssim_sum(cudaStream_t stream, const Problem& problem, const Images& images,
                     PlaneSum* accumulators, void* sums) {
  return ssim_sum_grad(stream, problem, images, accumulators, sums, nullptr, nullptr);
}

cudaError_t ssim_sum_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, PlaneSum* accumulators, void* sums,
                          void* grad1, void* grad2) {
  const int64_t planes = problem.planes();
  if (planes == 0) return cudaSuccess;
  cudaError_t error =
      cudaMemsetAsync(accumulators, 0, planes * sizeof(PlaneSum), stream);
  if (error != cudaSuccess) return error;

  Request request = request_for(problem, images);
  request.accumulators = accumulators;
  request.grad1 = grad1;
  request.grad2 = grad2;
  error = launch(stream, images.dtype, request);
  if (error != cudaSuccess) return error;

  constexpr int kThreads = 128;
  const auto blocks = static_cast<unsigned int>(
      std::min<int64_t>((planes + kThreads - 1) / kThreads, 1 << 20));
  if (images.dtype == DType::kF64) {
    finish_sums<<<blocks, kThreads, 0, stream>>>(accumulators, planes, problem.scale,
                                                 static_cast<double*>(sums));
  } else {
    finish_sums<<<blocks, kThreads, 0, stream>>>(accumulators, planes, problem.scale,
                                                 static_cast<float*>(sums));
  }
  return cudaGetLastError();
}

cudaError_t ssim_map(cudaStream_t stream, const Problem& problem, const Images& images,
                     void* map) {
  Request request = request_for(problem, images);
  request.map = map;
  return launch(stream, images.dtype, request);
}

cudaError_t ssim_map_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, const void* cotangent, void* grad1,
                          void* grad2) {
  Request request = request_for(problem, images);
  request.cotangent = cotangent;
  request.grad1 = grad1;
  request.grad2 = grad2;
  return launch(stream, images.dtype, request);
}

int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

int runtime_version() {
  int version = 0;
  return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

}  // namespace jax_fused_ssim::cuda
