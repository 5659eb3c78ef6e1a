// The weights of a thread's map and image pixels: cuda/strip_grad.cuh.
//
// Those of a loss, which all channels of a pixel share, are copied to shared memory as
// the images are, to a ring of their own: stage 1 weighs the map with them, stage 2 the
// errors ten rows behind, and where windows leave pixels out the loading threads too.
// What a map pixel has of its own, a weight or what its means are multiplied by, comes
// from global memory.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/measure.h"
#include "cuda/predicated.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"
#include "cuda/strip_shape.h"

namespace jax_fused_ssim::cuda {

// Of the image, or of any where there is none.
template <Scale kScale, typename Element>
__device__ __forceinline__ float scale_of(const StripJob<Element>& job, int64_t image) {
  const ImageOffsets offsets = image_offsets(job.leading, image < 0 ? 0 : image);
  return __ldg(job.scales + offsets.of[kScales] + kScale);
}

// Multiplies the maps of a row. Of a loss, what lies under a weight of 0 may be a NaN.
template <bool kOfLoss, int kMaps>
__device__ __forceinline__ void weigh(const float (&weight)[kGroup],
                                      float (&maps)[kMaps][kGroup]) {
#pragma unroll
  for (int k = 0; k < kMaps; ++k) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      maps[k][i] *= weight[i];
      if constexpr (kOfLoss) maps[k][i] = where_positive(weight[i], maps[k][i]);
    }
  }
}

// Of a thread's map pixels, from global memory: those of a cotangent, or of a loss for
// all image pixels. From row `row` of the map on, read a step before they are used.
template <typename Loader, bool kOfLoss>
class MapWeights {
 public:
  using Job = StripJob<typename Loader::Element>;
  using Value = Weight<typename Loader::Element, kOfLoss>;

  __device__ __forceinline__ MapWeights(const Job& job, const void* weights,
                                        Operand operand, int row, int group,
                                        int channel, const MapGroup& at)
      : row_(row) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const bool exists = group < job.groups && at.holds(job, i);
      rows_[i] = exists ? job.map_height : 0;
    }
    const int64_t image_row = row + (kOfLoss ? job.map_y : 0);
    const int64_t column = at.column + (kOfLoss ? job.map_x : 0);
    from_ = static_cast<const Value*>(weights) +
            image_offsets(job.leading, at.image < 0 ? 0 : at.image).of[operand] +
            image_row * row_size(job) + column * step(job) + (kOfLoss ? 0 : channel);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) read(job, r);
  }

  // Of row r of the step.
  __device__ __forceinline__ const float (&at(int r) const)[kGroup] { return v_[r]; }

  // Reads what the next step needs, after row r of this one was used.
  __device__ __forceinline__ void read(const Job& job, int r) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int64_t ahead = Loader::kInterleaved ? i * step(job) : i;
      v_[r][i] = load_if(static_cast<unsigned int>(row_) < rows_[i], from_ + ahead);
    }
    // A step is not always long enough for the memory to answer, three are. And the
    // branch keeps the loads above from being moved down to where they are used.
    constexpr int kAhead = 2 * kStepRows;
    if (static_cast<unsigned int>(row_ + kAhead) < rows_[0]) {
      prefetch(from_ + kAhead * row_size(job));
    }
    from_ += row_size(job);
    row_ += 1;
  }

 private:
  // Elements between rows, and between pixels: of a loss all channels have one weight.
  __device__ __forceinline__ static int64_t row_size(const Job& job) {
    return kOfLoss ? job.width : job.map_row_size;
  }
  __device__ __forceinline__ static int64_t step(const Job& job) {
    return kOfLoss ? 1 : job.channels;
  }

  const Value* from_;
  int row_;
  unsigned int rows_[kGroup];  // that a column has
  float v_[kStepRows][kGroup];
};

// Of a thread's map pixels, from the ring.
template <typename Strip>
class RingMapWeights {
 public:
  using Job = StripJob<typename Strip::Loader::Element>;

  __device__ __forceinline__ RingMapWeights(const Job& job, const unsigned char* ring,
                                            int group, const MapGroup& at)
      : from_(ring + (Strip::kMapAt + kGroup * group) * int(sizeof(float))) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      columns_[i] = group < job.groups && at.holds(job, i) ? -1 : 0;
      pin(columns_[i]);
    }
  }

  // Of row r of the step.
  __device__ __forceinline__ void read(int r, float (&weight)[kGroup]) const {
    // The row of the map is kRadius behind those of the images.
    static_assert(kStepRows == 2 && kRadius % kStepRows == 1, "");
    static_assert((Strip::kMapAt + 1) % kGroup == 0, "all but the first are aligned");
    const auto* const from = reinterpret_cast<const float*>(
        from_ + (r == 0 ? before_.offset + Strip::kWeightRowBytes : here_.offset));
    const float4 next = *reinterpret_cast<const float4*>(from + 1);
    weight[0] = from[0], weight[1] = next.x, weight[2] = next.y, weight[3] = next.z;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      weight[i] = __int_as_float(__float_as_int(weight[i]) & columns_[i]);
    }
  }
  __device__ __forceinline__ void advance() {
    before_.advance();
    here_.advance();
  }

 private:
  using Position = RingPosition<Strip::kWeightSlots, Strip::kWeightStepBytes>;
  static constexpr int kBehind = kRadius / kStepRows;

  const unsigned char* from_;
  int columns_[kGroup];  // a mask: which are in the map
  Position before_{Strip::kWeightSlots - kBehind - 1};
  Position here_{Strip::kWeightSlots - kBehind};
};

