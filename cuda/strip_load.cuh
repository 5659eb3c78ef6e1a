// From the images in global memory to s and d (common/formula.h) in shared memory, a
// step of kStepRows rows at a time, ahead of those who read them.
//
// Rows in shared memory are kept in a ring of steps. A row is the kPitch columns of s,
// then those of d: 4 for each of the strip's threads and a halo of 16. The loading
// threads copy a step asynchronously while they compute, kAhead steps ahead, and form s
// and d one step ahead: once, and not in each of the threads that read a pixel.
//
// Columns and rows outside the image are copied as zeros.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/formula.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"

namespace jax_fused_ssim::cuda {

constexpr int kHalo = 16;

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

// Neighbouring elements of a row: the first `count` of some exist.
struct Unit {
  int64_t image, in_row;
  int count;

  // `most` elements from the begin-th on of the kGroup pixels at `pixel` of a strip.
  template <typename Element>
  __device__ __forceinline__ Unit(const StripJob<Element>& job, const Place& strip,
                                  int pixel, int begin, int most) {
    const Place place = place_of(job, strip, pixel);
    image = place.image < 0 ? 0 : place.image;
    in_row = int64_t{place.column} * job.channels + begin;
    const int pixels = job.width - place.column;
    const int left = (pixels < kGroup ? pixels : kGroup) * job.channels - begin;
    count = place.image < 0 || left < 0 ? 0 : left < most ? left : most;
  }
};

// Where a thread copies a unit from, of both images.
template <typename Element>
struct CopySource {
  static constexpr int kSize = sizeof(Element);

  const char* img1;
  int64_t to_img2;
  int count;

  __device__ __forceinline__ CopySource(const StripJob<Element>& job, const Unit& unit,
                                        int row)
      : count(unit.count) {
    const ImageOffsets offset = image_offsets(job.leading, unit.image);
    const int64_t in_image = row * job.row_size + unit.in_row;
    const char* const img2 =
        reinterpret_cast<const char*>(job.img2 + offset.img2 + in_image);
    img1 = reinterpret_cast<const char*>(job.img1 + offset.img1 + in_image);
    to_img2 = img2 - img1;
  }

  __device__ __forceinline__ void advance(const StripJob<Element>& job, int rows) {
    img1 += rows * job.row_size * kSize;
  }

  // kCount elements of either image, those of the second image_bytes after the others;
  // zeros unless they exist. kAligned: as one, otherwise one by one.
  template <int kCount, bool kAligned>
  __device__ __forceinline__ void copy(uint32_t to, int image_bytes,
                                       bool exists) const {
    const int n = exists ? count : 0;
    if constexpr (kAligned) {
      copy_async<kCount * kSize>(to, img1, n * kSize);
      copy_async<kCount * kSize>(to + image_bytes, img1 + to_img2, n * kSize);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int bytes = i < n ? kSize : 0;
        copy_async<kSize>(to + i * kSize, img1 + i * kSize, bytes);
        copy_async<kSize>(to + image_bytes + i * kSize, img1 + to_img2 + i * kSize,
                          bytes);
      }
    }
  }
  template <int kCount, bool kAligned>
  __device__ __forceinline__ void copy_if(bool on, uint32_t to, int image_bytes,
                                          bool exists) const {
    const int n = exists ? count : 0;
    if constexpr (kAligned) {
      copy_async_if<kCount * kSize>(on, to, img1, n * kSize);
      copy_async_if<kCount * kSize>(on, to + image_bytes, img1 + to_img2, n * kSize);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int bytes = i < n ? kSize : 0;
        copy_async_if<kSize>(on, to + i * kSize, img1 + i * kSize, bytes);
        copy_async_if<kSize>(on, to + image_bytes + i * kSize,
                             img1 + to_img2 + i * kSize, bytes);
      }
    }
  }
};

// The loading thread of a strip whose ring has kSlots steps.
template <typename Loader, int kSlots>
class Loading;

