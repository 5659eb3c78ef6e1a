// Which kernel, and the ends of a sum.
//
// A sum is three launches: clear one accumulator a plane, let the main kernel add to
// them with integer atomics (common/plane_sum.h), convert them. They overlap
// (cuda/overlap.cuh): tiles need the accumulators at their end only. Strips have them
// cleared by a launch that they need anyway (cuda/strip_centre.cuh).

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/overlap.cuh"
#include "cuda/ssim.h"

namespace jax_fused_ssim::cuda {
namespace {

constexpr int kThreads = 128;

Grid grid_of(int64_t planes) {
  constexpr int64_t kMostBlocks = 1 << 20;
  return {std::min((planes + kThreads - 1) / kThreads, kMostBlocks), kThreads};
}

// What a small kernel has no use for costs it: beside a large one its code comes from
// memory each time.
template <bool kErrors>
__global__ void clear_sums(PlaneSum* accumulators, ErrorSums* errors, int64_t planes) {
  let_next_launch_begin();
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < planes; i += threads) {
    accumulators[i] = {};
    if constexpr (kErrors) errors[i] = {};
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

// Of every image the errors, and of its planes the sums.
template <typename T>
struct Finish {
  const PlaneSum* accumulators;
  const ErrorSums* error_accumulators;
  T* sums;
  T* errors;
  int64_t images, channels;
  double scale, error_scale;
};

template <typename T>
__global__ void finish_errors(const Finish<T> finish) {
  wait_for_launch_before();
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t image = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       image < finish.images; image += threads) {
    double absolute = 0, square = 0;
    for (int64_t c = 0; c < finish.channels; ++c) {
      const int64_t i = image * finish.channels + c;
      const double sum = plane_sum_value(finish.accumulators[i]);
      finish.sums[i] = static_cast<T>(finish.scale * sum);
      const ErrorSums& plane = finish.error_accumulators[i];
      // Quanta are integers, which have no NaN; the SSIM of such a plane is one.
      absolute += plane_sum_value(plane.absolute) + 0 * sum;
      square += plane_sum_value(plane.square) + 0 * sum;
    }
    finish.errors[2 * image] = static_cast<T>(finish.error_scale * absolute);
    finish.errors[2 * image + 1] = static_cast<T>(finish.error_scale * square);
  }
}

template <typename Element>
cudaError_t launch_cleared_tile(cudaStream_t stream, const Device& device,
                                const Call& call) {
  if (call.accumulators()) {
    const cudaError_t error = launch(stream, device, false,
                                     call.errors ? clear_sums<true> : clear_sums<false>,
                                     grid_of(call.planes()), call.accumulators(),
                                     call.error_accumulators(), call.planes());
    if (error != cudaSuccess) return error;
  }
  return launch_tile<Element>(stream, device, call);
}

// Map, gradients and sums are bitwise the same from both kernels, so the choice may
// depend on the size of the batch. For tests, JAX_FUSED_SSIM_CUDA_KERNEL=tile or =strip
// takes that one wherever it is possible; other values mean nothing.
template <typename Element>
cudaError_t launch_main(cudaStream_t stream, const Device& device, const Call& call) {
  const char* const wanted = std::getenv("JAX_FUSED_SSIM_CUDA_KERNEL");
  Fit fit = strip_fit<Element>(call, device);
  if (wanted && fit != Fit::kImpossible) {
    if (!std::strcmp(wanted, "tile")) fit = Fit::kPossible;
    if (!std::strcmp(wanted, "strip")) fit = Fit::kBest;
  }
  if (fit == Fit::kBest) return launch_strip<Element>(stream, device, call);
  return launch_cleared_tile<Element>(stream, device, call);
}

template <typename T>
cudaError_t launch_finish(cudaStream_t stream, const Device& device, const Call& call) {
  if (!call.errors) {
    return launch(stream, device, true, finish_sums<T>, grid_of(call.planes()),
                  call.accumulators(), call.planes(), call.parameters.scale,
                  static_cast<T*>(call.sums));
  }
  const Finish<T> finish = {call.accumulators(),
                            call.error_accumulators(),
                            static_cast<T*>(call.sums),
                            static_cast<T*>(call.errors),
                            call.images,
                            call.channels,
                            call.parameters.scale,
                            call.parameters.error_scale};
  return launch(stream, device, true, finish_errors<T>, grid_of(call.images), finish);
}

cudaError_t launch_main_of_type(cudaStream_t stream, const Device& device,
                                const Call& call) {
  switch (call.dtype) {
    case DType::kF16:
      return launch_main<__half>(stream, device, call);
    case DType::kBF16:
      return launch_main<__nv_bfloat16>(stream, device, call);
    case DType::kF32:
      return launch_main<float>(stream, device, call);
    case DType::kF64:
      return launch_cleared_tile<double>(stream, device, call);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t run(cudaStream_t stream, const Call& call) {
  if (call.planes() == 0) return cudaSuccess;
  Device device;
  cudaError_t error = Device::current(stream, &device);
  if (error != cudaSuccess) return error;
  error = launch_main_of_type(stream, device, call);
  if (error != cudaSuccess || !call.sums) return error;
  return call.dtype == DType::kF64 ? launch_finish<double>(stream, device, call)
                                   : launch_finish<float>(stream, device, call);
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
