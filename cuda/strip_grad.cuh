// Gradients of the sum of SSIM along strips, weighted or not, and the sum itself, in
// one pass.
//
// A block walks down one or two strips of the virtual row (cuda/strip_job.h), two
// rows a step. Half of its threads are in stage 1: they compute the map, add it up, and
// leave its derivatives in shared memory, as strip_sum.cuh does for the value. The
// other half are in stage 2, a step behind: they convolve the derivatives in the same
// way and write the gradient of the pixel ten rows above the newest input, which the
// ring still holds; and they load the images. Each stage has a pipe's worth of partial
// sums in registers (160, and 120 or 160), which one thread could not hold for both;
// and the two keep a multiprocessor's quarters busy together, one warp of each on each.
//
// Global traffic a pixel of float32: 8 bytes in, 4 out for each gradient, 4 in for a
// weight. Arithmetic: 143 fused multiply-adds, 164 for both gradients. Computed
// twice: 12 columns of a strip, and 20 rows at the top of a range.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_GRAD_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_GRAD_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/formula.h"
#include "common/measure.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_centre.cuh"
#include "cuda/strip_error.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_halve.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"
#include "cuda/strip_store.cuh"
#include "cuda/strip_weight.cuh"

namespace jax_fused_ssim::cuda {

template <typename Loader, int kGradients, Weighting kWeighting, bool kErrors,
          unsigned kTuning, bool kHalves>
struct Outputs<GradStrip<Loader, kGradients, kWeighting, kErrors, kTuning, kHalves>> {
  using Job = StripJob<typename Loader::Element>;

  __device__ __forceinline__ static Gradient<typename Loader::Element>* at(
      const Job& job, int k) {
    return k == 0 ? job.grad1 : job.grad2;
  }
  __device__ __forceinline__ static int64_t row_size(const Job& job) {
    return job.row_size;
  }
};

// A step's barrier, of the two stages of a strip. They come to it from different
// instructions, which the aligned form, bar.sync, does not allow.
template <typename Strip>
__device__ __forceinline__ void meet(int strip) {
  asm volatile("barrier.sync %0, %1;" ::"r"(1 + strip), "n"(2 * Strip::kThreads)
               : "memory");
}

// What both stages know about the piece that they work on.
template <typename Strip>
struct GradPiece {
  float* ring;
  float* maps;
  float* staged;
  unsigned char* copies;
  unsigned char* kept;
  unsigned char* weights;
  int strip;   // of the block
  int thread;  // of the stage
  int group, channel, offset;
  int first_channel;
  Place origin;    // of the strip's row
  int begin, end;  // rows of the gradient
  int first_row;   // of the input
  int steps;

  // The row that stage 1 completes the map for first in step 0, and stage 2 the
  // gradient.
  __device__ __forceinline__ int first_map_row() const { return first_row - kRadius; }
  __device__ __forceinline__ int first_gradient_row() const {
    return first_row - 2 * kRadius - kStepRows;
  }
};

// Denominators of what lies beside the map: their approximate reciprocal is exactly 0,
// and so is all that follows.
constexpr float kOutsideMap = 3e38f;

// Steps before the first whose derivatives a gradient of the piece needs.
constexpr int kWarmUp = 1 + 2 * kRadius / kStepRows;

// Where the quad goes that the thread stores.
template <typename Strip>
__device__ __forceinline__ Destination gradient_destination(
    const StripJob<typename Strip::Loader::Element>& job, const GradPiece<Strip>& p) {
  const Quad quad = Columns<typename Strip::Loader>::quad(job, p.origin, Strip::kOutAt,
                                                          p.thread, p.first_channel);
  const bool any = p.thread < (job.groups - Strip::kLost) * job.part_channels;
  Destination destination;
  destination.at = quad.image * job.image_size + quad.in_row;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) destination.exists[i] = any && i < quad.count;
  return destination;
}

