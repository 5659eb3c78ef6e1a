// Which rows of which strips one of those that run at a time has: cuda/cut.h.

#ifndef JAX_FUSED_SSIM_CUDA_PIECES_CUH_
#define JAX_FUSED_SSIM_CUDA_PIECES_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/leading.cuh"

namespace jax_fused_ssim::cuda {

// A piece of a range: rows [begin, end) of a strip.
struct Piece {
  int64_t strip;  // along the virtual row
  int begin, end;
};

// What strip `index` of those that run at a time does, one piece after the other.
// Neighbours have the parts of one range: what they share of a cache line they need at
// about the same time.
template <typename Job>
class Pieces {
 public:
  __device__ __forceinline__ Pieces(const Job& job, int64_t index) {
    uint64_t range = static_cast<uint64_t>(index);
    first_channel_ = static_cast<int>(take_index(range, job.parts)) * job.part_channels;
    job.cut.range(static_cast<int64_t>(range), at_, end_);
    if (static_cast<int64_t>(range) >= job.cut.ranges) end_ = at_;
  }

  // All pieces are of strips that begin with this channel.
  __device__ __forceinline__ int first_channel() const { return first_channel_; }

  __device__ __forceinline__ bool next(const Job& job, Piece& piece) {
    while (at_ < end_) {
      uint64_t strip = static_cast<uint64_t>(at_);
      const int64_t below = job.rows + job.cut.gap;
      const int64_t begin = take_index(strip, below);
      const int64_t left = end_ - at_;
      const int64_t end = begin + left < below ? begin + left : below;
      at_ += end - begin;
      piece.strip = static_cast<int64_t>(strip);
      piece.begin = static_cast<int>(begin);
      piece.end = static_cast<int>(end < job.rows ? end : job.rows);
      if (piece.begin < piece.end) return true;
    }
    return false;
  }

 private:
  int first_channel_;
  int64_t at_, end_;
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_PIECES_CUH_
