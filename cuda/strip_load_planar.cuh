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

template <typename Element, typename Second, bool kAligned, int kThreads, int kAhead>
struct Columns<PlanarLoader<Element, Second, kAligned, kThreads, kAhead>> {
  // Where a thread's columns lie among those of a row, and in which channel.
  __device__ __forceinline__ static int group_of(const StripJob<Element>&, int thread,
                                                 int) {
    return thread;
  }
  __device__ __forceinline__ static int channel_of(const StripJob<Element>&, int) {
    return 0;
  }
  // The index-th kGroup pixels of a row from pixel `pixel` on.
  __device__ __forceinline__ static Quad quad(const StripJob<Element>& job,
                                              const Place& strip, int pixel, int index,
                                              int /*first_channel*/) {
    return {job, strip, pixel + kGroup * index, 0, kGroup};
  }
  __device__ __forceinline__ static int offset_of(const StripJob<Element>&,
                                                  int thread) {
    return kGroup * thread;
  }
};

template <typename Element, typename Second, bool kAligned, int kThreads, int kAhead,
          int kSlots, bool kOneCentre, unsigned kTuning>
class Loading<PlanarLoader<Element, Second, kAligned, kThreads, kAhead>, kSlots,
              kOneCentre, kTuning> {
 public:
  using Loader = PlanarLoader<Element, Second, kAligned, kThreads, kAhead>;
  using InShared = KeptByLoading<Loader, kTuning>;

  // The strip's row begins at `strip`, its first step at image row `row`.
  // Rows from `end` on are not needed.
  __device__ __forceinline__ Loading(const StripJob<Element>& job, float* ring,
                                     unsigned char* copies, unsigned char* kept,
                                     int thread, const Place& strip,
                                     int /*first_channel*/, int row, int end)
      : ring_(reinterpret_cast<unsigned char*>(ring)),
        copies_(Loader::kInPlace ? ring_ : copies),
        thread_(thread),
        rows_(row, row < 0 ? 0 : row, end < job.height ? end : job.height),
        from_(job, Columns<Loader>::quad(job, strip, 0, thread, 0), row),
        halo_from_(job, Quad(job, strip, halo_copy_column(), 0, kHaloCopy),
                   row + halo_copy_row(), from_, kept + InShared::kOffsetBytes, thread),
        offsets_(kept, thread) {}

  template <typename Weights>
  __device__ __forceinline__ void begin(const StripJob<Element>& job,
                                        Weights& weights) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) copy(job, weights);
  }

  template <typename Meet, typename Watcher, typename Weights>
  __device__ __forceinline__ void start(const StripJob<Element>& job,
                                        const Place& strip, const Meet&,
                                        Watcher& watcher, Weights& weights) {
    offsets_.put(0, offsets_of_pixel(job, strip, kGroup * thread_, 0));
    offsets_.put(1, offsets_of_pixel(job, strip, halo_column(), 0));
    form_step(*this, job, watcher, weights);
  }

  template <typename Weights>
  __device__ __forceinline__ void copy(const StripJob<Element>& job, Weights& weights) {
    const uint32_t to = shared_address(copies_) + copy_at_.offset;
    constexpr bool kHaloFirst = (kTuning & kKeepsHaloSource) != 0;
    if constexpr (kHaloFirst) copy_halo(to, rows_.holds(halo_copy_row()));
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      const bool exists = rows_.holds(r);
      from_.template copy<kGroup, kAligned, kExtent>(
          to + r * kCopyRowBytes + kGroup * thread_ * kSize, kImageBytes, exists);
      from_.advance(row_bytes<kTuning>(job));
    }
    if constexpr (!kHaloFirst) copy_halo(to, rows_.holds(halo_copy_row()));
    halo_from_.advance(kStepRows * row_bytes<kTuning>(job));
    copy_weights(weights, job, rows_);
    rows_.at += kStepRows;
    commit_copies();
    copy_at_.advance();
  }

  struct Row {
    float x[kGroup], y[kGroup], halo_x, halo_y;
  };
  __device__ __forceinline__ void read(int r, Row& row) {
    if (r == 0) {
      wait_for_copies<kAhead - 1>();
      if constexpr (kHaloCopy > 1) __syncwarp();
    }
    const unsigned char* const copy = copies_ + read_offset();
    const Element* const own = reinterpret_cast<const Element*>(copy) +
                               r * Loader::kCopyRow + kGroup * thread_;
    read4(own, row.x);
    read4(stored_quad<Second>(own + Loader::kPitch), row.y);
    if (r == kHaloRow) read_halo(copy, row);
  }
  template <typename Watcher, typename Weights>
  __device__ __forceinline__ void write(const StripJob<Element>& job, int r,
                                        const Row& row, Watcher& watcher,
                                        Weights& weights) {
    float* const to = reinterpret_cast<float*>(ring_ + form_at_.offset);
    float s[kGroup], d[kGroup];
    const float2 offsets = offsets_.get(0);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const auto v =
          sum_difference<kOneCentre>(row.x[i], second_pixel<Loader>(job, row.y[i]),
                                     offsets, job.constants.tap_over_range);
      s[i] = v.s;
      d[i] = v.d;
    }
    if constexpr (Weights::kMasks) {
      // The weights of the halo are copied by other lanes than form it.
      if (r == kHaloRow) __syncwarp();
      bool seen[kGroup];
      weights.sees4(r, kGroup * thread_, seen);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        s[i] = seen[i] ? s[i] : 0;
        d[i] = seen[i] ? d[i] : 0;
      }
    }
    show(watcher, job, r, row, d);
    store_group(to + r * Loader::kRowFloats + kGroup * thread_, s);
    store_group(to + r * Loader::kRowFloats + Loader::kPitch + kGroup * thread_, d);
    if (r == kHaloRow) write_halo(job, row, to, weights);
    if (r == kStepRows - 1) {
      form_at_.advance();
      end_formed_step(weights);
    }
  }

 private:
  static constexpr CopyExtent kExtent = CopyExtent::kAllOrNothing;
  static constexpr int kHaloRow = (kTuning & kHaloLate) != 0 ? 1 : 0;
  static constexpr int kSize = sizeof(Element);
  static constexpr int kCopyRowBytes = Loader::kCopyRow * kSize;
  static constexpr int kImageBytes = Loader::kPitch * kSize;
  static constexpr int kCopySlots = Loader::kInPlace ? kSlots : kAhead;

  // The halo's columns from one copy: elements under 4 bytes are copied by the
  // group. Its two rows are shared out among the first threads of the first warp;
  // each of its columns is formed by one thread of that warp.
  static constexpr int kHaloCopy = kSize < 4 || Loader::kMixed ? kGroup : 1;
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
    halo_from_.template copy_if<kHaloCopy, true, kExtent>(from_, on, to, kImageBytes,
                                                          exists);
  }

  static constexpr int kToD = Loader::kPitch * int(sizeof(float));
  __device__ __forceinline__ bool halo_on() const {
    return thread_ < kHalo * kStepRows;
  }
  __device__ __forceinline__ uint32_t halo_at(const float* to) const {
    return shared_address(to) +
           (halo_row() * Loader::kRowFloats + halo_column()) * int(sizeof(float));
  }
  __device__ __forceinline__ void read_halo(const unsigned char* copy, Row& row) {
    if constexpr (Loader::kInPlace) {
      const uint32_t at = halo_at(reinterpret_cast<const float*>(copy));
      row.halo_x = load_shared_if(halo_on(), at);
      if constexpr (Loader::kMixed) {
        const int in_quad = halo_column() % kGroup;
        row.halo_y = load_shared_byte_if(
            halo_on(), at + kToD + in_quad - in_quad * int(sizeof(float)));
        // Before others write over it.
        __syncwarp();
      } else {
        row.halo_y = load_shared_if(halo_on(), at + kToD);
      }
    } else {
      // Others read what they copied themselves, which needs no barrier.
      const Element* const from = reinterpret_cast<const Element*>(copy) +
                                  (halo_on() ? halo_row() * Loader::kCopyRow : 0);
      const int column = halo_on() ? halo_column() : kGroup * thread_;
      row.halo_x = static_cast<float>(from[column]);
      row.halo_y = stored_element<Second>(from + Loader::kPitch, column);
    }
  }
  template <typename Weights>
  __device__ __forceinline__ void write_halo(const StripJob<Element>& job,
                                             const Row& row, float* to,
                                             const Weights& weights) {
    auto v =
        sum_difference<kOneCentre>(row.halo_x, second_pixel<Loader>(job, row.halo_y),
                                   offsets_.get(1), job.constants.tap_over_range);
    if constexpr (Weights::kMasks) {
      const bool seen = weights.sees(halo_row(), halo_column());
      v.s = seen ? v.s : 0;
      v.d = seen ? v.d : 0;
    }
    store_shared_if(halo_on(), halo_at(to), v.s);
    store_shared_if(halo_on(), halo_at(to) + kToD, v.d);
  }

  // The slot that is copied to next has the oldest copy.
  __device__ __forceinline__ int read_offset() const {
    return Loader::kInPlace ? form_at_.offset : copy_at_.offset;
  }

  unsigned char* const ring_;
  unsigned char* const copies_;
  const int thread_;
  RowSpan rows_;
  CopySource<Element, Second> from_;
  KeptHaloSource<Loader, kTuning> halo_from_;
  // For the thread's columns, and for its column of the halo.
  KeptOffsets<Loader, kTuning> offsets_;
  RingPosition<kCopySlots, Loader::kCopyStepBytes> copy_at_{0};
  RingPosition<kSlots, Loader::kStepBytes> form_at_{0};
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LOAD_PLANAR_CUH_
