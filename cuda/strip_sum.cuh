// SSIM along strips: its sum, its map, or the maps of its two factors.
//
// A block walks down a strip of the virtual row (cuda/strip_job.h), two rows a step.
// A thread owns four neighbouring columns: it convolves s, d, s^2 and d^2 along the row
// for them, from shared memory, and down the columns in registers, where the partial
// sums of ten outputs wait (cuda/strip_filter.cuh). Nothing is computed twice, but for
// ten rows at the top of a range. Global traffic a pixel of float32: 8 bytes in, and 4
// out for a map. Arithmetic: 82 fused multiply-adds.
//
// Two warps a block because they meet at every step; four blocks on a multiprocessor
// because a thread needs some 240 registers.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_SUM_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_SUM_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/measure.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_centre.cuh"
#include "cuda/strip_error.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"
#include "cuda/strip_store.cuh"

namespace jax_fused_ssim::cuda {

template <typename Loader, int kMaps, bool kErrors, unsigned kTuning>
struct Outputs<SumStrip<Loader, kMaps, kErrors, kTuning>> {
  using Element = typename Loader::Element;
  using Job = StripJob<Element>;

  __device__ __forceinline__ static Element* at(const Job& job, int k) {
    return k == 0 ? job.map : job.luminance;
  }
  __device__ __forceinline__ static int64_t row_size(const Job& job) {
    return job.map_row_size;
  }
};

// Where the quad of the map goes that a thread stores: as the loader has it for the
// images, which may be wider.
template <typename Strip>
__device__ __forceinline__ Destination
map_destination(const StripJob<typename Strip::Loader::Element>& job,
                const Place& origin, int thread, int first_channel) {
  int pixel = kGroup * thread;  // of the strip's row
  int begin = 0;                // elements after that pixel
  bool of_one_pixel = false;
  if constexpr (Strip::Loader::kInterleaved) {
    of_one_pixel = job.parts > 1;
    pixel = of_one_pixel ? thread : thread / job.channels * kGroup;
    begin = of_one_pixel ? first_channel : thread % job.channels * kGroup;
  }
  const MapGroup at(job, origin, Strip::kBefore + pixel);
  Destination destination;
  destination.at = at.image * job.map_size + int64_t{at.column} * job.channels + begin;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const int ahead = !Strip::Loader::kInterleaved ? i : (begin + i) / job.channels;
    destination.exists[i] = pixel < kGroup * job.groups &&
                            at.holds(job, of_one_pixel ? 0 : ahead) &&
                            !(of_one_pixel && ahead > 0);
  }
  return destination;
}

