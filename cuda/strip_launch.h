// The host side of cuda/strip_sum.cuh and strip_grad.cuh: which of them, and from a
// call to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_H_
#define JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/halving.h"
#include "cuda/job.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/strip_job.h"
#include "cuda/strip_shape.h"
#include "cuda/strip_tuning.h"

namespace jax_fused_ssim::cuda {

// ---- Which kernel -------------------------------------------------------------------

// Threads of a strip, in one stage for gradients: two warps, which meet at every step;
// but four where channels are interleaved, among which a strip is divided, with columns
// to be computed twice in each.
constexpr int strip_threads(bool interleaved) { return interleaved ? 128 : 64; }

template <typename Strip_>
struct Kind {
  using Strip = Strip_;
};

// Calls `f` with the strip for what `call` wants. Copies are two steps ahead.
// Three are faster for floats that are formed in place; but one gradient would not fit
// the 99 KB of shared memory of compute capabilities 8.6, 8.9 and 12.0 then. Both
// gradients need 123 KB, and there are one step ahead. Floats of interleaved channels
// have no room for what else a kernel would have in shared memory, with two blocks in
// 100 KB and with both gradients in 163 KB.
template <typename Element, typename Second, bool kInterleaved, bool kAligned>
struct StripFor {
  template <int kAhead>
  using Loader = std::conditional_t<
      kInterleaved,
      InterleavedLoader<Element, Second, kAligned, strip_threads(true), kAhead>,
      PlanarLoader<Element, Second, kAligned, strip_threads(false), kAhead>>;
  static constexpr bool kInPlace = Loader<2>::kInPlace;
  static constexpr bool kLarge = kInterleaved && sizeof(Element) == 4;
  static constexpr int kMost = kInPlace ? 3 : 2;
  // kNot: choices of cuda/strip_tuning.h that are not made.
  template <int kGradients, bool kWeighted, int kAhead = kGradients == 1 ? 2 : kMost,
            unsigned kNot = 0>
  using Grad = GradStrip<
      Loader<kAhead>, kGradients, kWeighted ? Weighting::kCotangent : Weighting::kNone,
      false, grad_tuning(kGradients, kWeighted, kInterleaved, kDType<Element>) & ~kNot>;
  template <int kMaps, unsigned kNot = 0>
  using Sum = SumStrip<Loader<kMost>, kMaps, false,
                       sum_tuning(kMaps, kInterleaved, kDType<Element>) & ~kNot>;
  // With errors.
  static constexpr bool kBytes = Loader<2>::kMixed;
  using LossGrad = GradStrip<Loader<2>, 1, Weighting::kNone, true,
                             loss_grad_tuning(kInterleaved, kBytes, kDType<Element>)>;
  template <Weighting kWeighting>
  using WeightedLossGrad =
      GradStrip<Loader<2>, 1, kWeighting, true,
                weighted_loss_grad_tuning(kWeighting, kInterleaved, kBytes)>;
  using LossSum = SumStrip<Loader<kMost>, 0, true, loss_sum_tuning(kInterleaved)>;

  // With both images at half their size.
  using HalvingGrad =
      GradStrip<Loader<2>, 1, Weighting::kNone, false, kHalvingGradTuning, true>;

  template <typename F>
  static auto with(const Call& call, const Device& device, F f) {
    if constexpr (kInPlace && kAligned && !kInterleaved) {
      if (call.half[kImg1]) return f(Kind<HalvingGrad>());
    }
    const bool weighted = call.operand[kWeight] != nullptr;
    if (call.grad2) return weighted ? both<true>(device, f) : both<false>(device, f);
    if (!call.grad1 && !call.map) return sum(device, f);
    if (!call.grad1) return call.luminance ? f(Kind<Sum<2>>()) : f(Kind<Sum<1>>());
    return weighted ? f(Kind<Grad<1, true>>()) : f(Kind<Grad<1, false>>());
  }

  // Planar floats are faster with one weight read once, all others with it read twice.
  template <typename F>
  static auto with_weights(const Call& call, F f) {
    if (call.leaves_out()) return f(Kind<WeightedLossGrad<Weighting::kLeavesOut>>());
    if constexpr (!kInterleaved && !kBytes) {
      if (call.has_one_weight()) {
        return f(Kind<WeightedLossGrad<Weighting::kOneForBoth>>());
      }
    }
    return f(Kind<WeightedLossGrad<Weighting::kOneForEach>>());
  }

 private:
  template <bool kWeighted, typename F>
  static auto both(const Device& device, F f) {
    using Best = Grad<2, kWeighted>;
    if constexpr (kInPlace) {
      if (Best::kBytes > device.shared_bytes) return f(Kind<Grad<2, kWeighted, 1>>());
    }
    if constexpr (kLarge) {
      if (Best::kBytes > device.shared_bytes)
        return f(Kind<Grad<2, kWeighted, kMost, kTakesShared>>());
    }
    return f(Kind<Best>());
  }