// One channel. Every thread copies four columns of both images, and the first warp the
// halo. kAligned: four neighbours may be copied at once; otherwise they are floats and
// copied one by one. Floats become s and d in place, in the ring; smaller elements are
// copied to a ring of their own first.
template <typename Element_, bool kAligned, int kThreads_, int kAhead_>
class PlanarLoader {
 public:
  using Element = Element_;
  static constexpr bool kVectors = kAligned;
  static constexpr bool kInterleaved = false;
  static constexpr bool kMeetsAtStart = false;
  static constexpr int kThreads = kThreads_;
  static constexpr int kAhead = kAhead_;
  static constexpr bool kInPlace = std::is_same_v<Element, float>;
  static_assert(kAligned || kInPlace, "copies are of 4 bytes at least");
  static_assert(kThreads % 32 == 0, "");

  static constexpr int kPitch = kGroup * kThreads + kHalo;
  static constexpr int kRowFloats = 2 * kPitch;
  static constexpr int kStepFloats = kStepRows * kRowFloats;
  static constexpr int kStepBytes = kStepFloats * int(sizeof(float));
  // Steps that the ring must hold from the one being computed on.
  static constexpr int kStepsAhead = kInPlace ? kAhead : 1;

  static constexpr int kCopyRow = 2 * kPitch;  // elements
  static constexpr int kCopyStepBytes =
      kInPlace ? kStepBytes : kStepRows * kCopyRow * int(sizeof(Element));
  static constexpr int kCopyBytes = kInPlace ? 0 : kAhead * kCopyStepBytes;

  // Groups of columns that a strip has of each channel.
  static constexpr int groups(int) { return kThreads; }

  // Where a thread's columns lie among those of a row, and in which channel.
  __device__ __forceinline__ static int group_of(const StripJob<Element>&, int thread,
                                                 int) {
    return thread;
  }
  __device__ __forceinline__ static int channel_of(const StripJob<Element>&, int) {
    return 0;
  }
  __device__ __forceinline__ static int offset_of(const StripJob<Element>&,
                                                  int thread) {
    return kGroup * thread;
  }
};

template <typename Element, bool kAligned, int kThreads, int kAhead, int kSlots>
class Loading<PlanarLoader<Element, kAligned, kThreads, kAhead>, kSlots> {
 public:
  using Loader = PlanarLoader<Element, kAligned, kThreads, kAhead>;

  // The strip's row begins at `strip`, its first step at image row `row`.
  // Rows from `end` on are not needed.
  __device__ __forceinline__ Loading(const StripJob<Element>& job, float* ring,
                                     unsigned char* copies, int thread,
                                     const Place& strip, int /*first_channel*/, int row,
                                     int end)
      : ring_(reinterpret_cast<unsigned char*>(ring)),
        copies_(Loader::kInPlace ? ring_ : copies),
        thread_(thread),
        rows_(row, row < 0 ? 0 : row, end < job.height ? end : job.height),
        from_(job, Unit(job, strip, kGroup * thread, 0, kGroup), row),
        halo_from_(job, Unit(job, strip, halo_copy_column(), 0, kHaloCopy),
                   row + halo_copy_row()) {}