template <typename Strip>
__global__ void __launch_bounds__(Strip::kBlockThreads, Strip::kBlocks)
    strip_sum_kernel(
        const __grid_constant__ StripJob<typename Strip::Loader::Element> job) {
#if __CUDA_ARCH__ >= 800
  using Loader = typename Strip::Loader;
  using Element = typename Loader::Element;
  constexpr int kMaps = Strip::kMaps;
  constexpr bool kHasMap = kMaps > 0;
  constexpr unsigned kTuning = Strip::kTuning;
  extern __shared__ __align__(16) unsigned char block_shared[];
  unsigned char* shared = block_shared;
  if constexpr ((kTuning & kHoldsShared) != 0) pin_shared(shared);
  float* const ring = reinterpret_cast<float*>(shared);
  float* const staged = reinterpret_cast<float*>(shared + Strip::kRingBytes);
  unsigned char* const copies = shared + Strip::kRingBytes + Strip::kStagedBytes;
  unsigned char* const kept = copies + Loader::kCopyBytes;
  int thread = threadIdx.x;
  if constexpr ((kTuning & kHoldsThread) != 0) pin(thread);
  const float* const reach =
      ring + Columns<Loader>::offset_of(job, thread) + Strip::kBefore - kRadius;

  Pieces<StripJob<Element>> pieces(job, blockIdx.x);
  const int first_channel = pieces.first_channel();
  const int group = Columns<Loader>::group_of(job, thread, first_channel);
  const int channel = first_channel + Columns<Loader>::channel_of(job, thread);
  Piece piece;
  while (pieces.next(job, piece)) {
    const Place origin =
        place_of(job, Strip::first_pixel(piece.strip, kGroup * job.groups));
    // The input row of output row 0 is centred on map_y.
    const int first_row = piece.begin + job.map_y - kRadius;
    const int steps =
        (piece.end - piece.begin + 2 * kRadius + kStepRows - 1) / kStepRows;

    __syncthreads();
    StripLoading<Strip> loading(job, ring, copies, kept, thread, origin, first_channel,
                                first_row, piece.end + job.map_y + kRadius);
    const Nothing no_weights;
    loading.begin(job, no_weights);
    wait_for_launch_before();
    Centre<float> centre =
        centre_of_map_group(job, origin, Strip::kBefore + kGroup * group, channel);
    if constexpr ((kTuning & kHoldsCentre) != 0) {
      pin(centre.s);
      pin(centre.d);
    }

    const MapGroup at(job, origin, Strip::kBefore + kGroup * group);
    float quanta[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      quanta[i] = group < job.groups && at.holds(job, i) ? kPixelQuanta : 0;
      if constexpr ((kTuning & kHoldsQuanta) != 0) pin(quanta[i]);
    }
    std::conditional_t<kHasMap, OutputStore<Strip>, Nothing> map_rows(
        job, staged, thread, map_destination<Strip>(job, origin, thread, first_channel),
        job.map_aligned, piece.begin, piece.end - piece.begin, -2 * kRadius);

    MomentsFilter filter;
    filter.clear();
    PixelSum sum;
    RowSpan out(-2 * kRadius, 0, piece.end - piece.begin);
    RingPosition<Strip::kSlots, Loader::kStepBytes> step_at(0);
    // The quads that the loading threads copy are those that a strip has for itself.
    const Quad quad = Columns<Loader>::quad(job, origin, 0, thread, first_channel);
    const bool own = kGroup * thread < kGroup * job.groups * job.part_channels;
    const bool last = piece.end == job.map_height;
    std::conditional_t<Strip::kErrors, StripErrors<false>, Nothing> errors(
        job, own && quad.count > 0 ? quad.image * job.channels : -1,
        [&](int i) {
          return i < quad.count ? static_cast<int>(quad.in_row + i) / job.channels : -1;
        },
        first_row, piece.begin == 0 ? 0 : piece.begin + job.map_y,
        last ? job.height : piece.end + job.map_y);
    loading.start(job, origin, [] { __syncthreads(); }, errors, no_weights);
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      __syncthreads();
      loading.copy(job, no_weights);
#pragma unroll
      for (int r = 0; r < kStepRows; ++r) {
        if constexpr (kHasMap) {
          if (r == 1) map_rows.store_last_step(job);
        }
        typename StripLoading<Strip>::Row row;
        loading.read(r, row);
        const float* const s_row =
            reinterpret_cast<const float*>(reinterpret_cast<const char*>(reach) +
                                           step_at.offset) +
            r * Loader::kRowFloats;
        float s[kReach], means[kMoments][kGroup];
        load_reach<Strip::kPast>(s_row, s);
        filter.push<Strip::kPast, (kTuning & kWritesLate) != 0>(
            s, s_row + Loader::kPitch, means,
            [&] { loading.write(job, r, row, errors, no_weights); });
        float maps[kHasMap ? kMaps : 1][kGroup];
#pragma unroll
        for (int i = 0; i < kGroup; ++i) {
          const Moments<float> m = {means[0][i], means[1][i], means[2][i], means[3][i]};
          const Terms<float> terms(m, centre, job.constants);
          if constexpr (kMaps == 2) {
            maps[0][i] = map_value(terms.half_of_contrast_structure(1.0f), 1.0f);
            maps[1][i] = map_value(terms.half_of_luminance(1.0f), 1.0f);
          } else if constexpr (kMaps == 1) {
            maps[0][i] = map_value(terms.half_dissimilarity(1.0f), 1.0f);
          } else {
            sum.add(i, terms, quanta[i]);
          }
        }
        if constexpr (kHasMap) {
          map_rows.put(job, r, maps);
        } else {
          sum.end_row(out.holds());
        }
        out.at += 1;
      }
      step_at.advance();
      if constexpr (kHasMap) map_rows.end_step();
    }
    wait_for_copies<0>();
    if constexpr (Strip::kStagedBytes > 0) {
      __syncthreads();
      map_rows.store_last_step(job);
    }
    if constexpr (!kHasMap) {
      const bool any = group < job.groups && at.holds_any(job);
      sum.flush(job.accumulators, any ? at.image * job.channels + channel : -1);
      if constexpr (Strip::kErrors) errors.flush(job.error_accumulators);
    }
  }
#endif
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_SUM_CUH_
