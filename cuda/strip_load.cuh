// From the images in global memory to s and d (common/formula.h) in shared memory, a
// step of kStepRows rows at a time, ahead of those who read them.
//
// Rows in shared memory are kept in a ring of steps. A row is the kPitch columns of s,
// then those of d: 4 for each of the strip's threads and a halo. The loading
// threads copy a step asynchronously while they compute, kAhead steps ahead, and form s
// and d one step ahead: once, and not in each of the threads that read a pixel.
//
// Columns and rows outside the image are copied as zeros.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kept.cuh"
#include "cuda/predicated.cuh"
#include "cuda/strip_centre.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_shape.h"
#include "cuda/strip_tuning.h"

namespace jax_fused_ssim::cuda {

// A place in a ring of kSlots slots of kBytes.
template <int kSlots, int kBytes>
struct RingPosition {
  int offset;

  __device__ __forceinline__ explicit RingPosition(int slot) : offset(slot * kBytes) {}
  __device__ __forceinline__ void advance() {
    offset += kBytes;
    offset = offset == kSlots * kBytes ? 0 : offset;
  }
};

// Element to float, four at a time from shared memory.
__device__ __forceinline__ void read4(const float* p, float (&v)[4]) {
  const float4 q = *reinterpret_cast<const float4*>(p);
  v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
}
__device__ __forceinline__ void read4(const __half* p, float (&v)[4]) {
  const uint2 q = *reinterpret_cast<const uint2*>(p);
  const float2 low = __half22float2(reinterpret_cast<const __half2&>(q.x));
  const float2 high = __half22float2(reinterpret_cast<const __half2&>(q.y));
  v[0] = low.x, v[1] = low.y, v[2] = high.x, v[3] = high.y;
}
__device__ __forceinline__ void read4(const __nv_bfloat16* p, float (&v)[4]) {
  const uint2 q = *reinterpret_cast<const uint2*>(p);
  v[0] = __uint_as_float(q.x << 16), v[1] = __uint_as_float(q.x & 0xffff0000u);
  v[2] = __uint_as_float(q.y << 16), v[3] = __uint_as_float(q.y & 0xffff0000u);
}

// Four integers that lie together. As the last bits of 2^23 each is a float at once.
__device__ __forceinline__ void read4(const uint8_t* p, float (&v)[4]) {
  const uint32_t q = *reinterpret_cast<const uint32_t*>(p);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] = __uint_as_float(__byte_perm(q, 0x4b000000u, 0x7440 + i)) - 0x1p23f;
  }
}

// A quad of either image in shared memory, where that of the second image, if its
// elements are smaller, lies at the beginning of the place for elements of the first.
template <typename Stored, typename Element>
__device__ __forceinline__ const Stored* stored_quad(const Element* place) {
  return reinterpret_cast<const Stored*>(place);
}
// An element of such a row; quads begin with elements whose number is a multiple of
// kGroup.
template <typename Stored, typename Element>
__device__ __forceinline__ float stored_element(const Element* row, int element) {
  const int in_quad = element % kGroup;
  return static_cast<float>(stored_quad<Stored>(row + element - in_quad)[in_quad]);
}

// A quad: up to kGroup neighbouring elements of a row, of which the first `count`
// exist.
struct Quad {
  int64_t image, in_row;
  int count;

  // `most` elements from the begin-th on of the kGroup pixels at `pixel` of a strip.
  template <typename Element>
  __device__ __forceinline__ Quad(const StripJob<Element>& job, const Place& strip,
                                  int pixel, int begin, int most) {
    const Place place = place_of(job, strip, pixel);
    image = place.image < 0 ? 0 : place.image;
    in_row = int64_t{place.column} * job.channels + begin;
    const int pixels = job.width - place.column;
    const int left = (pixels < kGroup ? pixels : kGroup) * job.channels - begin;
    count = place.image < 0 || left < 0 ? 0 : left < most ? left : most;
  }
};

