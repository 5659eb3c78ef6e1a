// The host side of cuda/strip_sum.cuh and strip_grad.cuh: which of them, and from a
// request to a launch.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_CUH_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/request.h"
#include "cuda/strip_grad.cuh"
#include "cuda/strip_sum.cuh"

namespace jax_fused_ssim::cuda {

// ---- Which kernel
// ----------------------------------------------------------------------

// Threads of a strip, in one stage for gradients: two warps, which meet at every step;
// but four for gradients of interleaved channels, among which a strip is divided, with
// columns to be computed twice in each. Steps that the copies are ahead: two, but one
// where shared memory is short, so that all but both gradients against a cotangent fit
// the 99 KB of compute capabilities 8.6, 8.9 and 12.0 when channels come first.
constexpr int strip_threads(int gradients, bool interleaved) {
  return gradients > 0 && interleaved ? 128 : 64;
}
constexpr int copies_ahead(int gradients, bool cotangent, bool interleaved) {
  return gradients + cotangent <= 1 && !interleaved ? 2 : 1;
}

template <typename Strip_>
struct Kind {
  using Strip = Strip_;
};

// Calls `f` with the strip for the op that `request` is.
template <typename Element, bool kInterleaved, bool kAligned>
struct Strips {
  template <int kGradients, bool kCotangent>
  using Loader = std::conditional_t<
      kInterleaved,
      InterleavedLoader<Element, kAligned, strip_threads(kGradients, true),
                        copies_ahead(kGradients, kCotangent, true)>,
      PlanarLoader<Element, kAligned, strip_threads(kGradients, false),
                   copies_ahead(kGradients, kCotangent, false)>>;
  template <int kGradients, bool kCotangent>
  using Grad = Kind<GradStrip<Loader<kGradients, kCotangent>, kGradients, kCotangent>>;
  template <bool kMap>
  using Sum = Kind<SumStrip<Loader<0, false>, kMap>>;

