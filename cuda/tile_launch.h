// The host side of cuda/tile.cuh: from a call to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/tile_shape.h"

namespace jax_fused_ssim::cuda {

template <typename Element, int kGradients, bool kErrors, bool kIntegers = false,
          bool kWeights = false, bool kLeavesOut = false, bool kFactors = false,
          typename Taps = CompiledWindow<Compute<Element>>,
          typename Shape = TileShape<Compute<Element>, kGradients>>
cudaError_t launch_tile_kernel(cudaStream_t stream, const Device& device,
                               const Call& call) {
  using Layout = TileLayout<Compute<Element>, kGradients, kErrors, Shape>;

  TileJob<Element, Taps> job(call);
  const int64_t rows = Layout::kOfMap ? job.map_height : job.height;
  const int64_t columns = Layout::kOfMap ? job.map_width : job.width;
  job.tiles_y = (rows + Shape::kHeight - 1) / Shape::kHeight;
  job.tiles_x = (columns + Shape::kWidth - 1) / Shape::kWidth;
  job.tiles = call.planes() * job.tiles_y * job.tiles_x;
  if (job.tiles == 0) return cudaSuccess;

  const Grid grid = {std::min<int64_t>(job.tiles, std::numeric_limits<int32_t>::max()),
                     Shape::kThreads, Layout::kBytes};
  return launch(stream, device, job.accumulators != nullptr,
                tile_kernel<Element, kGradients, kErrors, kIntegers, kWeights,
                            kLeavesOut, kFactors, Taps, Shape>,
                grid, job);
}

// With errors and without weights.
template <typename Element>
cudaError_t launch_unweighted_loss_tile(cudaStream_t stream, const Device& device,
                                        const Call& call) {
  if (call.grad2) return launch_tile_kernel<Element, 2, true>(stream, device, call);
  const auto of_floats = call.grad1 ? launch_tile_kernel<Element, 1, true>
                                    : launch_tile_kernel<Element, 0, true>;
  const auto of_any = call.grad1 ? launch_tile_kernel<Element, 1, true, true>
                                 : launch_tile_kernel<Element, 0, true, true>;
  return call.has_integers() ? of_any(stream, device, call)
                             : of_floats(stream, device, call);
}

// With errors, by kernels that know any kind of pixels and may have weights. Integers
// have none of both gradients.
template <typename Element, bool kLeavesOut>
cudaError_t launch_weighted_loss_tile(cudaStream_t stream, const Device& device,
                                      const Call& call) {
  const auto launch =
      call.grad2   ? launch_tile_kernel<Element, 2, true, false, true, kLeavesOut>
      : call.grad1 ? launch_tile_kernel<Element, 1, true, true, true, kLeavesOut>
                   : launch_tile_kernel<Element, 0, true, true, true, kLeavesOut>;
  return launch(stream, device, call);
}

// With errors. Other types than float have no kernels without weights: these cost
// little beside float64, and large images of half precision are strips.
template <typename Element>
cudaError_t launch_loss_tile(cudaStream_t stream, const Device& device,
                             const Call& call) {
  if constexpr (std::is_same_v<Element, float>) {
    if (!call.has_weights()) {
      return launch_unweighted_loss_tile<Element>(stream, device, call);
    }
  }
  // Beside float64 the choice costs little at run time; halves leave nothing out.
  constexpr bool kMayLeaveOut = std::is_same_v<Element, double>;
  if constexpr (std::is_same_v<Element, float>) {
    if (call.leaves_out()) {
      return launch_weighted_loss_tile<Element, true>(stream, device, call);
    }
  }
  return launch_weighted_loss_tile<Element, kMayLeaveOut>(stream, device, call);
}

// With a window that the call brings, by kernels that know everything else that a call
// may have.
template <typename Element, int kGradients>
cudaError_t launch_given_window_tile(cudaStream_t stream, const Device& device,
                                     const Call& call, bool errors) {
  using Taps = GivenWindow<Compute<Element>>;
  const auto launch =
      errors
          ? launch_tile_kernel<Element, kGradients, true, true, true, true, false, Taps>
          : launch_tile_kernel<Element, kGradients, false, false, false, false, false,
                               Taps>;
  return launch(stream, device, call);
}

// Gradients one after the other: SSIM is symmetric.
template <typename Element>
cudaError_t launch_given_window_tiles(cudaStream_t stream, const Device& device,
                                      const Call& call) {
  const bool errors = call.has_errors();
  if (!call.grad1) {
    return launch_given_window_tile<Element, 0>(stream, device, call, errors);
  }
  Call first = call;
  first.grad2 = nullptr;
  const cudaError_t error =
      launch_given_window_tile<Element, 1>(stream, device, first, errors);
  if (error != cudaSuccess || !call.grad2) return error;
  Call second = call.swapped();
  second.loss = second.terms = second.grad2 = nullptr;
  return launch_given_window_tile<Element, 1>(stream, device, second, errors);
}

template <typename Element, typename Taps>
cudaError_t launch_factors_tile(cudaStream_t stream, const Device& device,
                                const Call& call) {
  return launch_tile_kernel<Element, 0, false, false, false, false, true, Taps>(
      stream, device, call);
}

template <typename Element>
cudaError_t launch_tile(cudaStream_t stream, const Device& device, const Call& call) {
  using T = Compute<Element>;
  if constexpr (std::is_same_v<Element, T>) {
    if (call.taps && call.luminance) {
      return launch_factors_tile<Element, GivenWindow<T>>(stream, device, call);
    }
    if (call.taps) return launch_given_window_tiles<Element>(stream, device, call);
  }
  if (call.has_errors()) return launch_loss_tile<Element>(stream, device, call);
  if (call.grad2) return launch_tile_kernel<Element, 2, false>(stream, device, call);
  if (call.grad1) return launch_tile_kernel<Element, 1, false>(stream, device, call);
  if (call.luminance) {
    return launch_factors_tile<Element, CompiledWindow<T>>(stream, device, call);
  }
  return launch_tile_kernel<Element, 0, false>(stream, device, call);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_