// Where a thread copies a quad from, of both images.
template <typename Element, typename Second>
struct CopySource {
  static constexpr int kSize = sizeof(Element);
  static constexpr int kSize2 = sizeof(Second);
  static constexpr bool kMixed = kSize2 != kSize;

  const char* img1;
  // From img1 to the second image, as far as that is the same in every row.
  int64_t to_img2;
  const char* img2;
  int count;

  __device__ __forceinline__ CopySource(const StripJob<Element>& job, const Quad& quad,
                                        int row)
      : count(quad.count) {
    const ImageOffsets offset = image_offsets(job.leading, quad.image);
    const int64_t in_image = row * job.row_size + quad.in_row;
    img2 = reinterpret_cast<const char*>(job.img2) +
           (offset.of[kImg2] + in_image) * kSize2;
    img1 = reinterpret_cast<const char*>(job.img1 + offset.of[kImg1] + in_image);
    to_img2 = img2 - img1;
  }

  // By bytes of the first image.
  __device__ __forceinline__ void advance(int64_t bytes) {
    img1 += bytes;
    if constexpr (kMixed) img2 += bytes / (kSize / kSize2);
  }

  // kCount elements of either image, those of the second image_bytes after the others;
  // zeros unless they exist; nothing if not `on`. kAligned: as one, which exists as a
  // whole or not at all; otherwise one by one.
  template <int kCount, bool kAligned, CopyExtent kExtent>
  __device__ __forceinline__ void copy_if(bool on, uint32_t to, int image_bytes,
                                          bool exists) const {
    constexpr int kCopies = kAligned ? 1 : kCount;
    constexpr int kBytes = kCount / kCopies * kSize;
    constexpr int kBytes2 = kCount / kCopies * kSize2;
    const char* const second = kMixed ? img2 : img1 + to_img2;
    const int n = exists ? count : 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int elements = kAligned ? n : i < n ? 1 : 0;
      copy_async_if<kBytes, kExtent>(on, to + i * kBytes, img1 + i * kBytes,
                                     elements * kSize);
      copy_async_if<kBytes2, kExtent>(on, to + image_bytes + i * kBytes,
                                      second + i * kBytes2, elements * kSize2);
    }
  }
  template <int kCount, bool kAligned, CopyExtent kExtent>
  __device__ __forceinline__ void copy(uint32_t to, int image_bytes,
                                       bool exists) const {
    copy_if<kCount, kAligned, kExtent>(true, to, image_bytes, exists);
  }
};

// Where the same thread copies another quad of the step from. kKept: it is in shared
// memory, at `kept`, as the way there from the first one.
template <typename Element, typename Second, int kThreads, bool kKept>
class SecondSource {
 public:
  using Source = CopySource<Element, Second>;
  static_assert(!(kKept && Source::kMixed), "the way is one for both images");

  __device__ __forceinline__ SecondSource(const StripJob<Element>& job,
                                          const Quad& quad, int row,
                                          const Source& first, unsigned char* kept,
                                          int thread)
      : source_(job, quad, row), way_(reinterpret_cast<longlong2*>(kept) + thread) {
    if constexpr (kKept) {
      const int64_t way = source_.img1 - first.img1;
      *way_ = make_longlong2(way, way + source_.to_img2);
    }
  }

  // `first` is at the step that is copied.
  template <int kCount, bool kAligned, CopyExtent kExtent>
  __device__ __forceinline__ void copy_if(const Source& first, bool on, uint32_t to,
                                          int image_bytes, bool exists) const {
    Source source = source_;
    if constexpr (kKept) {
      const longlong2 way = *way_;
      source.img1 = first.img1 + way.x;
      source.to_img2 = way.y - way.x;
    }
    source.template copy_if<kCount, kAligned, kExtent>(on, to, image_bytes, exists);
  }
  __device__ __forceinline__ void advance(int64_t bytes) {
    if constexpr (!kKept) source_.advance(bytes);
  }

