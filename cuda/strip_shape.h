// What the host knows of the strip kernels: how columns, rows and shared memory of a
// strip follow from the window's radius, the loader and the op.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_SHAPE_H_
#define JAX_FUSED_SSIM_CUDA_STRIP_SHAPE_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/host_device.h"
#include "common/measure.h"
#include "common/window.h"
#include "cuda/element.h"
#include "cuda/strip_tuning.h"

namespace jax_fused_ssim::cuda {

template <typename Element>
struct StripJob;

constexpr int kGroup = 4;                     // columns a thread owns
constexpr int kReach = kGroup + 2 * kRadius;  // columns it reads for them

constexpr int whole_groups(int columns) {
  return (columns + kGroup - 1) / kGroup * kGroup;
}

// Rows from one barrier to the next.
constexpr int kStepRows = 2;

// Half of the gap between two images: pixels that the windows of one of them see, in
// whole groups.
constexpr int kHalfGap = whole_groups(kRadius);
static_assert(kHalfGap == 8, "");

// Columns of a row behind those of the strip's threads: what the last of these reads on
// either side, from up to kHalfGap - kRadius columns on.
constexpr int kHalo = whole_groups(kHalfGap - kRadius + kReach - kGroup);
static_assert(kHalo == 16, "");

// ---- Loaders: cuda/strip_load_*.cuh -----------------------------------------------

// One channel. Every thread copies four columns of both images, and the first warp the
// halo. kAligned: four neighbours may be copied at once; otherwise they are floats and
// copied one by one. Floats become s and d in place, in the ring; smaller elements are
// copied to a ring of their own first.
template <typename Element_, typename Second_, bool kAligned, int kThreads_,
          int kAhead_>
class PlanarLoader {
 public:
  using Element = Element_;
  using Second = Second_;  // the elements of the second image
  static constexpr bool kMixed = !std::is_same_v<Element, Second>;
  static_assert(kAligned || !kMixed, "bytes are copied by fours");
  static constexpr bool kVectors = kAligned;
  static constexpr bool kInterleaved = false;
  static constexpr bool kMeetsAtStart = false;
  static constexpr int kPairs = 2;  // of offsets
  static constexpr int kThreads = kThreads_;
  static constexpr int kAhead = kAhead_;
  static constexpr bool kInPlace = std::is_same_v<Element, float>;
  static_assert(kAligned || kInPlace, "copies are of 4 bytes at least");
  static_assert(kThreads % 32 == 0, "");

  static constexpr int kPitch = kGroup * kThreads + kHalo;
  static constexpr int kRowFloats = 2 * kPitch;
  static constexpr int kStepBytes = kStepRows * kRowFloats * int(sizeof(float));
  // Steps that the ring must hold from the one being computed on.
  static constexpr int kStepsAhead = kInPlace ? kAhead : 1;
  static constexpr int kStepsCopiedAhead = kAhead;

  static constexpr int kCopyRow = 2 * kPitch;  // elements
  static constexpr int kCopyStepBytes =
      kInPlace ? kStepBytes : kStepRows * kCopyRow * int(sizeof(Element));
  static constexpr int kCopyBytes = kInPlace ? 0 : kAhead * kCopyStepBytes;

  // Groups of columns that a strip has of each channel.
  static constexpr int groups(int) { return kThreads; }
};

// Up to kMaxChannels channels of those that are interleaved in memory. In shared memory
// a row has a segment for each, kGroup columns for each of the channel's share of the
// threads and a halo; a remainder of threads computes columns that nobody reads. Rows
// are copied as they are to a ring of their own and then dealt out to the segments, a
// quad of kGroup elements a thread. What is more than a quad a thread is copied by the
// quad but dealt out by the element, so by others, a step after those have waited; of
// both rows of a step together, each thread has one element at most.
template <typename Element_, typename Second_, bool kAligned, int kThreads_,
          int kAhead_>
class InterleavedLoader {
 public:
  using Element = Element_;
  using Second = Second_;  // the elements of the second image
  static constexpr bool kMixed = !std::is_same_v<Element, Second>;
  static_assert(kAligned || !kMixed, "bytes are copied by fours");
  static constexpr bool kVectors = kAligned;
  static constexpr bool kInterleaved = true;
  static constexpr bool kMeetsAtStart = true;
  static constexpr int kPairs = kGroup + 1;  // of offsets
  static constexpr bool kInPlace = false;    // dealt out to another ring
  static constexpr int kThreads = kThreads_;
  static constexpr int kAhead = kAhead_;
  static constexpr int kMaxChannels = 4;
  static_assert(kAligned || sizeof(Element) == 4, "copies are of 4 bytes at least");
  static_assert(kMaxChannels == kGroup, "a pixel of a part is a quad");

  static constexpr int kPitch = kGroup * kThreads + kHalo * (kMaxChannels + 1);
  static constexpr int kRowFloats = 2 * kPitch;
  static constexpr int kStepBytes = kStepRows * kRowFloats * int(sizeof(float));
  static constexpr int kStepsAhead = 1;
  static constexpr int kStepsCopiedAhead = kAhead + 1;