template <typename Strip>
__device__ __forceinline__ void stage1(
    const StripJob<typename Strip::Loader::Element>& job, const GradPiece<Strip>& p) {
  using Loader = typename Strip::Loader;
  constexpr Weighting kWeighting = Strip::kWeighting;
  constexpr bool kWeights = Strip::kLossWeights;
  const MapGroup at(job, p.origin, Strip::kMapAt + kGroup * p.group);
  // Where a loss has weights, these are 0 outside of the map.
  float c1[kGroup], c2[kGroup];
#pragma unroll
  for (int i = 0; i < kGroup && !kWeights; ++i) {
    const bool exists = p.group < job.groups && at.holds(job, i);
    c1[i] = exists ? job.constants.two_c1 : kOutsideMap;
    c2[i] = exists ? job.constants.two_c2 : kOutsideMap;
    pin(c1[i]);
    pin(c2[i]);
  }
  // Each map pixel counts in one strip.
  const int counted_group = p.group - Strip::kFirstCounted;
  const bool counted = counted_group >= 0 && counted_group < job.groups - Strip::kLost;
  float quanta = counted ? kPixelQuanta : 0;
  if constexpr (kWeights) quanta *= scale_of<kWeightUnit>(job, at.image);
  pin(quanta);
  const int count_begin = p.begin > job.map_y ? p.begin : job.map_y;
  const int map_end = job.map_y + job.map_height;
  RowSpan rows(p.first_map_row(), count_begin, p.end < map_end ? p.end : map_end);

  constexpr bool kOwnWeights =
      kWeighting == Weighting::kCotangent || kWeighting == Weighting::kOneForEach;
  constexpr bool kInRing = kWeights && !kOwnWeights;
  constexpr bool kScaled = kWeighting == Weighting::kLeavesOut;
  const int first_map_row = p.first_map_row() - job.map_y;
  std::conditional_t<kOwnWeights, MapWeights<Loader, kWeights>, Nothing> own_weights(
      job, job.weight, kWeight, first_map_row, p.group, p.channel, at);
  std::conditional_t<kScaled, MapWeights<Loader, true>, Nothing> mean_scales(
      job, job.mean_scale, kMeanScale, first_map_row, p.group, p.channel, at);
  std::conditional_t<kInRing, RingMapWeights<Strip>, Nothing> ring_weights(
      job, p.weights, p.group, at);

  MomentsFilter filter;
  filter.clear();
  PixelSum sum;
  RingPosition<Strip::kSlots, Loader::kStepBytes> step_at(0);
  RingPosition<2, Strip::kMapStep* int(sizeof(float))> map_at(0);
  const char* const reach =
      reinterpret_cast<const char*>(p.ring + p.offset + Strip::kMapAt - kRadius);
  char* const maps = reinterpret_cast<char*>(p.maps + p.offset);

  wait_for_launch_before();
  Centre<float> centre =
      centre_of_map_group(job, p.origin, Strip::kMapAt + kGroup * p.group, p.channel);
  if constexpr ((Strip::kTuning & kHoldsCentre) != 0) {
    pin(centre.s);
    pin(centre.d);
  }
  if constexpr (Loader::kMeetsAtStart) meet<Strip>(p.strip);
#pragma unroll 1
  for (int step = 0; step < p.steps; ++step) {
    meet<Strip>(p.strip);
    const auto row = [&](int r) {
      return reinterpret_cast<const float*>(reach + step_at.offset) +
             r * Loader::kRowFloats;
    };
    float s[kReach];
    load_reach<Strip::kPast>(row(0), s);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      float means[kMoments][kGroup];
      filter.push<Strip::kPast, false>(s, row(r) + Loader::kPitch, means, Nothing());

      float in_ring[kGroup];
      if constexpr (kInRing) ring_weights.read(r, in_ring);
      const auto weight = [&]() -> const float (&)[kGroup] {
        if constexpr (kOwnWeights) {
          return own_weights.at(r);
        } else {
          return in_ring;
        }
      };
      float v[Strip::kMaps][kGroup];
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        Moments<float> m = {means[0][i], means[1][i], means[2][i], means[3][i]};
        if constexpr (kScaled) {
          const float scale = mean_scales.at(r)[i];
          m = {m.s * scale, m.d * scale, m.ss * scale, m.dd * scale};
        }
        const Constants<float> c = {0, 0, kWeights ? job.constants.two_c1 : c1[i],
                                    kWeights ? job.constants.two_c2 : c2[i]};
        const Terms<float> terms(m, centre, c);
        if constexpr (kWeights) {
          sum.add(i, terms, quanta, weight()[i]);
        } else if constexpr (Strip::kSums) {
          sum.add(i, terms, quanta);
        }
        if constexpr (kScaled) in_ring[i] *= mean_scales.at(r)[i];
        float maps[Strip::kMaps];
        Strip::Maps::at_pixel(m, terms, 1.0f, maps);
#pragma unroll
        for (int k = 0; k < Strip::kMaps; ++k) v[k][i] = maps[k];
      }
      if constexpr (Strip::kSums) {
        sum.end_row(rows.holds());
        rows.at += 1;
      }
      float* const to =
          reinterpret_cast<float*>(maps + map_at.offset) + r * Strip::kMapRow;
      if constexpr (kWeighting != Weighting::kNone) weigh<kWeights>(weight(), v);
      if constexpr (kOwnWeights) own_weights.read(job, r);
      if constexpr (kScaled) mean_scales.read(job, r);
      // Before the stores, which it would wait for.
      if (r + 1 < kStepRows) load_reach<Strip::kPast>(row(r + 1), s);
#pragma unroll
      for (int k = 0; k < Strip::kMaps; ++k)
        store_group(to + k * Strip::kMapPitch, v[k]);
    }
    step_at.advance();
    map_at.advance();
    if constexpr (kInRing) ring_weights.advance();
  }
  if constexpr (Strip::kStagedBytes > 0) meet<Strip>(p.strip);
  if constexpr (Strip::kSums) {
    const bool any = counted && at.holds_any(job);
    sum.flush(job.accumulators, any ? at.image * job.channels + p.channel : -1);
  }
}

