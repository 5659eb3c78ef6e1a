// Which kernel, and the ends of a sum.
//
// A loss is three launches: clear one accumulator a plane, let the main kernel add to
// them with integer atomics (common/plane_sum.h), add up the planes. They overlap
// (cuda/overlap.cuh): tiles need the accumulators at their end only. Strips have them
// cleared by a launch that they need anyway (cuda/strip_centre.cuh).

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "common/loss.h"
#include "cuda/error_sum.cuh"
#include "cuda/halve.h"
#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/leading.cuh"
#include "cuda/overlap.cuh"
#include "cuda/ssim.h"

namespace jax_fused_ssim::cuda {
namespace {

constexpr int kThreads = 128;

Grid grid_of(int64_t threads) {
  constexpr int64_t kMostBlocks = 1 << 20;
  return {std::min((threads + kThreads - 1) / kThreads, kMostBlocks), kThreads};
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
struct Finish {
  const PlaneSum* accumulators;
  const ErrorSums* error_accumulators;
  int64_t results, planes;  // of a result
  Parameters parameters;
  T* loss;
  T* terms;
  // Of a loss with weights.
  int64_t channels;
  Leading leading;
  const T* scales;
};

__device__ __forceinline__ PlaneSum of_lane(const PlaneSum& sum, int lanes) {
  constexpr unsigned int kAll = 0xffffffffu;
  return {__shfl_xor_sync(kAll, sum.coarse, lanes),
          __shfl_xor_sync(kAll, sum.fine, lanes),
          __shfl_xor_sync(kAll, sum.not_finite, lanes), 0};
}

// A warp for each result.
template <typename T, bool kErrors, bool kWeights>
__global__ void finish_sums(const __grid_constant__ Finish<T> finish) {
  const int lane = threadIdx.x % 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  wait_for_launch_before();
  for (int64_t result =
           (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
       result < finish.results; result += warps) {
    PlaneSums<kErrors> sums;
    for (int64_t i = lane; i < finish.planes; i += 32) {
      const int64_t plane = result * finish.planes + i;
      PlaneSums<kErrors> of_plane;
      of_plane.dissimilarity = finish.accumulators[plane];
      if constexpr (kErrors) of_plane.errors = finish.error_accumulators[plane];
      sums.add(of_plane);
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      PlaneSums<kErrors> other;
      other.dissimilarity = of_lane(sums.dissimilarity, lanes);
      if constexpr (kErrors) {
        other.errors = {of_lane(sums.errors.absolute, lanes),
                        of_lane(sums.errors.square, lanes)};
      }
      sums.add(other);
    }
    if (lane == 0) {
      T* const terms = kErrors ? finish.terms + kTerms * result : nullptr;
      double scales[] = {1, 1};
      if (kWeights && finish.planes > 0) {
        const int64_t image = result * finish.planes / finish.channels;
        const T* const of_image =
            finish.scales + image_offsets(finish.leading, image).of[kScales];
        scales[kMapScale] = of_image[kMapScale];
        scales[kErrorScale] = of_image[kErrorScale];
      }
      sums.finish(finish.parameters, finish.loss + result, terms, scales[kMapScale],
                  scales[kErrorScale], ErrorSum<T, kWeights>::kUnit);
    }
  }
}

cudaError_t launch_clear(cudaStream_t stream, const Device& device, const Call& call) {
  if (!call.accumulators()) return cudaSuccess;
  return launch(stream, device, false,
                call.has_errors() ? clear_sums<true> : clear_sums<false>,
                grid_of(call.planes()), call.accumulators(), call.error_accumulators(),
                call.planes());
}

// The images at half their size, of kernels that do not write them.
cudaError_t launch_halves(cudaStream_t stream, const Call& call) {
  if (!call.half[kImg1]) return cudaSuccess;
  Halving halving = {};
  halving.height = call.height;
  halving.width = call.width;
  halving.halvings = 1;
  for (const int k : {kImg1, kImg2}) {
    halving.count[k] = call.images;
    halving.from[k] = call.operand[k];
    halving.to[k][0] = call.half[k];
  }
  return halve(stream, halving);
}

template <typename Element>
cudaError_t launch_cleared_tile(cudaStream_t stream, const Device& device,
                                const Call& call) {
  cudaError_t error = launch_halves(stream, call);
  if (error == cudaSuccess) error = launch_clear(stream, device, call);
  return error == cudaSuccess ? launch_tile<Element>(stream, device, call) : error;
}

cudaError_t launch_cleared_volume(cudaStream_t stream, const Device& device,
                                  const Call& call) {
  const cudaError_t error = launch_clear(stream, device, call);
  if (error != cudaSuccess) return error;
  return call.dtype == DType::kF64 ? launch_volume<double>(stream, device, call)
                                   : launch_volume<float>(stream, device, call);
}

// Map, gradients and sums are bitwise the same from both kernels, so the choice may
// depend on the size of the batch. For tests, JAX_FUSED_SSIM_CUDA_KERNEL=tile or =strip
// takes that one wherever it is possible; other values mean nothing.
template <typename Element>
cudaError_t launch_main(cudaStream_t stream, const Device& device, const Call& call) {
  const char* const wanted = std::getenv("JAX_FUSED_SSIM_CUDA_KERNEL");
  Fit fit = strip_fit<Element>(call, device);
  if (call.taps) fit = Fit::kImpossible;
  if (wanted && fit != Fit::kImpossible) {
    if (!std::strcmp(wanted, "tile")) fit = Fit::kPossible;
    if (!std::strcmp(wanted, "strip")) fit = Fit::kBest;
  }
  if (fit == Fit::kBest) return launch_strip<Element>(stream, device, call);
  return launch_cleared_tile<Element>(stream, device, call);
}

template <typename T>
cudaError_t launch_finish(cudaStream_t stream, const Device& device, const Call& call) {
  const Finish<T> finish = {call.accumulators(),
                            call.error_accumulators(),
                            call.results,
                            call.planes_of_result(),
                            call.parameters,
                            static_cast<T*>(call.loss),
                            static_cast<T*>(call.terms),
                            call.channels,
                            leading_in_elements(call),
                            static_cast<const T*>(call.operand[kScales])};
  return launch(stream, device, true,
                call.has_weights()  ? finish_sums<T, true, true>
                : call.has_errors() ? finish_sums<T, true, false>
                                    : finish_sums<T, false, false>,
                grid_of(32 * call.results), finish);
}

cudaError_t launch_main_of_type(cudaStream_t stream, const Device& device,
                                const Call& call) {
  if (call.parameters.volumes) return launch_cleared_volume(stream, device, call);
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
  Device device;
  cudaError_t error = Device::current(stream, &device);
  if (error == cudaSuccess && call.planes() > 0) {
    error = launch_main_of_type(stream, device, call);
  }
  if (error != cudaSuccess || call.results == 0) return error;
  return call.dtype == DType::kF64 ? launch_finish<double>(stream, device, call)
                                   : launch_finish<float>(stream, device, call);
}

}  // namespace jax_fused_ssim::cuda
