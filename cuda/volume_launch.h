// The host side of cuda/volume.cuh and volume_gradient.cuh: from a call to launches.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/volume_shape.h"

namespace jax_fused_ssim::cuda {

// How the columns of a call are cut into what the blocks of a launch take: whole
// columns, one after the other, of which blocks that would have none share the last; or
// ranges that run on from one column to the next. The first keeps neighbours at the
// same depth, where their halos are the same; the second has work for all blocks.
// Fewest steps win.
template <typename Job>
Grid cut_columns(const Device& device, const Call& call, int64_t height, int64_t width,
                 int own_height, int own_width, int halo_slices, int blocks, int maps,
                 Job& job) {
  const auto quotient_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  job.columns_y = quotient_up(height, own_height);
  job.columns_x = quotient_up(width, own_width);
  job.derivative_slice = job.columns_y * job.columns_x * maps * own_height * own_width;
  const int64_t columns = call.images * job.columns_y * job.columns_x;
  const int64_t rows = job.rows;
  job.columns = columns;
  job.at_a_time =
      std::max<int64_t>(1, int64_t{device.multiprocessors} * blocks / job.parts);

  // Measured in steps: to begin, and to end a column and begin the next one.
  constexpr int64_t kBegin = 3, kNext = 8;
  job.waves = quotient_up(columns, job.at_a_time);
  const int64_t before_last = job.waves - 1;
  const int64_t last = columns - before_last * job.at_a_time;
  const int64_t shared_by = ranges_of(1, rows, job.at_a_time / last);
  job.last_shared_by = shared_by;
  job.cut = job.waves == 1 ? Cut(columns, shared_by, rows, 0)
                           : Cut(job.at_a_time, 1, job.waves * rows, 0);
  int64_t steps = before_last * (rows + kNext);
  if (shared_by == 1) {
    steps += rows + kNext;
  } else {
    // Of two that share a column each has one end where the column has it.
    steps += quotient_up(rows, shared_by) +
             (shared_by == 2 ? halo_slices / 2 : halo_slices) + kBegin;
  }
  const int64_t ranges = ranges_of(columns, rows, job.at_a_time);
  if (columns * (rows + kNext) / ranges + halo_slices + kBegin < steps) {
    job.waves = 1;
    job.cut = Cut(1, ranges, columns * (rows + kNext), kNext);
  }
  return {job.cut.ranges * job.parts, 0};
}

template <typename T, VolumeWork kWork, typename Taps, typename Shape>
cudaError_t launch_volume_kernel(cudaStream_t stream, const Device& device,
                                 const Call& call) {
  using Layout = VolumeLayout<T, kWork, Shape>;
  constexpr bool kOfMap = kWork == VolumeWork::kMap;
  VolumeJob<T, Taps> job(call);
  job.rows = kWork == VolumeWork::kGradient ? job.depth : job.map_depth;
  Grid grid = cut_columns(device, call, kOfMap ? job.map_height : job.height,
                          kOfMap ? job.map_x + job.map_width : job.width,
                          Layout::kOutHeight, Layout::kOutWidth, 2 * Layout::kImageHalo,
                          Shape::kBlocks, Layout::kMaps, job);
  grid.threads = Shape::kThreads;
  grid.shared_bytes = Layout::kBytes;
  return launch(stream, device, job.accumulators != nullptr,
                volume_kernel<T, kWork, Taps, Shape>, grid, job);
}

// The gradients from derivatives that are in memory.
template <typename T, int kGradients, typename Taps, typename Shape>
cudaError_t launch_volume_gradient(cudaStream_t stream, const Device& device,
                                   const Call& call) {
  using Layout = VolumeGradientLayout<T, kGradients, Shape>;
  VolumeJob<T, Taps> job(call);
  job.rows = job.depth;
  Grid grid =
      cut_columns(device, call, job.height, job.width, Shape::kHeight, Shape::kWidth,
                  2 * kRadius, Shape::kBlocks, Layout::kMaps, job);
  grid.threads = Shape::kThreads;
  grid.shared_bytes = Layout::kBytes;
  return launch(stream, device, true,
                volume_gradient_kernel<T, kGradients, Taps, Shape>, grid, job);
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

// Calls `launch(taps, call)` with the kernel's kind of window. kForCompiledWindow:
// there is a kernel that has it compiled in.
template <typename T, bool kForCompiledWindow, typename Launch>
cudaError_t with_taps(const Call& call, const Launch& launch) {
  if constexpr (kForCompiledWindow) {
    if (!call.taps) return launch(CompiledWindow<T>(), call);
  }
  Call given = call;
  if (!given.taps) given.taps = compiled_taps<T>();
  return launch(GivenWindow<T>(), given);
}

// With derivatives in memory: two launches.
template <typename T, int kGradients, typename Shape, typename GradientShape>
cudaError_t launch_volume_twice_as(cudaStream_t stream, const Device& device,
                                   const Call& call) {
  // What one writes the other reads.
  static_assert(Shape::kWidth == GradientShape::kWidth &&
                    Shape::kHeight == GradientShape::kHeight &&
                    kDerivativeSide % Shape::kWidth == 0 &&
                    kDerivativeSide % Shape::kHeight == 0,
                "");
  constexpr VolumeWork kWork =
      kGradients == 2 ? VolumeWork::kBothDerivatives : VolumeWork::kDerivatives;
  return with_taps<T, Shape::kIsForCompiledWindow>(
      call, [&](auto taps, const Call& call) {
        using Taps = decltype(taps);
        const cudaError_t error =
            launch_volume_kernel<T, kWork, Taps, Shape>(stream, device, call);
        if (error != cudaSuccess) return error;
        return launch_volume_gradient<T, kGradients, Taps, GradientShape>(stream,
                                                                          device, call);
      });
}

// Whether both kernels of this run.
template <typename T, int kGradients, typename Shape, typename GradientShape>
bool fits_twice(const Device& device) {
  return VolumeLayout<T, VolumeWork::kDerivatives, Shape>::kBytes <=
             device.shared_bytes &&
         VolumeGradientLayout<T, kGradients, GradientShape>::kBytes <=
             device.shared_bytes;
}

template <typename T>
cudaError_t launch_volume_twice(cudaStream_t stream, const Device& device,
                                const Call& call) {
  if constexpr (sizeof(T) == sizeof(float)) {
    using Value = OverlappingVolume;
    if (fits_twice<T, 1, Value, LargeVolumeGradient>(device)) {
      return launch_volume_twice_as<T, 1, Value, LargeVolumeGradient>(stream, device,
                                                                      call);
    }
    if (fits_twice<T, 1, Value, MiddleVolumeGradient>(device)) {
      return launch_volume_twice_as<T, 1, Value, MiddleVolumeGradient>(stream, device,
                                                                       call);
    }
  }
  return launch_volume_twice_as<T, 1, SmallVolume, SmallVolumeGradient>(stream, device,
                                                                        call);
}

template <typename T, VolumeWork kWork>
cudaError_t launch_volume_of(cudaStream_t stream, const Device& device,
                             const Call& call) {
  constexpr bool kGradient = kWork == VolumeWork::kGradient;
  if (kGradient && has_room_for_derivatives<T>(call, 1)) {
    return launch_volume_twice<T>(stream, device, call);
  }
  const auto with = [&](auto shape) {
    using Shape = decltype(shape);
    return with_taps<T, Shape::kIsForCompiledWindow>(
        call, [&](auto taps, const Call& call) {
          return launch_volume_kernel<T, kWork, decltype(taps), Shape>(stream, device,
                                                                       call);
        });
  };
  const auto fits = [&](auto shape) {
    return VolumeLayout<T, kWork, decltype(shape)>::kBytes <= device.shared_bytes;
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
  if (!call.grad1) return launch_volume_of<T, VolumeWork::kMap>(stream, device, call);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (call.grad2 && has_room_for_derivatives<T>(call, 2) &&
        fits_twice<T, 2, OverlappingVolume, LargeVolumeGradient>(device)) {
      return launch_volume_twice_as<T, 2, OverlappingVolume, LargeVolumeGradient>(
          stream, device, call);
    }
  }
  Call first = call;
  first.grad2 = nullptr;
  const cudaError_t error =
      launch_volume_of<T, VolumeWork::kGradient>(stream, device, first);
  if (error != cudaSuccess || !call.grad2) return error;
  // SSIM is symmetric.
  Call second = call.swapped();
  second.loss = second.grad2 = nullptr;
  return launch_volume_of<T, VolumeWork::kGradient>(stream, device, second);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_LAUNCH_H_