template <typename Strip>
__device__ __forceinline__ void stage2(
    const StripJob<typename Strip::Loader::Element>& job, const GradPiece<Strip>& p) {
  using Loader = typename Strip::Loader;
  StripLoading<Strip> loading(job, p.ring, p.copies, p.kept, p.thread, p.origin,
                              p.first_channel, p.first_row, p.end + 2 * kRadius);
  constexpr bool kWeights = Strip::kLossWeights;
  std::conditional_t<kWeights, StripWeights<Strip>, Nothing> weights(
      job, p.weights, p.thread, p.group, p.origin, p.first_row);
  loading.begin(job, weights);
  wait_for_launch_before();

  const int first_row = p.first_gradient_row() + kWarmUp * kStepRows;
  OutputStore<Strip> gradients(job, p.staged, p.thread, gradient_destination(job, p),
                               true, p.begin, p.end - p.begin, first_row - p.begin);
  RowSpan map_rows(first_row + kRadius, job.map_y, job.map_y + job.map_height);

  RingPosition<Strip::kSlots, Loader::kStepBytes> own_at(0);
  RingPosition<2, Strip::kMapStep* int(sizeof(float))> map_at(1 - kWarmUp % 2);
  const char* const own =
      reinterpret_cast<const char*>(p.ring + p.offset + Strip::kOutAt);
  const char* const maps = reinterpret_cast<const char*>(p.maps);
  const int zeros = Loader::kPitch;

  float s[kStepRows][kGroup], d[kStepRows][kGroup];
  const auto read_own = [&](int r) {
    const float* const from =
        reinterpret_cast<const float*>(own + own_at.offset) + r * Loader::kRowFloats;
    read4(from, s[r]);
    read4(from + Loader::kPitch, d[r]);
  };

  const Place at = place_of(job, p.origin, Strip::kOutAt + kGroup * p.group);
  const bool any = p.group < job.groups - Strip::kLost && at.image >= 0;
  std::conditional_t<Strip::kErrors, StripErrors<kWeights>, Nothing> errors(
      job, any ? at.image * job.channels + p.channel : -1,
      [&](int i) { return at.column + i; }, first_row, p.begin, p.end);

  GradientFactors<float> factors = {};
  float unit = 1;
  if constexpr (kWeights) {
    unit = scale_of<kWeightUnit>(job, at.image);
    factors = job.gradient_factors.times(scale_of<kMapScale>(job, at.image) * unit,
                                         scale_of<kErrorScale>(job, at.image));
    pin(unit);
  }

  ColumnFilter filters[Strip::kMaps];
#pragma unroll
  for (int k = 0; k < Strip::kMaps; ++k) filters[k].clear();

  std::conditional_t<Strip::kHalves, StripHalves, Nothing> halves(
      job, Columns<Loader>::quad(job, p.origin, 0, p.thread, p.first_channel),
      p.thread >= Strip::kLost, p.first_row, p.begin, p.end);
  loading.start(job, p.origin, [&] { meet<Strip>(p.strip); }, halves, weights);
#pragma unroll 1
  for (int step = 0; step < kWarmUp; ++step) {
    meet<Strip>(p.strip);
    loading.copy(job, weights);
    form_step(loading, job, halves, weights);
  }
  if constexpr (Strip::kReadsOwnEarly) {
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) read_own(r);
    own_at.advance();
  }

  const auto map_row = [&](int r) {
    return reinterpret_cast<const float*>(maps + map_at.offset) + r * Strip::kMapRow +
           (map_rows.holds(r) ? p.offset : zeros);
  };
  constexpr bool kEarly = (Strip::kTuning & kBeginsRowsEarly) != 0;
  typename StripLoading<Strip>::Row row;
  float first[kReach];  // of the first map
  const auto begin_row = [&](int r) {
    loading.read(r, row);
    load_reach<0>(map_row(r), first);
  };