  // Before the first step: its rows are formed, the others under way. `meet` is the
  // barrier of those who load.
  template <typename Meet>
  __device__ __forceinline__ void start(const StripJob<Element>& job, const Meet&) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) copy(job);
    form(job);
  }

  // In every step, after the barrier.
  __device__ __forceinline__ void copy(const StripJob<Element>& job) {
    const uint32_t to = shared_address(copies_) + copy_at_.offset;
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const bool exists = rows_.holds(r);
      from_.template copy<kGroup, kAligned>(
          to + r * kCopyRowBytes + kGroup * thread_ * kSize, kImageBytes, exists);
      from_.advance(job, 1);
    }
    copy_halo(to, rows_.holds(halo_copy_row()));
    halo_from_.advance(job, kStepRows);
    rows_.at += kStepRows;
    commit_copies();
    copy_at_.advance();
  }

  // In every step: s and d of the next.
  __device__ __forceinline__ void form(const StripJob<Element>& job) {
    wait_for_copies<kAhead - 1>();
    if constexpr (!Loader::kInPlace) __syncwarp();
    const unsigned char* const copy = copies_ + read_offset();
    float* const to = reinterpret_cast<float*>(ring_ + form_at_.offset);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const Element* const row = reinterpret_cast<const Element*>(copy) +
                                 r * Loader::kCopyRow + kGroup * thread_;
      float x[kGroup], y[kGroup], s[kGroup], d[kGroup];
      read4(row, x);
      read4(row + Loader::kPitch, y);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const auto v = sum_difference(x[i], y[i], job.constants.inv_range);
        s[i] = v.s;
        d[i] = v.d;
      }
      store_group(to + r * Loader::kRowFloats + kGroup * thread_, s);
      store_group(to + r * Loader::kRowFloats + Loader::kPitch + kGroup * thread_, d);
    }
    form_halo(job, copy, to);
    form_at_.advance();
    if constexpr (!Loader::kInPlace) read_at_.advance();
  }

 private:
  static constexpr int kSize = sizeof(Element);
  static constexpr int kCopyRowBytes = Loader::kCopyRow * kSize;
  static constexpr int kImageBytes = Loader::kPitch * kSize;
  static constexpr int kCopySlots = Loader::kInPlace ? kSlots : kAhead;

  // The halo's columns from one copy: elements under 4 bytes are copied by the group.
  // Its two rows are shared out among the first threads of the first warp; each of its
  // columns is formed by one thread of that warp.
  static constexpr int kHaloCopy = kSize < 4 ? kGroup : 1;
  static constexpr int kHaloCopies = kHalo / kHaloCopy;
  static_assert(kHalo * kStepRows <= 32, "what one lane copies others read");

  __device__ __forceinline__ int halo_copy_row() const {
    return thread_ / kHaloCopies % kStepRows;
  }
  __device__ __forceinline__ int halo_copy_column() const {
    return kGroup * kThreads + thread_ % kHaloCopies * kHaloCopy;
  }
  __device__ __forceinline__ int halo_row() const {
    return thread_ / kHalo % kStepRows;
  }
  __device__ __forceinline__ int halo_column() const {
    return kGroup * kThreads + thread_ % kHalo;
  }

  __device__ __forceinline__ void copy_halo(uint32_t to, bool exists) {
    const bool on = thread_ < kHaloCopies * kStepRows;
    to += halo_copy_row() * kCopyRowBytes + halo_copy_column() * kSize;
    halo_from_.template copy_if<kHaloCopy, true>(on, to, kImageBytes, exists);
  }

  __device__ __forceinline__ void form_halo(const StripJob<Element>& job,
                                            const unsigned char* copy, float* to) {
    const bool on = thread_ < kHalo * kStepRows;
    const uint32_t at =
        shared_address(to) +
        (halo_row() * Loader::kRowFloats + halo_column()) * int(sizeof(float));
    constexpr int kToD = Loader::kPitch * int(sizeof(float));
    float x, y;
    if constexpr (Loader::kInPlace) {
      x = load_shared_if(on, at);
      y = load_shared_if(on, at + kToD);
    } else {
      // Others read what they copied themselves, which needs no barrier.
      const Element* const from =
          reinterpret_cast<const Element*>(copy) +
          (on ? halo_row() * Loader::kCopyRow + halo_column() : kGroup * thread_);
      x = static_cast<float>(from[0]);
      y = static_cast<float>(from[Loader::kPitch]);
    }
    const auto v = sum_difference(x, y, job.constants.inv_range);
    store_shared_if(on, at, v.s);
    store_shared_if(on, at + kToD, v.d);
  }

  __device__ __forceinline__ int read_offset() const {
    return Loader::kInPlace ? form_at_.offset : read_at_.offset;
  }

  unsigned char* const ring_;
  unsigned char* const copies_;
  const int thread_;
  RowSpan rows_;
  CopySource<Element> from_, halo_from_;
  RingPosition<kCopySlots, Loader::kCopyStepBytes> copy_at_{0}, read_at_{0};
  RingPosition<kSlots, Loader::kStepBytes> form_at_{0};
};

