// The errors of a thread's pixels, row by row: cuda/strip_sum.cuh, strip_grad.cuh.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_ERROR_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_ERROR_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/error_sum.cuh"
#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"

namespace jax_fused_ssim::cuda {

// Of kGroup elements of a row, which the strip does not share with another: those of
// plane `plane` (-1: of none) in columns and rows in which errors are counted, of the
// piece's rows [begin, end). The rows come one after the other, from `row` on.
template <bool kWeights>
class StripErrors {
 public:
  // `column_of`: the image column of each.
  template <typename Element, typename ColumnOf>
  __device__ __forceinline__ StripErrors(const StripJob<Element>& job, int64_t plane,
                                         const ColumnOf& column_of, int row, int begin,
                                         int end)
      : plane_(plane),
        rows_(row, max(begin, job.error_y), min(end, job.height - job.error_y)) {
    const int columns = job.width - 2 * job.error_x;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int column = column_of(i) - job.error_x;
      columns_[i] = plane >= 0 && 0 <= column && column < columns ? -1 : 0;
      pin(columns_[i]);
    }
  }

  // d of row `ahead` of those to come where its errors count, and 0 elsewhere. A mask,
  // which takes one instruction for row and column together.
  __device__ __forceinline__ void count(int ahead, const float (&d)[kGroup],
                                        float (&counted)[kGroup]) const {
    int row = rows_.holds(ahead) ? -1 : 0;
    pin(row);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      counted[i] = __int_as_float(__float_as_int(d[i]) & columns_[i] & row);
    }
  }
  __device__ __forceinline__ void add(const float (&counted)[kGroup],
                                      const float (&weight)[kGroup]) {
    sum_.add(counted, weight);
  }
  __device__ __forceinline__ void advance(int rows) { rows_.at += rows; }

  // The next row, as it is loaded.
  template <typename Job, typename Row>
  __device__ __forceinline__ void see(const Job&, int, const Row&,
                                      const float (&d)[kGroup]) {
    float counted[kGroup];
    count(0, d, counted);
    constexpr float kAlike[kGroup] = {};  // which nobody reads
    add(counted, kAlike);
    advance(1);
  }

  // By a whole warp.
  __device__ __forceinline__ void flush(ErrorSums* accumulators) const {
    for_planes_of_warp(plane_, [&](bool same, bool leads) {
      ErrorSum<float, kWeights> sum;
      if (same) sum = sum_;
      reduce_in_warp(sum);
      if (leads) add_atomically(accumulators + plane_, sum.sums());
    });
  }

 private:
  int64_t plane_;  // -1 where there is none
  RowSpan rows_;
  int columns_[kGroup];
  ErrorSum<float, kWeights> sum_;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_ERROR_CUH_