#pragma unroll 1
  for (int step = kWarmUp; step < p.steps; ++step) {
    meet<Strip>(p.strip);
    loading.copy(job, weights);
    for_rows_of_step<kEarly>([&](auto row_of_step) {
      const int r = row_of_step;
      if (r == 1) gradients.store_last_step(job);
      if (r == 0 || !kEarly) begin_row(r);
      loading.write(job, r, row, halves, weights);
      float weight[kGroup] = {};
      if constexpr (kWeights) {
        weights.read(r, weight);
#pragma unroll
        for (int i = 0; i < kGroup; ++i) weight[i] *= unit;
      }
      float e[Strip::kMaps][kGroup];
      filters[0].push_reach(Strip::Maps::window(0), first, e[0]);
#pragma unroll
      for (int k = 1; k < Strip::kMaps; ++k) {
        float reach[kReach];
        load_reach<0>(map_row(r) + k * Strip::kMapPitch, reach);
        filters[k].push_reach(Strip::Maps::window(k), reach, e[k]);
      }
      if constexpr (!Strip::kReadsOwnEarly) read_own(r);
      float counted[kGroup] = {};
      if constexpr (Strip::kErrors) errors.count(r, d[r], counted);
      if constexpr (kWeights) {
#pragma unroll
        for (int i = 0; i < kGroup; ++i) {
          counted[i] = where_positive(weight[i], counted[i]);
        }
      }
      if constexpr (Strip::kErrors) errors.add(counted, weight);
      float g[Strip::kGradients][kGroup];
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        float means[Strip::kMaps], of_pixel[Strip::kGradients];
#pragma unroll
        for (int k = 0; k < Strip::kMaps; ++k) means[k] = e[k][i];
        Strip::Maps::template gradients<Strip::kErrors, kWeights>(
            means, s[r][i], d[r][i], counted[i], weight[i],
            kWeights ? factors : job.gradient_factors, of_pixel);
#pragma unroll
        for (int k = 0; k < Strip::kGradients; ++k) {
          g[k][i] = of_pixel[k];
          if constexpr (Strip::kWeighting == Weighting::kLeavesOut) {
            g[k][i] = where_positive(weight[i], g[k][i]);
          }
        }
      }
      if constexpr (Strip::kReadsOwnEarly) read_own(r);
      if (kEarly && r + 1 < kStepRows) begin_row(r + 1);
      gradients.put(job, r, g);
    });
    gradients.end_step();
    if constexpr (Strip::kErrors) errors.advance(kStepRows);
    map_rows.at += kStepRows;
    own_at.advance();
    map_at.advance();
    if constexpr (kWeights) weights.advance();
  }
  wait_for_copies<0>();
  if constexpr (Strip::kStagedBytes > 0) {
    meet<Strip>(p.strip);
    gradients.store_last_step(job);
  }
  if constexpr (Strip::kErrors) errors.flush(job.error_accumulators);
}