// Up to kMaxChannels channels of those that are interleaved in memory. In shared memory
// a row has a segment for each, kGroup columns for each of the channel's share of the
// threads and a halo; a remainder of threads computes columns that nobody reads. Rows
// are copied as they are to a ring of their own and then dealt out to the segments, a
// unit of kGroup elements a thread. What is more than a unit a thread is copied by the
// unit but dealt out by the element, so by others: a step after those have waited.
template <typename Element_, bool kAligned, int kThreads_, int kAhead_>
class InterleavedLoader {
 public:
  using Element = Element_;
  static constexpr bool kVectors = kAligned;
  static constexpr bool kInterleaved = true;
  static constexpr bool kMeetsAtStart = true;
  static constexpr int kThreads = kThreads_;
  static constexpr int kAhead = kAhead_;
  static constexpr int kMaxChannels = 4;
  static_assert(kAligned || sizeof(Element) == 4, "copies are of 4 bytes at least");
  static_assert(kMaxChannels == kGroup, "a pixel of a part is a unit");
  static_assert(kHalo * kMaxChannels <= kThreads, "a thread deals out one more");

  static constexpr int kPitch = kGroup * kThreads + kHalo * kMaxChannels;
  static constexpr int kRowFloats = 2 * kPitch;
  static constexpr int kStepFloats = kStepRows * kRowFloats;
  static constexpr int kStepBytes = kStepFloats * int(sizeof(float));
  static constexpr int kStepsAhead = 1;

  static constexpr int kCopyRow = 2 * kPitch;  // elements
  static constexpr int kCopyStepBytes = kStepRows * kCopyRow * int(sizeof(Element));
  static constexpr int kCopyBytes = (kAhead + 1) * kCopyStepBytes;

  static constexpr int groups(int part_channels) { return kThreads / part_channels; }

  // job.groups for a thread that has nothing to do in a strip with these channels.
  __device__ __forceinline__ static int group_of(const StripJob<Element>& job,
                                                 int thread, int first_channel) {
    const int left = job.channels - first_channel;
    const int channels = left < job.part_channels ? left : job.part_channels;
    return thread < job.groups * channels ? thread % job.groups : job.groups;
  }
  __device__ __forceinline__ static int channel_of(const StripJob<Element>& job,
                                                   int thread) {
    return thread / job.groups;
  }
  // Where an element of a row, counted from its first pixel, has its place in a
  // segment.
  __device__ __forceinline__ static int place_in_row(const StripJob<Element>& job,
                                                     int element) {
    const int column = element / job.part_channels;
    const int channel = element - column * job.part_channels;
    return channel * (kGroup * job.groups + kHalo) + column;
  }
  // The index-th unit of a row from pixel `pixel` on: where the strip has all channels
  // its elements are neighbours in memory, otherwise they are the channels of one
  // pixel.
  __device__ __forceinline__ static Unit unit(const StripJob<Element>& job,
                                              const Place& strip, int pixel, int index,
                                              int first_channel) {
    if (job.parts > 1) {
      const int left = job.channels - first_channel;
      return {job, strip, pixel + index, first_channel, left < kGroup ? left : kGroup};
    }
    return {job, strip, pixel + index / job.channels * kGroup,
            index % job.channels * kGroup, kGroup};
  }
  __device__ __forceinline__ static int offset_of(const StripJob<Element>& job,
                                                  int thread) {
    return kGroup * thread + kHalo * (thread / job.groups);
  }
};

template <typename Element, bool kAligned, int kThreads, int kAhead, int kSlots>
class Loading<InterleavedLoader<Element, kAligned, kThreads, kAhead>, kSlots> {
 public:
  using Loader = InterleavedLoader<Element, kAligned, kThreads, kAhead>;

