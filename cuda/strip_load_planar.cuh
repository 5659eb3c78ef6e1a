// Loading (cuda/strip_load.cuh) where channels come first.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LOAD_PLANAR_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_LOAD_PLANAR_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/formula.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"

namespace jax_fused_ssim::cuda {

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
        const auto v = sum_difference(x[i], y[i], job.constants.w_over_range);
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
    const auto v = sum_difference(x, y, job.constants.w_over_range);
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

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LOAD_PLANAR_CUH_