  static constexpr int kCopyRow = 2 * kPitch;  // elements
  static constexpr int kCopyStepBytes = kStepRows * kCopyRow * int(sizeof(Element));
  static constexpr int kCopyBytes = (kAhead + 1) * kCopyStepBytes;

  static constexpr int groups(int part_channels) { return kThreads / part_channels; }

  // Floats from one segment to the next, for job.segment. Eight threads read 128 bytes
  // at a time: where they lie in two segments, these are as far apart as if there were
  // one.
  static constexpr int segment(int groups) {
    return kGroup * groups + (groups % 8 == 0 ? kHalo : 2 * kHalo);
  }
};

// How many quads hold so many pairs of floats: cuda/kept.cuh.
constexpr int kept_quads(int pairs) { return (pairs + 1) / 2; }

// Bytes of shared memory for what the loading threads of a strip have no registers for:
// what their pixels lose, and where they copy the halo from.
template <typename Loader, unsigned kTuning>
struct KeptByLoading {
  static constexpr int kOffsetBytes =
      (kTuning & kKeepsOffsets) != 0
          ? kept_quads(Loader::kPairs) * Loader::kThreads * int(sizeof(float4))
          : 0;
  static constexpr int kHaloBytes =
      (kTuning & kKeepsHaloSource) != 0 ? Loader::kThreads * int(sizeof(longlong2)) : 0;
  static constexpr int kBytes = kOffsetBytes + kHaloBytes;
};

// ---- Strips: cuda/strip_sum.cuh, strip_grad.cuh ------------------------------------

// Strip::kStagedBytes of a strip with outputs: two steps.
template <typename Loader, int kOutputs>
constexpr int kStagedBytesFor =
    Loader::kInterleaved
        ? 2 * kStepRows * kOutputs * Loader::kPitch * int(sizeof(float))
        : 0;

template <typename Strip>
__global__ void strip_sum_kernel(
    const __grid_constant__ StripJob<typename Strip::Loader::Element> job);

// kMaps: none, but the sum; the map; or those of its two factors. kTuning:
// cuda/strip_tuning.h.
template <typename Loader_, int kMaps_, bool kErrors_, unsigned kTuning_>
struct SumStrip {
  using Loader = Loader_;
  static constexpr int kMaps = kMaps_;
  static constexpr bool kErrors = kErrors_;
  static_assert(kMaps == 0 || !kErrors, "errors are counted with sums");
  static constexpr int kThreads = Loader::kThreads;
  static constexpr int kBlockThreads = kThreads;
  static constexpr int kBlocks = 256 / kThreads;  // on a multiprocessor
  static constexpr int kStrips = 1;               // of a block
  static constexpr int kSlots = 1 + Loader::kStepsAhead;
  static constexpr unsigned kTuning = kTuning_;
  static constexpr int kRingBytes = kSlots * Loader::kStepBytes;

  // For cuda/strip_store.cuh.
  using Output = typename Loader::Element;
  static constexpr int kOutputs = kMaps;
  static constexpr bool kSingly = true;
  static constexpr int kStagedBytes = kStagedBytesFor<Loader, kOutputs>;

  static constexpr int kBytes = kRingBytes + kStagedBytes + Loader::kCopyBytes +
                                KeptByLoading<Loader, kTuning>::kBytes;
  static_assert(kBytes % alignof(float4) == 0, "what is kept is read by fours");

  // Pixels of a strip's row before the first one it computes. Sums: so many that the
  // window's reach is aligned for wide loads. Maps: so many that stores are.
  static constexpr int kBefore = kMaps > 0 ? kHalfGap : kRadius;
  static constexpr int kPast = kBefore - kRadius;

  static constexpr bool kWritesImage = false;
  static constexpr int kHaloRows = 2 * kRadius;  // that are computed twice
  static constexpr int kRowUnit = 1;             // of which ranges have whole ones

  // A strip has `columns` of a channel; its row begins at this pixel of the virtual
  // row.
  static JFS_HOST_DEVICE int64_t first_pixel(int64_t strip, int columns) {
    return strip * columns - kHalfGap;
  }
  // Strips for the first `pixels` of the virtual row: whose maps, or with errors whose
  // own columns, have them all.
  static int64_t strips(int64_t pixels, int columns) {
    const int before = kErrors ? 0 : kBefore;
    return (pixels + kHalfGap - before + columns - 1) / columns;
  }
  static auto kernel() { return strip_sum_kernel<SumStrip>; }
};

template <typename Strip>
__global__ void strip_grad_kernel(
    const __grid_constant__ StripJob<typename Strip::Loader::Element> job);

// How a strip lies in shared memory, and where its columns are. Pixels are counted from
// the first of the strip's row: stage 1 has the 4 of group g from kMapAt + 4 g on, for
// which it reads from kRadius before; stage 2 has those from kOutAt + 4 g on, of all
// groups but the last kLost. kTuning: cuda/strip_tuning.h.
template <typename Loader_, int kGradients_, Weighting kWeighting_, bool kErrors_,
          unsigned kTuning_, bool kHalves_ = false>
struct GradStrip {
  using Loader = Loader_;
  static constexpr int kGradients = kGradients_;
  static constexpr Weighting kWeighting = kWeighting_;
  static constexpr bool kErrors = kErrors_;
  static constexpr bool kSums = kWeighting != Weighting::kCotangent;
  static constexpr bool kLossWeights = kSums && kWeighting != Weighting::kNone;
  static_assert(kSums || !kErrors, "errors are counted with sums");
  static_assert(kErrors || !kLossWeights, "a loss with weights has errors");
  // Whether it writes both images at half their size: cuda/strip_halve.cuh.
  static constexpr bool kHalves = kHalves_;
  static constexpr int kThreads = Loader::kThreads;  // of a stage
  static constexpr int kStrips = 128 / kThreads;     // of a block
  static constexpr int kBlockThreads = 2 * 128;
  static constexpr int kBlocks = 1;  // on a multiprocessor

