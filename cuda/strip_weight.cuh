// The weights of a thread's map pixels (cuda/strip_grad.cuh), read a step before they
// are used.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/predicated.cuh"
#include "cuda/strip_filter.cuh"
#include "cuda/strip_job.cuh"

namespace jax_fused_ssim::cuda {

template <typename Loader>
class Weights {
 public:
  using Element = typename Loader::Element;

  // `at`: the map pixels of a thread with this group and channel, from image row `row`
  // on.
  __device__ __forceinline__ Weights(const StripJob<Element>& job, int row, int group,
                                     int channel, const MapGroup& at)
      : row_(row - job.map_y) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const bool exists = group < job.groups && at.holds(job, i);
      rows_[i] = exists ? job.map_height : 0;
    }
    from_ = job.weight +
            image_offsets(job.leading, at.image < 0 ? 0 : at.image).of[kWeight] +
            (row - job.map_y) * job.map_row_size + int64_t{at.column} * job.channels +
            channel;
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) read(job, r);
  }

  // Multiplies the maps of row r of the step, and reads what the next step needs.
  template <int kMaps>
  __device__ __forceinline__ void apply(const StripJob<Element>& job, int r,
                                        float (&maps)[kMaps][kGroup]) {
#pragma unroll
    for (int k = 0; k < kMaps; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) maps[k][i] *= v_[r][i];
    }
    read(job, r);
  }

 private:
  __device__ __forceinline__ void read(const StripJob<Element>& job, int r) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int64_t ahead =
          Loader::kInterleaved ? i * static_cast<int64_t>(job.channels) : i;
      v_[r][i] = load_if(static_cast<unsigned int>(row_) < rows_[i], from_ + ahead);
    }
    // A step is not always long enough for the memory to answer, three are. And the
    // branch keeps the loads above from being moved down to where they are used.
    constexpr int kAhead = 2 * kStepRows;
    if (static_cast<unsigned int>(row_ + kAhead) < rows_[0]) {
      prefetch(from_ + kAhead * job.map_row_size);
    }
    from_ += job.map_row_size;
    row_ += 1;
  }

  const Element* from_;
  int row_;
  unsigned int rows_[kGroup];  // that a column has
  float v_[kStepRows][kGroup];
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_WEIGHT_CUH_
