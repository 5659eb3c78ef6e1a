// Loading (cuda/strip_load.cuh) where channels come last.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_LOAD_INTERLEAVED_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_LOAD_INTERLEAVED_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"

namespace jax_fused_ssim::cuda {

template <typename Element, typename Second, bool kAligned, int kThreads, int kAhead>
struct Columns<InterleavedLoader<Element, Second, kAligned, kThreads, kAhead>> {
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
    return channel * job.segment + column;
  }
  // The index-th quad of a row from pixel `pixel` on: where the strip has all channels
  // its elements are neighbours in memory, otherwise they are the channels of one
  // pixel.
  __device__ __forceinline__ static Quad quad(const StripJob<Element>& job,
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
    const int last = job.part_channels - 1;
    const int of_thread = channel_of(job, thread);
    const int channel = of_thread < last ? of_thread : last;
    return channel * job.segment + kGroup * (thread - channel * job.groups);
  }
};

template <typename Element, typename Second, bool kAligned, int kThreads, int kAhead,
          int kSlots, bool kOneCentre, unsigned kTuning>
class Loading<InterleavedLoader<Element, Second, kAligned, kThreads, kAhead>, kSlots,
              kOneCentre, kTuning> {
 public:
  using Loader = InterleavedLoader<Element, Second, kAligned, kThreads, kAhead>;
  using InShared = KeptByLoading<Loader, kTuning>;

  __device__ __forceinline__ Loading(const StripJob<Element>& job, float* ring,
                                     unsigned char* copies, unsigned char* kept,
                                     int thread, const Place& strip, int first_channel,
                                     int row, int end)
      : ring_(reinterpret_cast<unsigned char*>(ring)),
        copies_(copies),
        thread_(thread),
        first_channel_(first_channel),
        copies_more_(thread < kStepRows * kMoreQuads &&
                     kGroup * more_quad() < elements(job)),
        rows_(row, row < 0 ? 0 : row, end < job.height ? end : job.height),
        from_(job, Columns<Loader>::quad(job, strip, 0, thread, first_channel), row),
        more_from_(job,
                   Columns<Loader>::quad(job, strip, 0, more_quad(), first_channel),
                   row + more_copy_row(), from_, kept + InShared::kOffsetBytes, thread),
        offsets_(kept, thread) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      to_[i] = Columns<Loader>::place_in_row(job, kGroup * thread + i);
    }
    // Who has no more to deal out repeats the first of its own: a condition in
    // the loop would become a branch.
    static_assert(kStepRows * kMore <= kThreads, "a thread deals out one more");
    const int more = more_element(job);
    const int more_row = thread / kMore % kStepRows;
    more_to_ = more_row * Loader::kRowFloats + Columns<Loader>::place_in_row(job, more);
    more_read_ = (more_row * Loader::kCopyRow + more) * kSize;
    more_in_quad_ = more % kGroup;
  }

  template <typename Weights>
  __device__ __forceinline__ void begin(const StripJob<Element>& job,
                                        Weights& weights) {
#pragma unroll
    for (int i = 0; i < kAhead + 1; ++i) copy(job, weights);
  }

  template <typename Meet, typename Watcher, typename Weights>
  __device__ __forceinline__ void start(const StripJob<Element>& job,
                                        const Place& strip, const Meet& meet,
                                        Watcher& watcher, Weights& weights) {
    const auto of_element = [&](int element) {
      const int column = element / job.part_channels;
      const int channel = element - column * job.part_channels;
      return offsets_of_pixel(job, strip, column, first_channel_ + channel);
    };
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      offsets_.put(i, of_element(kGroup * thread_ + i));
    }
    offsets_.put(kGroup, of_element(more_element(job)));
    wait_for_copies<kAhead>();
    meet();
    form_step(*this, job, watcher, weights);
  }

  template <typename Weights>
  __device__ __forceinline__ void copy(const StripJob<Element>& job, Weights& weights) {
    const uint32_t to = shared_address(copies_) + copy_at_.offset;
    constexpr bool kMoreFirst = (kTuning & kKeepsHaloSource) != 0;
    if constexpr (kMoreFirst) copy_more(to);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
      from_.template copy<kGroup, kAligned, kExtent>(
          to + (r * Loader::kCopyRow + kGroup * thread_) * kSize, kImageBytes,
          rows_.holds(r));
      from_.advance(row_bytes<kTuning>(job));
    }
    if constexpr (!kMoreFirst) copy_more(to);
    more_from_.advance(kStepRows * row_bytes<kTuning>(job));
    copy_weights(weights, job, rows_);
    rows_.at += kStepRows;
    commit_copies();
    copy_at_.advance();
  }

  struct Row {
    float x[kGroup], y[kGroup], more_x, more_y;
  };
  __device__ __forceinline__ void read(int r, Row& row) {
    // The slot that is copied to next has the oldest copy.
    const unsigned char* const copy = copies_ + copy_at_.offset;
    const Element* const own = reinterpret_cast<const Element*>(copy) +
                               kGroup * thread_ + r * Loader::kCopyRow;
    read4(own, row.x);
    read4(stored_quad<Second>(own + Loader::kPitch), row.y);
    if (r == kHaloRow) {
      const Element* const more = reinterpret_cast<const Element*>(copy + more_read_);
      row.more_x = static_cast<float>(more[0]);
      if constexpr (Loader::kMixed) {
        const Element* const quad = more + Loader::kPitch - more_in_quad_;
        row.more_y = static_cast<float>(stored_quad<Second>(quad)[more_in_quad_]);
      } else {
        row.more_y = static_cast<float>(more[Loader::kPitch]);
      }
    }
  }
  template <typename Watcher, typename Weights>
  __device__ __forceinline__ void write(const StripJob<Element>& job, int r,
                                        const Row& row, Watcher& watcher,
                                        Weights& weights) {
    float* const to = reinterpret_cast<float*>(ring_ + form_at_.offset);
    float* const s = to + r * Loader::kRowFloats;
    float d[kGroup];
    bool seen[kGroup];
    if constexpr (Weights::kMasks) own_seen(job, r, weights, seen);
#pragma unroll
    for (int k = 0; k < kGroup; k += 2) {
      const float4 offsets = offsets_.get_two(k);
#pragma unroll
      for (int i = k; i < k + 2; ++i) {
        const float2 own = i == k ? make_float2(offsets.x, offsets.y)
                                  : make_float2(offsets.z, offsets.w);
        auto v =
            sum_difference<kOneCentre>(row.x[i], second_pixel<Loader>(job, row.y[i]),
                                       own, job.constants.tap_over_range);
        if constexpr (Weights::kMasks) {
          v.s = seen[i] ? v.s : 0;
          v.d = seen[i] ? v.d : 0;
        }
        s[to_[i]] = v.s;
        s[Loader::kPitch + to_[i]] = v.d;
        d[i] = v.d;
      }
    }
    show(watcher, job, r, row, d);
    if (r == kHaloRow) {
      auto v = sum_difference<kOneCentre>(
          row.more_x, second_pixel<Loader>(job, row.more_y), offsets_.get(kGroup),
          job.constants.tap_over_range);
      if constexpr (Weights::kMasks) {
        const int more_row = thread_ / kMore % kStepRows;
        const bool more_seen =
            weights.sees(more_row, more_element(job) / job.part_channels);
        v.s = more_seen ? v.s : 0;
        v.d = more_seen ? v.d : 0;
      }
      to[more_to_] = v.s;
      to[more_to_ + Loader::kPitch] = v.d;
    }
    if (r == kStepRows - 1) {
      form_at_.advance();
      end_formed_step(weights);
      // For the other threads, which read them in the next step.
      wait_for_copies<kAhead - 1>();
    }
  }

 private:
  static constexpr CopyExtent kExtent = CopyExtent::kSize;
  static constexpr int kHaloRow = (kTuning & kHaloLate) != 0 ? 1 : 0;
  static constexpr int kSize = sizeof(Element);
  static constexpr int kImageBytes = Loader::kPitch * kSize;
  static constexpr int kMoreQuads = kHalo * Loader::kMaxChannels / kGroup;
  static constexpr int kMore = kGroup * kMoreQuads;

  __device__ __forceinline__ void copy_more(uint32_t to) {
    more_from_.template copy_if<kGroup, kAligned, kExtent>(
        from_, copies_more_,
        to + (more_copy_row() * Loader::kCopyRow + kGroup * more_quad()) * kSize,
        kImageBytes, rows_.holds(more_copy_row()));
  }

  // Which elements of the thread's quad windows see. They are of two pixels at most.
  template <typename Weights>
  __device__ __forceinline__ void own_seen(const StripJob<Element>& job, int r,
                                           const Weights& weights,
                                           bool (&seen)[kGroup]) const {
    const int first = kGroup * thread_ / job.part_channels;
    const int of_first = (first + 1) * job.part_channels - kGroup * thread_;
    const bool first_seen = weights.sees(r, first);
    const bool next_seen = weights.sees(r, first + 1);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) seen[i] = i < of_first ? first_seen : next_seen;
  }

  // What else a thread copies: a quad of a row, counted from the row's first.
  __device__ __forceinline__ int more_quad() const {
    return kThreads + thread_ % kMoreQuads;
  }
  __device__ __forceinline__ int more_copy_row() const {
    return thread_ / kMoreQuads % kStepRows;
  }
  // What else it deals out: an element of a row.
  __device__ __forceinline__ int more_element(const StripJob<Element>& job) const {
    const int last = kGroup * kThreads + thread_ % kMore;
    return last < elements(job) ? last : kGroup * thread_;
  }
  // How many a row has, of all groups and of the halo.
  __device__ __forceinline__ static int elements(const StripJob<Element>& job) {
    return (kGroup * job.groups + kHalo) * job.part_channels;
  }

  unsigned char* const ring_;
  unsigned char* const copies_;
  const int thread_;
  const int first_channel_;
  const bool copies_more_;
  int to_[kGroup];  // floats into a row
  int more_to_;     // floats into a step
  int more_read_;   // bytes into a step
  int more_in_quad_;
  RowSpan rows_;
  CopySource<Element, Second> from_;
  KeptHaloSource<Loader, kTuning> more_from_;
  // For the elements of the thread's quad, and for what else it deals out.
  KeptOffsets<Loader, kTuning> offsets_;
  RingPosition<kAhead + 1, Loader::kCopyStepBytes> copy_at_{0};
  RingPosition<kSlots, Loader::kStepBytes> form_at_{0};
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_LOAD_INTERLEAVED_CUH_