  __device__ __forceinline__ Loading(const StripJob<Element>& job, float* ring,
                                     unsigned char* copies, int thread,
                                     const Place& strip, int first_channel, int row,
                                     int end)
      : ring_(reinterpret_cast<unsigned char*>(ring)),
        copies_(copies),
        thread_(thread),
        copies_more_(kGroup * (kThreads + thread) < elements(job)),
        rows_(row, row < 0 ? 0 : row, end < job.height ? end : job.height),
        from_(job, Loader::unit(job, strip, 0, thread, first_channel), row),
        more_from_(job, Loader::unit(job, strip, 0, kThreads + thread, first_channel),
                   row) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      to_[i] = Loader::place_in_row(job, kGroup * thread + i);
    }
    // Who has no more to deal out repeats the first of its own: a condition in the loop
    // would become a branch.
    const int last = kGroup * kThreads + thread;
    const int more = last < elements(job) ? last : kGroup * thread;
    more_to_ = Loader::place_in_row(job, more);
    more_read_ = more * kSize;
  }

  template <typename Meet>
  __device__ __forceinline__ void start(const StripJob<Element>& job,
                                        const Meet& meet) {
#pragma unroll
    for (int i = 0; i < kAhead + 1; ++i) copy(job);
    wait_for_copies<kAhead>();
    meet();
    form(job);
  }

  __device__ __forceinline__ void copy(const StripJob<Element>& job) {
    const uint32_t to =
        shared_address(copies_) + copy_at_.offset + kGroup * kSize * thread_;
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const bool exists = rows_.holds(r);
      const uint32_t row = to + r * Loader::kCopyRow * kSize;
      from_.template copy<kGroup, kAligned>(row, kImageBytes, exists);
      more_from_.template copy_if<kGroup, kAligned>(
          copies_more_, row + kGroup * kSize * kThreads, kImageBytes, exists);
      from_.advance(job, 1);
      more_from_.advance(job, 1);
    }
    rows_.at += kStepRows;
    commit_copies();
    copy_at_.advance();
  }

  // In every step: s and d of the next; then waits for the copies of the one after.
  __device__ __forceinline__ void form(const StripJob<Element>& job) {
    const unsigned char* const copy = copies_ + read_at_.offset;
    float* const to = reinterpret_cast<float*>(ring_ + form_at_.offset);
    // All reads before the first store: they wait for shared memory but once.
    float x[kStepRows][kGroup], y[kStepRows][kGroup];
    Element more_x[kStepRows], more_y[kStepRows];
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const int begin = r * Loader::kCopyRow;
      const Element* const own =
          reinterpret_cast<const Element*>(copy) + kGroup * thread_ + begin;
      read4(own, x[r]);
      read4(own + Loader::kPitch, y[r]);
      const Element* const more =
          reinterpret_cast<const Element*>(copy + more_read_) + begin;
      more_x[r] = more[0];
      more_y[r] = more[Loader::kPitch];
    }
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      float* const s = to + r * Loader::kRowFloats;
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const auto v = sum_difference(x[r][i], y[r][i], job.constants.inv_range);
        s[to_[i]] = v.s;
        s[Loader::kPitch + to_[i]] = v.d;
      }
    }
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const auto v =
          sum_difference(static_cast<float>(more_x[r]), static_cast<float>(more_y[r]),
                         job.constants.inv_range);
      float* const s = to + r * Loader::kRowFloats + more_to_;
      s[0] = v.s;
      s[Loader::kPitch] = v.d;
    }
    form_at_.advance();
    read_at_.advance();
    wait_for_copies<kAhead - 1>();
  }

 private:
  static constexpr int kSize = sizeof(Element);
  static constexpr int kImageBytes = Loader::kPitch * kSize;

  // Of a row: those of all groups and of the halo.
  __device__ __forceinline__ static int elements(const StripJob<Element>& job) {
    return (kGroup * job.groups + kHalo) * job.part_channels;
  }

  unsigned char* const ring_;
  unsigned char* const copies_;
  const int thread_;
  const bool copies_more_;
  int to_[kGroup];  // floats into a row
  int more_to_;     // the same
  int more_read_;   // bytes into a row
  RowSpan rows_;
  CopySource<Element> from_, more_from_;
  RingPosition<kAhead + 1, Loader::kCopyStepBytes> copy_at_{0}, read_at_{0};
  RingPosition<kSlots, Loader::kStepBytes> form_at_{0};
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LOAD_CUH_
