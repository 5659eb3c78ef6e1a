// Both images at half their size, by means of 2 x 2 pixels, from the threads of a strip
// that load them: cuda/strip_load_planar.cuh.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_HALVE_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_HALVE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"

namespace jax_fused_ssim::cuda {

// A thread's two pixels of every step, whose rows are an even one and the next.
class StripHalves {
 public:
  // `quad`: the thread's, which exists as a whole or not at all; `own`: no other strip
  // has it. The steps come one after the other, from the one of row `row` on; rows
  // [begin, end) are the piece's.
  __device__ __forceinline__ StripHalves(const StripJob<float>& job, const Quad& quad,
                                         bool own, int row, int begin, int end)
      : rows_(row, begin, own && quad.count > 0 ? end : begin) {
    const int64_t in_image = (row * (job.row_size / 2) + quad.in_row) / 2;
    float* const first = job.half + quad.image * (job.image_size / 4) + in_image;
    to_ = reinterpret_cast<char*>(first);
  }

  template <typename Row>
  __device__ __forceinline__ void see(const StripJob<float>& job, int r, const Row& row,
                                      const float (&)[kGroup]) {
    const SumsOfTwo x(row.x), y(row.y);
    if (r > 0) {
      store2_if(rows_.holds(), reinterpret_cast<float*>(to_), mean(x_.a, x.a),
                mean(x_.b, x.b));
      store2_if(rows_.holds(), reinterpret_cast<float*>(to_ + job.half_to_second),
                mean(y_.a, y.a), mean(y_.b, y.b));
      rows_.at += kStepRows;
      to_ += job.half_row_bytes;
    }
    x_ = x, y_ = y;
  }

 private:
  struct SumsOfTwo {
    float a, b;

    SumsOfTwo() = default;
    __device__ __forceinline__ explicit SumsOfTwo(const float (&v)[kGroup])
        : a(v[0] + v[1]), b(v[2] + v[3]) {}
  };

  // As cuda/halve.cu has it: ((a + b) + (c + d)) / 4.
  __device__ __forceinline__ static float mean(float above, float below) {
    return (above + below) * 0.25f;
  }

  RowSpan rows_;
  char* to_;
  SumsOfTwo x_, y_;  // of the row above
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_HALVE_CUH_