 private:
  Source source_;
  longlong2* const way_;
};

// What the elements of the second image stand for.
template <typename Loader, typename Job>
__device__ __forceinline__ float second_pixel(const Job& job, float element) {
  if constexpr (Loader::kMixed) {
    float pixel = integer_pixel(element, job.integer_scale[kImg2]);
    // Or the compiler would skip it where it is not needed, by a branch.
    pin(pixel);
    return pixel;
  } else {
    return element;
  }
}

// Bytes from one row to the next, of the first image.
template <unsigned kTuning, typename Element>
__device__ __forceinline__ int64_t row_bytes(const StripJob<Element>& job) {
  if constexpr ((kTuning & kReadsRowBytes) != 0) {
    return job.row_bytes;
  } else {
    return job.row_size * int64_t{sizeof(Element)};
  }
}

// Where a thread's columns lie among those of a row, and in which channel, and which
// elements of a row it copies.
template <typename Loader>
struct Columns;

// The loading thread of a strip whose ring has kSlots steps:
//     begin(job, weights)  sets the first copies under way; the weights', which may be
//                          Nothing, with the images'
//     start(job, strip, meet, watcher, weights)
//                          before the first step, whose rows are formed then; `meet` is
//                          the barrier of those who load
//     copy(job, weights)   in every step, after its barrier
//     read(r, row)         in row r of a step: of the next step's row what was copied,
//     write(job, r, row, watcher, weights)
//                          and s and d of that; in one of them also of the halo. The
//                          `watcher`, unless Nothing, sees the thread's own pixels
// Apart because a thread waits long for what it reads, and longer behind what others
// write: best is to ask for something else between the two.
//
// What it keeps in shared memory, KeptByLoading<>, is at `kept`.
// kOneCentre: both images have the same.
template <typename Loader, int kSlots, bool kOneCentre, unsigned kTuning>
class Loading;
template <typename Strip>
using StripLoading =
    Loading<typename Strip::Loader, Strip::kSlots, Strip::kErrors, Strip::kTuning>;

// What it keeps: what its pixels lose, and where it copies the halo from.
template <typename Loader, unsigned kTuning>
using KeptOffsets =
    Kept<Loader::kPairs, Loader::kThreads, (kTuning & kKeepsOffsets) != 0>;
template <typename Loader, unsigned kTuning>
using KeptHaloSource =
    SecondSource<typename Loader::Element, typename Loader::Second, Loader::kThreads,
                 (kTuning & kKeepsHaloSource) != 0>;

// All rows of a step at once.
template <typename Loading, typename Job, typename Watcher, typename Weights>
__device__ __forceinline__ void form_step(Loading& loading, const Job& job,
                                          Watcher& watcher, Weights& weights) {
#pragma unroll
  for (int r = 0; r < kStepRows; ++r) {
    typename Loading::Row row;
    loading.read(r, row);
    loading.write(job, r, row, watcher, weights);
  }
}

template <typename T>
constexpr bool kIsNothing = std::is_same_v<std::remove_const_t<T>, Nothing>;

// The weights' part of a copied step, and of one that is formed.
template <typename Weights, typename Job>
__device__ __forceinline__ void copy_weights(Weights& weights, const Job& job,
                                             const RowSpan& rows) {
  if constexpr (!kIsNothing<Weights>) weights.copy(job, rows);
}
template <typename Weights>
__device__ __forceinline__ void end_formed_step(Weights& weights) {
  if constexpr (Weights::kMasks) weights.advance_formed();
}

// Row by row, as they are formed: what was read, and its d.
template <typename Watcher, typename Job, typename Row>
__device__ __forceinline__ void show(Watcher& watcher, const Job& job, int r,
                                     const Row& row, const float (&d)[kGroup]) {
  if constexpr (!kIsNothing<Watcher>) watcher.see(job, r, row, d);
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_
