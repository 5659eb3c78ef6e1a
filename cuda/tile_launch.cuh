// The host side of cuda/tile.cuh: from a request to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_CUH_
#define JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_CUH_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cuda/job.cuh"
#include "cuda/launch.cuh"
#include "cuda/request.h"
#include "cuda/tile.cuh"

namespace jax_fused_ssim::cuda {

template <typename Element, int kGradients,
          typename Shape = TileShape<Compute<Element>, kGradients>>
cudaError_t launch_tile_kernel(cudaStream_t stream, const Device& device,
                               const Request& request) {
  using T = Compute<Element>;
  using Layout = TileLayout<T, kGradients, Shape>;
  const Problem& problem = request.problem;

  TileJob<Element> job;
  fill_job(job, request);
  job.height = problem.height;
  job.width = problem.width;
  job.channels = problem.channels;
  job.map_height = problem.map_height();
  job.map_width = problem.map_width();
  const int64_t rows = kGradients == 0 ? job.map_height : job.height;
  const int64_t columns = kGradients == 0 ? job.map_width : job.width;
  job.tiles_y = (rows + Shape::kHeight - 1) / Shape::kHeight;
  job.tiles_x = (columns + Shape::kWidth - 1) / Shape::kWidth;
  job.tiles = problem.planes() * job.tiles_y * job.tiles_x;
  if (job.tiles == 0) return cudaSuccess;

  const Grid grid = {std::min<int64_t>(job.tiles, std::numeric_limits<int32_t>::max()),
                     Shape::kThreads, Layout::kBytes};
  return launch(stream, device, request.accumulators != nullptr,
                tile_kernel<Element, kGradients, Shape>, grid, job);
}

template <typename Element>
cudaError_t launch_tile(cudaStream_t stream, const Device& device,
                        const Request& request) {
  if (request.grad2) return launch_tile_kernel<Element, 2>(stream, device, request);
  if (request.grad1) return launch_tile_kernel<Element, 1>(stream, device, request);
  return launch_tile_kernel<Element, 0>(stream, device, request);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_LAUNCH_CUH_
