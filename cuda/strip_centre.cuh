// What comes before a strip kernel: the centres of all planes (cuda/centre.cuh), and
// accumulators that are clear.
//
// A launch of its own, although a few loads of a block would do: whatever stands beside
// the row loops of cuda/strip_*.cuh costs them registers. It overlaps with the strips'
// own beginning (cuda/overlap.cuh).

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_CENTRE_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_CENTRE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/plane_sum.h"
#include "common/window.h"
#include "cuda/centre.cuh"
#include "cuda/leading.cuh"
#include "cuda/overlap.cuh"
#include "cuda/strip_job.cuh"

namespace jax_fused_ssim::cuda {

// A warp for each plane.
template <typename Element>
__global__ void prepare_kernel(const __grid_constant__ StripJob<Element> job) {
  let_next_launch_begin();
  const int64_t planes = job.images * job.channels;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  for (int64_t plane =
           (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
       plane < planes; plane += warps) {
    uint64_t image = static_cast<uint64_t>(plane);
    const int64_t channel = take_index(image, job.channels);
    const ImageOffsets at = image_offsets(job.leading, static_cast<int64_t>(image));
    const float sample =
        load_sample<true>(job, at.of[kImg1] + channel, at.of[kImg2] + channel);
    const bool one = job.error_accumulators != nullptr;
    bool counts = true;
    if (job.error_weight) {  // which all channels share
      const float* const of_image = job.error_weight + at.of[kErrorWeight];
      counts = load(of_image + sampled_pixel(job)) > 0;
    }
    const float2 centres =
        centres_of_samples<CompiledWindow<float>>(sample, job.constants, one, counts);
    if (threadIdx.x % 32 == 0) {
      job.centres[plane] = centres;
      if (job.accumulators) job.accumulators[plane] = {};
      if (job.error_accumulators) job.error_accumulators[plane] = {};
    }
  }
}

// The centres for a channel of the image that is `nth` after the one that a strip's row
// begins in. There may be no such image or channel, and then no pixel that needs them.
template <typename Element>
__device__ __forceinline__ float2 centres_of(const StripJob<Element>& job,
                                             const Place& strip, int nth, int channel) {
  const int64_t image = strip.image + nth, last = job.images - 1;
  const int64_t exists = image < 0 ? 0 : image < last ? image : last;
  const int within = channel < job.channels ? channel : job.channels - 1;
  // Past the first cache: the launch before has written them while this one ran.
  return __ldcg(job.centres + exists * job.channels + within);
}

// What a pixel of the row loses: of the image whose windows see it. Half of a gap
// belongs to the one before it.
template <typename Element>
__device__ __forceinline__ float2 offsets_of_pixel(const StripJob<Element>& job,
                                                   const Place& strip, int pixel,
                                                   int channel) {
  const int nth = job.pitch.divide(strip.column + pixel + kHalfGap);
  return offsets_of<float, CompiledWindow<float>>(centres_of(job, strip, nth, channel));
}

// The centre for the map pixels that a MapGroup of this pixel holds.
template <typename Element>
__device__ __forceinline__ Centre<float> centre_of_map_group(
    const StripJob<Element>& job, const Place& strip, int pixel, int channel) {
  const int nth = job.pitch.divide(strip.column + pixel + kGroup - 1);
  return centre_of<float>(centres_of(job, strip, nth, channel));
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_CENTRE_CUH_
