// The host side of cuda/volume.cuh: from a call to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_

#include <array>
#include <cstdint>

#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/volume_shape.h"

namespace jax_fused_ssim::cuda {

template <typename T, bool kGradient, typename Taps, typename Shape>
cudaError_t launch_volume_kernel(cudaStream_t stream, const Device& device,
                                 const Call& call) {
  using Layout = VolumeLayout<T, kGradient, Shape>;
  VolumeJob<T, Taps> job(call);
  const auto columns = [](int64_t side, int64_t own) { return (side + own - 1) / own; };
  job.columns_y = columns(kGradient ? job.height : job.map_height, Layout::kOutHeight);
  job.columns_x = columns(kGradient ? job.width : job.map_width, Layout::kOutWidth);
  job.rows = kGradient ? job.depth : job.map_depth;
  job.cut =
      cut_of(call.images * job.columns_y * job.columns_x, job.rows, job.parts,
             2 * Layout::kImageHalo, int64_t{device.multiprocessors} * Shape::kBlocks);
  const Grid grid = {job.cut.ranges * job.parts, Shape::kThreads, Layout::kBytes};
  return launch(stream, device, job.accumulators != nullptr,
                volume_kernel<T, kGradient, Taps, Shape>, grid, job);
}

// The taps of the window that is compiled in.
template <typename T>
const double* compiled_taps() {
  static const auto taps = [] {
    std::array<double, kWindow> taps;
    for (int k = 0; k < kWindow; ++k) taps[k] = normal_tap<T>(k);
    return taps;
  }();
  return taps.data();
}

template <typename T, bool kGradient>
cudaError_t launch_volume_of(cudaStream_t stream, const Device& device,
                             const Call& call) {
  const auto with = [&](auto shape) {
    using Shape = decltype(shape);
    if constexpr (Shape::kIsForCompiledWindow) {
      if (!call.taps) {
        using Taps = CompiledWindow<T>;
        return launch_volume_kernel<T, kGradient, Taps, Shape>(stream, device, call);
      }
    }
    Call given = call;
    if (!given.taps) given.taps = compiled_taps<T>();
    using Taps = GivenWindow<T>;
    return launch_volume_kernel<T, kGradient, Taps, Shape>(stream, device, given);
  };
  const auto fits = [&](auto shape) {
    return VolumeLayout<T, kGradient, decltype(shape)>::kBytes <= device.shared_bytes;
  };
  if constexpr (sizeof(T) == sizeof(float)) {
    if constexpr (kGradient) {
      if (fits(OverlappingVolume())) return with(OverlappingVolume());
      if (fits(LargeVolume())) return with(LargeVolume());
      if (fits(MiddleVolume())) return with(MiddleVolume());
    } else {
      if (fits(OverlappingVolume())) return with(OverlappingVolume());
    }
  }
  return with(SmallVolume());
}

template <typename T>
cudaError_t launch_volume(cudaStream_t stream, const Device& device, const Call& call) {
  if (!call.grad1) return launch_volume_of<T, false>(stream, device, call);
  Call first = call;
  first.grad2 = nullptr;
  const cudaError_t error = launch_volume_of<T, true>(stream, device, first);
  if (error != cudaSuccess || !call.grad2) return error;
  // SSIM is symmetric.
  Call second = call.swapped();
  second.loss = second.grad2 = nullptr;
  return launch_volume_of<T, true>(stream, device, second);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_