// The ring, as the loading threads know it. Its rows are those of the images, which
// have a multiple of kGroup pixels, and zeros beside them.
template <typename Strip>
class StripWeights {
 public:
  using Job = StripJob<typename Strip::Loader::Element>;
  // Whether windows leave pixels out.
  static constexpr bool kMasks = Strip::kWeighting == Weighting::kLeavesOut;

  // The strip's row begins at `strip`, its first step at image row `row`.
  __device__ __forceinline__ StripWeights(const Job& job, unsigned char* ring,
                                          int thread, int group, const Place& strip,
                                          int row)
      : ring_(ring),
        own_(ring + (Strip::kOutAt + kGroup * group) * int(sizeof(float))),
        thread_(thread),
        from_(source(job, strip, quad(), row + quad_row(), quad_exists_)),
        halo_from_(source(job, strip, halo_quad(), row + halo_row(), halo_exists_)) {}

  // Of the next step; `rows` are those of the images at it.
  __device__ __forceinline__ void copy(const Job& job, const RowSpan& rows) {
    const uint32_t to = shared_address(ring_) + copy_at_.offset;
#pragma unroll
    for (int r = 0; r < kStepRows; r += kRowsAtOnce) {
      copy_quad(true, to, r + quad_row(), quad(), from_,
                quad_exists_ && rows.holds(r + quad_row()));
      from_ += kRowsAtOnce * job.width;
    }
    copy_quad(thread_ < kStepRows * kHaloQuads, to, halo_row(), halo_quad(), halo_from_,
              halo_exists_ && rows.holds(halo_row()));
    halo_from_ += kStepRows * job.width;
    copy_at_.advance();
  }

  // Whether windows see a pixel of row r of the step whose s and d are formed.
  __device__ __forceinline__ bool sees(int r, int column) const {
    return formed_row(r)[column] > 0;
  }
  __device__ __forceinline__ void sees4(int r, int column, bool (&seen)[kGroup]) const {
    float weight[kGroup];
    read4(formed_row(r) + column, weight);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) seen[i] = weight[i] > 0;
  }
  __device__ __forceinline__ void advance_formed() { form_at_.advance(); }

  // Of the thread's image pixels in row r of the step whose gradient is computed.
  __device__ __forceinline__ void read(int r, float (&weight)[kGroup]) const {
    read4(reinterpret_cast<const float*>(own_ + own_at_.offset +
                                         r * Strip::kWeightRowBytes),
          weight);
  }
  __device__ __forceinline__ void advance() { own_at_.advance(); }

 private:
  using Position = RingPosition<Strip::kWeightSlots, Strip::kWeightStepBytes>;

  // A row is copied by kQuads threads, and its halo by others.
  static constexpr int kQuads = Strip::kWeightGroups;
  static constexpr int kRowsAtOnce = Strip::kThreads / kQuads;
  static_assert(Strip::kThreads % kQuads == 0 && kStepRows % kRowsAtOnce == 0, "");
  static constexpr int kHaloQuads = kHalo / kGroup;

  __device__ __forceinline__ int quad() const { return thread_ % kQuads; }
  __device__ __forceinline__ int quad_row() const { return thread_ / kQuads; }
  __device__ __forceinline__ int halo_quad() const {
    return kQuads + thread_ % kHaloQuads;
  }
  __device__ __forceinline__ int halo_row() const {
    return thread_ / kHaloQuads % kStepRows;
  }

  __device__ __forceinline__ static const float* source(const Job& job,
                                                        const Place& strip, int quad,
                                                        int row, bool& exists) {
    const Place at = place_of(job, strip, kGroup * quad);
    exists = at.image >= 0 && at.column < job.width && quad < job.groups + kHaloQuads;
    return job.error_weight +
           image_offsets(job.leading, exists ? at.image : 0).of[kErrorWeight] +
           row * static_cast<int64_t>(job.width) + at.column;
  }
  __device__ __forceinline__ static void copy_quad(bool on, uint32_t step, int row,
                                                   int quad, const float* from,
                                                   bool exists) {
    constexpr int kBytes = sizeof(float4);
    copy_async_if<kBytes, CopyExtent::kAllOrNothing>(
        on, step + row * Strip::kWeightRowBytes + quad * kBytes, from,
        exists ? kBytes : 0);
  }
  __device__ __forceinline__ const float* formed_row(int r) const {
    return reinterpret_cast<const float*>(ring_ + form_at_.offset +
                                          r * Strip::kWeightRowBytes);
  }

  unsigned char* const ring_;
  const unsigned char* const own_;
  const int thread_;
  bool quad_exists_, halo_exists_;
  const float* from_;
  const float* halo_from_;
  Position copy_at_{0}, form_at_{0}, own_at_{0};
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