  static constexpr int kOutAt = whole_groups(2 * kRadius);
  static constexpr int kMapAt = kOutAt - kRadius;
  static constexpr int kPast = (kMapAt - kRadius) % 4;
  static constexpr int kLost = whole_groups(2 * kRadius) / kGroup;
  // The map pixels that a strip counts are those of the groups from kFirstCounted on,
  // as many as it has of the gradient: they begin kCountedBefore pixels before these.
  static constexpr int kFirstCounted = kRadius / kGroup;
  static constexpr int kCountedBefore = kRadius % kGroup;
  static_assert(kOutAt == 12 && kMapAt == 7 && kLost == 3, "");
  static_assert(kFirstCounted == 1 && kCountedBefore == 1, "");
  static constexpr bool kWritesImage = true;
  static constexpr int kHaloRows = 4 * kRadius;
  static constexpr int kRowUnit = kHalves ? 2 : 1;

  // Stage 2 takes the derivatives a step late. It needs s and d of the row 2 kRadius
  // above: for one gradient it has the registers to read them a step early, before that
  // row is copied over, for two it has not and the ring has one more step, if that
  // fits.
  static constexpr bool kReadsOwnEarly = kGradients == 1 || Loader::kAhead == 1;
  static constexpr int kStepsBehind =
      1 + 2 * kRadius / kStepRows + (kReadsOwnEarly ? 0 : 1);
  static constexpr int kSlots = Loader::kStepsAhead + kStepsBehind;
  static constexpr int kRingBytes = kSlots * Loader::kStepBytes;

  // Derivatives: two steps of rows, and at the end of a row zeros for what lies above
  // and below the map.
  using Maps = DerivativeMaps<kGradients>;
  static constexpr int kMaps = Maps::kCount;
  static constexpr int kZeros = whole_groups(kReach);
  static constexpr int kMapPitch = Loader::kPitch + kZeros;
  static constexpr int kMapRow = kMaps * kMapPitch;
  static constexpr int kMapStep = kStepRows * kMapRow;
  static constexpr int kMapBytes = 2 * kMapStep * int(sizeof(float));

  static constexpr unsigned kTuning = kTuning_;

  // Weights of a loss: a ring of steps, from the one that is copied to the one whose
  // gradient is computed.
  static constexpr int kWeightGroups = 64;  // of a channel, at most
  static constexpr int kWeightRowBytes =
      (kGroup * kWeightGroups + kHalo) * int(sizeof(float));
  static constexpr int kWeightStepBytes = kStepRows * kWeightRowBytes;
  static constexpr int kWeightSlots =
      Loader::kStepsCopiedAhead + kStepsBehind + (kReadsOwnEarly ? 1 : 0);
  static constexpr int kWeightBytes =
      kLossWeights ? kWeightSlots * kWeightStepBytes : 0;

  // For cuda/strip_store.cuh.
  using Output = Gradient<typename Loader::Element>;
  static constexpr int kOutputs = kGradients;
  static constexpr bool kSingly = !Loader::kVectors;
  static constexpr int kStagedBytes = kStagedBytesFor<Loader, kOutputs>;

  static constexpr int kStripBytes =
      kRingBytes + kMapBytes + kStagedBytes + Loader::kCopyBytes +
      KeptByLoading<Loader, kTuning>::kBytes + kWeightBytes;
  static constexpr int kBytes = kStrips * kStripBytes;
  static_assert(kStripBytes % alignof(float4) == 0, "what is kept is read by fours");

  // A strip has `columns` of a channel; its row begins at this pixel of the virtual
  // row.
  static JFS_HOST_DEVICE int64_t first_pixel(int64_t strip, int columns) {
    return strip * (columns - kGroup * kLost) - kOutAt;
  }
  // Strips for the first `pixels` of the virtual row.
  static int64_t strips(int64_t pixels, int columns) {
    const int own = columns - kGroup * kLost;
    return (pixels + kCountedBefore + own - 1) / own;
  }
  static auto kernel() { return strip_grad_kernel<GradStrip>; }
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_SHAPE_H_
