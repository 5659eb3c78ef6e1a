// The host side of cuda/tile.cuh: from a call to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/tile_shape.h"

namespace jax_fused_ssim::cuda {

template <typename Element, int kGradients,
          typename Shape = TileShape<Compute<Element>, kGradients>>
cudaError_t launch_tile_kernel(cudaStream_t stream, const Device& device,
                               const Call& call) {
  using T = Compute<Element>;
  using Layout = TileLayout<T, kGradients, Shape>;

  TileJob<Element> job(call);
  job.height = call.height;
  job.width = call.width;
  job.channels = call.channels;
  job.map_height = call.map_height();
  job.map_width = call.map_width();
  const int64_t rows = kGradients == 0 ? job.map_height : job.height;
  const int64_t columns = kGradients == 0 ? job.map_width : job.width;
  job.tiles_y = (rows + Shape::kHeight - 1) / Shape::kHeight;
  job.tiles_x = (columns + Shape::kWidth - 1) / Shape::kWidth;
  job.tiles = call.planes() * job.tiles_y * job.tiles_x;
  if (job.tiles == 0) return cudaSuccess;

  const Grid grid = {std::min<int64_t>(job.tiles, std::numeric_limits<int32_t>::max()),
                     Shape::kThreads, Layout::kBytes};
  return launch(stream, device, job.accumulators != nullptr,
                tile_kernel<Element, kGradients, Shape>, grid, job);
}

template <typename Element>
cudaError_t launch_tile(cudaStream_t stream, const Device& device, const Call& call) {
  if (call.grad2) return launch_tile_kernel<Element, 2>(stream, device, call);
  if (call.grad1) return launch_tile_kernel<Element, 1>(stream, device, call);
  return launch_tile_kernel<Element, 0>(stream, device, call);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_H_