template <typename Strip>
__global__ void __launch_bounds__(Strip::kBlockThreads, Strip::kBlocks)
    strip_grad_kernel(
        const __grid_constant__ StripJob<typename Strip::Loader::Element> job) {
#if __CUDA_ARCH__ >= 800
  using Loader = typename Strip::Loader;
  extern __shared__ __align__(16) unsigned char block_shared[];
  constexpr int kThreads = Strip::kThreads;
  constexpr int kStageThreads = Strip::kBlockThreads / 2;
  const int in_stage = threadIdx.x % kStageThreads;
  const bool second = threadIdx.x >= kStageThreads;

  GradPiece<Strip> p;
  // The stages of a strip are on different quarters of the multiprocessor: what one
  // waits for then does not hold up the other.
  p.strip = (in_stage / kThreads + (second ? Strip::kStrips / 2 : 0)) % Strip::kStrips;
  p.thread = in_stage % kThreads;
  if constexpr ((Strip::kTuning & kHoldsThread) != 0) pin(p.thread);
  p.offset = Columns<Loader>::offset_of(job, p.thread);
  unsigned char* mine = block_shared + p.strip * Strip::kStripBytes;
  if constexpr ((Strip::kTuning & kHoldsShared) != 0) pin_shared(mine);
  p.ring = reinterpret_cast<float*>(mine);
  p.maps = reinterpret_cast<float*>(mine + Strip::kRingBytes);
  p.staged = reinterpret_cast<float*>(mine + Strip::kRingBytes + Strip::kMapBytes);
  p.copies = mine + Strip::kRingBytes + Strip::kMapBytes + Strip::kStagedBytes;
  p.kept = p.copies + Loader::kCopyBytes;
  p.weights = p.kept + KeptByLoading<Loader, Strip::kTuning>::kBytes;

  if (!second) {
    constexpr int kRows = 2 * kStepRows * Strip::kMaps;
    for (int i = p.thread; i < kRows * Strip::kZeros; i += kThreads) {
      p.maps[i / Strip::kZeros * Strip::kMapPitch + Loader::kPitch +
             i % Strip::kZeros] = 0;
    }
  }

  Pieces<StripJob<typename Loader::Element>> pieces(
      job, static_cast<int64_t>(blockIdx.x) * Strip::kStrips + p.strip);
  p.first_channel = pieces.first_channel();
  p.group = Columns<Loader>::group_of(job, p.thread, p.first_channel);
  p.channel = p.first_channel + Columns<Loader>::channel_of(job, p.thread);
  Piece piece;
  while (pieces.next(job, piece)) {
    p.origin = place_of(job, Strip::first_pixel(piece.strip, kGroup * job.groups));
    p.begin = Strip::kRowUnit * piece.begin;
    p.end = Strip::kRowUnit * piece.end;
    p.first_row = p.begin - 2 * kRadius;
    p.steps = (p.end - p.begin + 4 * kRadius + kStepRows - 1) / kStepRows + 1;
    meet<Strip>(p.strip);
    if (!second) {
      stage1(job, p);
    } else {
      stage2(job, p);
    }
  }
#endif
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_GRAD_CUH_