  template <typename F>
  static auto with(const Request& request, F f) {
    const bool cotangent = request.cotangent != nullptr;
    if (request.grad2) return cotangent ? f(Grad<2, true>()) : f(Grad<2, false>());
    if (request.grad1) return cotangent ? f(Grad<1, true>()) : f(Grad<1, false>());
    return request.map ? f(Sum<true>()) : f(Sum<false>());
  }
};

inline bool is_aligned(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

// Whether four neighbouring pixels are aligned wherever they are copied or stored.
template <typename Element>
bool fours_aligned(const Request& request) {
  const int64_t four = kGroup * sizeof(Element);
  return request.problem.width % kGroup == 0 && is_aligned(request.img1, four) &&
         is_aligned(request.img2, four) &&
         is_aligned(request.grad1, kGroup * sizeof(float)) &&
         is_aligned(request.grad2, kGroup * sizeof(float));
}

// Calls `f` with the strip for the request, or returns `none` where there is none: more
// than 4 interleaved channels, and elements of 2 bytes in rows that are not aligned.
template <typename Element, typename F, typename Result>
Result with_strip(const Request& request, Result none, F f) {
  const bool aligned = fours_aligned<Element>(request);
  if (request.problem.channels > 4 || (!aligned && sizeof(Element) < 4)) return none;
  constexpr bool kUnaligned = sizeof(Element) < 4;  // not instantiated for those
  if (request.problem.channels == 1) {
    if (aligned) return Strips<Element, false, true>::with(request, f);
    return Strips<Element, false, kUnaligned>::with(request, f);
  }
  if (aligned) return Strips<Element, true, true>::with(request, f);
  return Strips<Element, true, kUnaligned>::with(request, f);
}

// ---- How it is cut
// ----------------------------------------------------------------------

struct StripCut {
  int64_t pitch, rows, strips;
  int groups;

  template <typename Strip>
  static StripCut of(const Problem& problem) {
    StripCut cut;
    cut.groups = Strip::Loader::groups(problem.channels);
    cut.pitch = (problem.width + Strip::kGap + kGroup - 1) / kGroup * kGroup;
    cut.rows = Strip::kWritesImage ? problem.height : problem.map_height();
    cut.strips = Strip::strips((problem.images - 1) * cut.pitch + problem.width,
                               kGroup * cut.groups);
    return cut;
  }
};

// Strips pay for ten or twenty rows before the first and for gaps, tiles for a halo on
// all sides, which costs about as much again as the pixels themselves; and a few tiles
// spread over the chip faster than a few strips.
template <typename Strip>
bool strips_are_best(const Problem& problem) {
  constexpr int64_t kLeastPixels = 1 << 20;
  const StripCut cut = StripCut::of<Strip>(problem);
  const int64_t pixels = problem.images * problem.image_size();
  const int64_t computed =
      cut.strips * (cut.rows + Strip::kHaloRows) * kGroup * Strip::kThreads;
  return pixels >= kLeastPixels && computed <= 2 * pixels;
}

template <typename Element>
Fit strip_fit(const Request& request, const Device& device) {
  if (device.major < 8) return Fit::kImpossible;  // no asynchronous copies
  const Problem& problem = request.problem;
  return with_strip<Element>(request, Fit::kImpossible, [&](auto kind) {
    using Strip = typename decltype(kind)::Strip;
    if (Strip::kBytes > device.shared_bytes) return Fit::kImpossible;
    return strips_are_best<Strip>(problem) ? Fit::kBest : Fit::kPossible;
  });
}

// ---- Launch
// -----------------------------------------------------------------------------

template <typename Strip>
cudaError_t launch_strip_kernel(cudaStream_t stream, const Request& request,
                                const Device& device) {
  using Element = typename Strip::Loader::Element;
  const Problem& problem = request.problem;
  const StripCut cut = StripCut::of<Strip>(problem);

  StripJob<Element> job;
  job.img1 = static_cast<const Element*>(request.img1);
  job.img2 = static_cast<const Element*>(request.img2);
  job.cotangent = static_cast<const Element*>(request.cotangent);
  job.accumulators = request.accumulators;
  job.map = static_cast<Element*>(request.map);
  job.grad1 = static_cast<float*>(request.grad1);
  job.grad2 = static_cast<float*>(request.grad2);
  job.leading = in_elements(problem);
  job.images = problem.images;
  job.pitch = cut.pitch;
  job.row_size = problem.width * problem.channels;
  job.image_size = problem.image_size();
  job.map_row_size = problem.map_width() * problem.channels;
  job.map_size = problem.map_size();
  job.height = static_cast<int>(problem.height);
  job.width = static_cast<int>(problem.width);
  job.channels = static_cast<int>(problem.channels);
  job.map_height = static_cast<int>(problem.map_height());
  job.map_width = static_cast<int>(problem.map_width());
  job.map_y = kRadius - problem.pad_y;
  job.map_x = kRadius - problem.pad_x;
  job.map_aligned = job.map_x == 0 && problem.width % kGroup == 0 &&
                    is_aligned(job.map, kGroup * sizeof(Element));
  job.groups = cut.groups;
  job.rows = cut.rows;
  job.work = cut.strips * cut.rows;
  job.constants = constants<float>(problem.data_range, problem.k1, problem.k2);
  const double scale = request.cotangent ? 1 : problem.scale;
  job.gradient_factor =
      static_cast<float>(scale * kDerivativeScale / problem.data_range);
  if (job.work == 0) return cudaSuccess;

  // As many blocks as run at a time, unless that leaves each too little to do.
  constexpr int64_t kLeastRows = 4;
  const int64_t resident = int64_t{device.multiprocessors} * Strip::kBlocks;
  const int64_t useful = (job.work / kLeastRows + Strip::kStrips - 1) / Strip::kStrips;
  const int64_t blocks = std::max<int64_t>(1, std::min(resident, useful));
  job.ranges = blocks * Strip::kStrips;

  const auto kernel = Strip::kernel();
  if (Strip::kBytes > 48 * 1024) {
    // Held by the current device's context, so it is set each time.
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Strip::kBytes);
    if (error != cudaSuccess) return error;
  }
  kernel<<<static_cast<unsigned int>(blocks), Strip::kBlockThreads, Strip::kBytes,
           stream>>>(job);
  return cudaGetLastError();
}

template <typename Element>
cudaError_t launch_strip(cudaStream_t stream, const Request& request,
                         const Device& device) {
  return with_strip<Element>(request, cudaErrorInvalidValue, [&](auto kind) {
    return launch_strip_kernel<typename decltype(kind)::Strip>(stream, request, device);
  });
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LAUNCH_CUH_
