// The ops of cuda/ssim.h: which kernel, and the ends of a sum.
//
// A sum is three launches: clear one accumulator a plane, let the main kernel add to
// them with integer atomics (common/plane_sum.h), convert them. They overlap
// (cuda/launch.cuh): tiles need the accumulators at their end only. Strips have them
// cleared by a launch that they need anyway (cuda/strip_centre.cuh).

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/launch.cuh"
#include "cuda/request.h"
#include "cuda/ssim.h"

namespace jax_fused_ssim::cuda {
namespace {

constexpr int kThreads = 128;

Grid grid_of(int64_t planes) {
  constexpr int64_t kMostBlocks = 1 << 20;
  return {std::min((planes + kThreads - 1) / kThreads, kMostBlocks), kThreads};
}

__global__ void clear_sums(PlaneSum* accumulators, int64_t planes) {
  let_next_launch_begin();
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < planes; i += threads) {
    accumulators[i] = {};
  }
}

template <typename T>
__global__ void finish_sums(const PlaneSum* accumulators, int64_t planes, double scale,
                            T* sums) {
  wait_for_launch_before();
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < planes; i += threads) {
    sums[i] = static_cast<T>(scale * plane_sum_value(accumulators[i]));
  }
}

template <typename Element>
cudaError_t launch_cleared_tile(cudaStream_t stream, const Device& device,
                                const Request& request) {
  if (request.accumulators) {
    const int64_t planes = request.problem.planes();
    const cudaError_t error = launch(stream, device, false, clear_sums, grid_of(planes),
                                     request.accumulators, planes);
    if (error != cudaSuccess) return error;
  }
  return launch_tile<Element>(stream, device, request);
}

// Map, gradients and sums are bitwise the same from both kernels, so the choice may
// depend on the size of the batch. For tests, JAX_FUSED_SSIM_CUDA_KERNEL=tile or =strip
// takes that one wherever it is possible; other values mean nothing.
template <typename Element>
cudaError_t launch_main(cudaStream_t stream, const Device& device,
                        const Request& request) {
  const char* const wanted = std::getenv("JAX_FUSED_SSIM_CUDA_KERNEL");
  Fit fit = strip_fit<Element>(request, device);
  if (wanted && fit != Fit::kImpossible) {
    if (!std::strcmp(wanted, "tile")) fit = Fit::kPossible;
    if (!std::strcmp(wanted, "strip")) fit = Fit::kBest;
  }
  if (fit == Fit::kBest) return launch_strip<Element>(stream, device, request);
  return launch_cleared_tile<Element>(stream, device, request);
}

cudaError_t launch_main(cudaStream_t stream, const Device& device, DType dtype,
                        const Request& request) {
  switch (dtype) {
    case DType::kF16:
      return launch_main<__half>(stream, device, request);
    case DType::kBF16:
      return launch_main<__nv_bfloat16>(stream, device, request);
    case DType::kF32:
      return launch_main<float>(stream, device, request);
    case DType::kF64:
      return launch_cleared_tile<double>(stream, device, request);
  }
  return cudaErrorInvalidValue;
}

cudaError_t run(cudaStream_t stream, DType dtype, const Request& request, void* sums) {
  Device device;
  cudaError_t error = Device::current(stream, &device);
  if (error != cudaSuccess) return error;
  error = launch_main(stream, device, dtype, request);
  PlaneSum* const accumulators = request.accumulators;
  if (error != cudaSuccess || !accumulators) return error;

  const int64_t planes = request.problem.planes();
  const double scale = request.problem.scale;
  const Grid grid = grid_of(planes);
  if (dtype == DType::kF64) {
    return launch(stream, device, true, finish_sums<double>, grid, accumulators, planes,
                  scale, static_cast<double*>(sums));
  }
  return launch(stream, device, true, finish_sums<float>, grid, accumulators, planes,
                scale, static_cast<float*>(sums));
}

Request request_for(const Problem& problem, const Images& images, void* scratch) {
  Request request;
  request.problem = problem;
  request.img1 = images.img1;
  request.img2 = images.img2;
  // Behind the accumulators of all planes.
  request.centres =
      reinterpret_cast<float2*>(static_cast<PlaneSum*>(scratch) + problem.planes());
  return request;
}

}  // namespace

cudaError_t ssim_sum(cudaStream_t stream, const Problem& problem, const Images& images,
                     void* scratch, void* sums) {
  return ssim_sum_grad(stream, problem, images, scratch, sums, nullptr, nullptr);
}

cudaError_t ssim_sum_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, void* scratch, void* sums, void* grad1,
                          void* grad2) {
  if (problem.planes() == 0) return cudaSuccess;
  Request request = request_for(problem, images, scratch);
  request.accumulators = static_cast<PlaneSum*>(scratch);
  request.grad1 = grad1;
  request.grad2 = grad2;
  return run(stream, images.dtype, request, sums);
}

cudaError_t ssim_map(cudaStream_t stream, const Problem& problem, const Images& images,
                     void* scratch, void* map) {
  Request request = request_for(problem, images, scratch);
  request.map = map;
  return run(stream, images.dtype, request, nullptr);
}

cudaError_t ssim_map_grad(cudaStream_t stream, const Problem& problem,
                          const Images& images, void* scratch, const void* cotangent,
                          void* grad1, void* grad2) {
  Request request = request_for(problem, images, scratch);
  request.cotangent = cotangent;
  request.grad1 = grad1;
  request.grad2 = grad2;
  return run(stream, images.dtype, request, nullptr);
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
