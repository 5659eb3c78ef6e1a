// The weights of a thread's map and image pixels: cuda/strip_grad.cuh.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/predicated.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_job.cuh"

namespace jax_fused_ssim::cuda {

// Of a thread's map pixels, those of a loss or a cotangent: from row `row` of the map
// on, read a step before they are used.
template <typename Loader, bool kOfLoss>
class MapWeights {
 public:
  using Job = StripJob<typename Loader::Element>;
  using Value = Weight<typename Loader::Element, kOfLoss>;

  __device__ __forceinline__ MapWeights(const Job& job, int row, int group, int channel,
                                        const MapGroup& at)
      : row_(row) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const bool exists = group < job.groups && at.holds(job, i);
      rows_[i] = exists ? job.map_height : 0;
    }
    from_ = static_cast<const Value*>(job.weight) +
            image_offsets(job.leading, at.image < 0 ? 0 : at.image).of[kWeight] +
            row * row_size(job) + at.column * step(job) + (kOfLoss ? 0 : channel);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) read(job, r);
  }

  // Of row r of the step.
  __device__ __forceinline__ float at(int r, int i) const { return v_[r][i]; }

  // Multiplies the maps of row r of the step, and reads what the next step needs. Of a
  // loss, what lies under a weight of 0 may be a NaN.
  template <int kMaps>
  __device__ __forceinline__ void apply(const Job& job, int r,
                                        float (&maps)[kMaps][kGroup]) {
#pragma unroll
    for (int k = 0; k < kMaps; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        maps[k][i] *= v_[r][i];
        if constexpr (kOfLoss) maps[k][i] = where_not_zero(v_[r][i], maps[k][i]);
      }
    }
    read(job, r);
  }

 private:
  // Elements between rows, and between pixels: of a loss all channels have one weight.
  __device__ __forceinline__ static int64_t row_size(const Job& job) {
    return kOfLoss ? job.map_width : job.map_row_size;
  }
  __device__ __forceinline__ static int64_t step(const Job& job) {
    return kOfLoss ? 1 : job.channels;
  }

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

  const Value* from_;
  int row_;
  unsigned int rows_[kGroup];  // that a column has
  float v_[kStepRows][kGroup];
};

// Of a thread's image pixels, whose errors they are of: from row `row` on, in rows of a
// multiple of kGroup pixels. All channels have one weight.
template <typename Loader>
class ErrorWeights {
 public:
  using Job = StripJob<typename Loader::Element>;

  __device__ __forceinline__ ErrorWeights(const Job& job, bool exists, const Place& at,
                                          int row)
      : rows_(row, 0, exists ? job.height : 0),
        from_(job.error_weight +
              image_offsets(job.leading, exists ? at.image : 0).of[kErrorWeight] +
              row * static_cast<int64_t>(job.width) + at.column) {}

  // Of the next row.
  __device__ __forceinline__ void read(const Job& job, float (&weight)[kGroup]) {
    load4_if(rows_.holds(), from_, weight);
    from_ += job.width;
    rows_.at += 1;
  }

 private:
  RowSpan rows_;
  const float* from_;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