  template <typename F>
  static auto sum(const Device& device, F f) {
    using Best = Sum<0>;
    if constexpr (kLarge) {
      constexpr int kReserved = 1024;  // of every block, which one alone may not have
      if (Best::kBlocks * (Best::kBytes + kReserved) > device.shared_bytes + kReserved)
        return f(Kind<Sum<0, kTakesShared>>());
    }
    return f(Kind<Best>());
  }
};

inline bool is_aligned(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

// Whether four neighbours are aligned wherever they are copied or stored: pixels, or of
// more than four interleaved channels these.
template <typename Element, typename Second>
bool fours_aligned(const Call& call) {
  const int64_t four = kGroup * sizeof(Element);
  const int64_t size = call.channels > kGroup ? call.channels : call.width;
  return size % kGroup == 0 && is_aligned(call.operand[kImg1], four) &&
         is_aligned(call.operand[kImg2], kGroup * sizeof(Second)) &&
         is_aligned(call.grad1, kGroup * sizeof(Gradient<Element>)) &&
         is_aligned(call.grad2, kGroup * sizeof(Gradient<Element>)) &&
         is_aligned(call.half[kImg1], kGroup / 2 * sizeof(float)) &&
         is_aligned(call.half[kImg2], kGroup / 2 * sizeof(float));
}

// `with_strip` with errors, which only aligned strips count: of floats the value and
// one gradient, of 2-byte elements the gradient, and of floats beside bytes the
// gradient. With weights, which all channels share, the gradient of floats.
template <typename Element, bool kInterleaved, typename F, typename Result>
Result with_loss_strip(const Call& call, Result none, F f) {
  constexpr bool kFloat = sizeof(Element) == 4;
  if (call.grad2 || call.pixels[kImg1] != Pixels::kOwn) return none;
  if (call.has_weights() &&
      (call.weight_channels != 1 || call.width % kGroup != 0 ||
       !is_aligned(call.operand[kErrorWeight], kGroup * sizeof(float)) ||
       (call.leaves_out() && !call.has_one_weight()))) {
    return none;
  }
  if (call.pixels[kImg2] == Pixels::kOwn && fours_aligned<Element, Element>(call)) {
    using Strips = StripFor<Element, Element, kInterleaved, true>;
    if (!call.has_weights() && call.grad1) return f(Kind<typename Strips::LossGrad>());
    if constexpr (kFloat) {
      if (!call.has_weights()) return f(Kind<typename Strips::LossSum>());
      if (call.grad1) return Strips::with_weights(call, f);
    }
  }
  if constexpr (kFloat) {
    if (call.pixels[kImg2] == Pixels::kU8 && call.grad1 &&
        fours_aligned<Element, uint8_t>(call)) {
      using Strips = StripFor<Element, uint8_t, kInterleaved, true>;
      if (call.has_weights()) return Strips::with_weights(call, f);
      return f(Kind<typename Strips::LossGrad>());
    }
  }
  return none;
}

// Calls `f` with the strip for the call, or returns `none` where there is none:
// elements of 2 bytes that are not aligned, and most calls with errors.
template <typename Element, typename F, typename Result>
Result with_strip(const Call& call, const Device& device, Result none, F f) {
  if (call.has_errors()) {
    return call.channels == 1 ? with_loss_strip<Element, false>(call, none, f)
                              : with_loss_strip<Element, true>(call, none, f);
  }
  const bool aligned = fours_aligned<Element, Element>(call);
  if (!aligned && (sizeof(Element) < 4 || call.half[kImg1])) return none;
  constexpr bool kUnaligned = sizeof(Element) < 4;  // not instantiated for those
  if (call.channels == 1) {
    if (aligned) return StripFor<Element, Element, false, true>::with(call, device, f);
    return StripFor<Element, Element, false, kUnaligned>::with(call, device, f);
  }
  if (aligned) return StripFor<Element, Element, true, true>::with(call, device, f);
  return StripFor<Element, Element, true, kUnaligned>::with(call, device, f);
}

// ---- How it is cut ------------------------------------------------------------------

// The strips that a kernel cuts a call into: cuda/strip_job.h.
struct Strips {
  int64_t pitch, rows, count;  // count: along the virtual row
  int groups, parts, part_channels;

  // From one image to the next: four aligned pixels of the gap are seen by windows of
  // one of the two alone, which have kRadius pixels of it each. A width that is aligned
  // to 32 bytes, the piece that memory is read in, gives a pitch that is.
  static int64_t pitch_of(int64_t width) {
    return (width + kRadius + kGroup - 1) / kGroup * kGroup + kHalfGap;
  }

  template <typename Strip>
  static Strips of(const Call& call) {
    Strips strips;
    const auto channels = static_cast<int>(call.channels);
    strips.part_channels = std::min(channels, kGroup);
    strips.parts = (channels + kGroup - 1) / kGroup;
    strips.groups = Strip::Loader::groups(strips.part_channels);
    strips.pitch = pitch_of(call.width);
    strips.rows = Strip::kWritesImage ? call.height : call.map_height();
    const int64_t pixels = (call.images - 1) * strips.pitch + call.width;
    strips.count = Strip::strips(pixels, kGroup * strips.groups);
    return strips;
  }
};

// Strips pay for ten or twenty rows before the first and for gaps, tiles for a halo on
// all sides, which costs about as much again as the pixels themselves; and a few tiles
// spread over the chip faster than a few strips. So few as were measured on an H100:
// docs/kernels.md.
template <typename Strip>
bool strips_are_best(const Call& call) {
  constexpr bool kHalfPrecision = sizeof(typename Strip::Loader::Element) == 2;
  constexpr bool kPlanarGradient = Strip::kWritesImage && !Strip::Loader::kInterleaved;
  constexpr int64_t kLeastPixels = kPlanarGradient ? kLeastGradientPixels
                                   : Strip::kWritesImage || kHalfPrecision ? 5 << 17
                                                                           : 1 << 20;
  const Strips strips = Strips::of<Strip>(call);
  const int64_t pixels = call.images * call.image_size();
  const int64_t computed = strips.parts * strips.count *
                           (strips.rows + Strip::kHaloRows) * kGroup * Strip::kThreads;
  return pixels >= kLeastPixels && computed <= 2 * pixels;
}

template <typename Element>
Fit strip_fit(const Call& call, const Device& device) {
  if (device.major < 8) return Fit::kImpossible;  // no asynchronous copies
  // Kernels of gradients have either sums or weights, but where they count errors.
  if (call.grad1 && !call.has_errors() &&
      (call.loss != nullptr) == (call.operand[kWeight] != nullptr)) {
    return Fit::kImpossible;
  }
  return with_strip<Element>(call, device, Fit::kImpossible, [&](auto kind) {
    using Strip = typename decltype(kind)::Strip;
    if (Strip::kBytes > device.shared_bytes) return Fit::kImpossible;
    return strips_are_best<Strip>(call) ? Fit::kBest : Fit::kPossible;
  });
}

// ---- Launch -------------------------------------------------------------------------

template <typename Element>
cudaError_t launch_prepare(cudaStream_t stream, const Device& device,
                           const StripJob<Element>& job) {
  constexpr int kThreads = 128;
  constexpr int64_t kMostBlocks = 1 << 20;
  const int64_t blocks = (job.images * job.channels * 32 + kThreads - 1) / kThreads;
  const Grid grid = {std::min(blocks, kMostBlocks), kThreads};
  return launch(stream, device, false, prepare_kernel<Element>, grid, job);
}

template <typename Strip>
cudaError_t launch_strip_kernel(cudaStream_t stream, const Device& device,
                                const Call& call) {
  using Element = typename Strip::Loader::Element;
  const Strips strips = Strips::of<Strip>(call);

  StripJob<Element> job(call);
  job.centres = static_cast<float2*>(call.centres());
  job.images = call.images;
  job.pitch = Divisor(static_cast<int>(strips.pitch));
  job.row_size = call.width * call.channels;
  job.row_bytes = job.row_size * sizeof(Element);
  job.image_size = call.image_size();
  job.map_row_size = call.map_width() * call.channels;
  job.map_size = call.map_size();
  job.height = static_cast<int>(call.height);
  job.width = static_cast<int>(call.width);
  job.channels = static_cast<int>(call.channels);
  job.map_height = static_cast<int>(call.map_height());
  job.map_width = static_cast<int>(call.map_width());
  job.map_aligned =
      is_aligned(job.map, kGroup * sizeof(Element)) &&
      is_aligned(job.luminance, kGroup * sizeof(Element)) &&
      (call.channels > kGroup ? call.channels % kGroup == 0
                              : job.map_x == 0 && call.width % kGroup == 0);
  job.parts = strips.parts;
  job.part_channels = strips.part_channels;
  job.groups = strips.groups;
  if constexpr (Strip::Loader::kInterleaved) {
    job.segment = Strip::Loader::segment(job.groups);
  }
  constexpr int kUnit = Strip::kRowUnit;
  job.rows = strips.rows / kUnit;
  if (strips.count * strips.rows == 0) return cudaSuccess;
  job.cut = cut_of(strips.count, job.rows, strips.parts, Strip::kHaloRows / kUnit,
                   int64_t{device.multiprocessors} * Strip::kBlocks * Strip::kStrips);
  job.half = static_cast<float*>(call.half[kImg1]);
  job.half_to_second =
      static_cast<char*>(call.half[kImg2]) - static_cast<char*>(call.half[kImg1]);
  job.half_row_bytes = job.row_bytes / 2;

  const cudaError_t error = launch_prepare(stream, device, job);
  if (error != cudaSuccess) return error;

  const Grid grid = {(job.cut.ranges * job.parts + Strip::kStrips - 1) / Strip::kStrips,
                     Strip::kBlockThreads, Strip::kBytes};
  return launch(stream, device, true, Strip::kernel(), grid, job);
}

template <typename Element>
cudaError_t launch_strip(cudaStream_t stream, const Device& device, const Call& call) {
  return with_strip<Element>(call, device, cudaErrorInvalidValue, [&](auto kind) {
    return launch_strip_kernel<typename decltype(kind)::Strip>(stream, device, call);
  });
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_H_
