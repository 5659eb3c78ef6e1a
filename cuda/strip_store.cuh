// From stage 2 of cuda/strip_grad.cuh to the gradients in global memory, a row at a
// time: of the piece's rows those that it owns.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"

namespace jax_fused_ssim::cuda {

// How many of a piece's rows a thread stores of each of kGroup elements, or of all of
// them as one: the elements that do not exist have no rows.
template <bool kWhole>
class StoredRows {
 public:
  __device__ __forceinline__ StoredRows(int elements, int rows) {
#pragma unroll
    for (int i = 0; i < kCounts; ++i) {
      rows_[i] = i < elements ? static_cast<unsigned int>(rows) : 0;
    }
  }
  // In row `row` of the piece.
  __device__ __forceinline__ void store(int row, float* to,
                                        const float (&v)[kGroup]) const {
    if constexpr (kWhole) {
      store4_if(static_cast<unsigned int>(row) < rows_[0], to, v);
    } else {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        store_if(static_cast<unsigned int>(row) < rows_[i], to + i, v[i]);
      }
    }
  }

 private:
  static constexpr int kCounts = kWhole ? 1 : kGroup;
  unsigned int rows_[kCounts];
};

// Channels first: a thread stores its own columns.
template <typename Strip>
class DirectStore {
 public:
  using Element = typename Strip::Loader::Element;

  // From image row `row` on.
  template <typename Piece>
  __device__ __forceinline__ DirectStore(const StripJob<Element>& job, const Piece& p,
                                         int row)
      : DirectStore(job, p, row,
                    Unit(job, p.origin, Strip::kOut + kGroup * p.thread, 0, kGroup)) {}

  __device__ __forceinline__ void store_last_step(const StripJob<Element>&) {}
  // The next row.
  template <typename... Gradients>
  __device__ __forceinline__ void put(const StripJob<Element>& job, int,
                                      const Gradients&... gradients) {
    int k = 0;
    (rows_.store(row_, to_[k++], gradients), ...);
#pragma unroll
    for (int i = 0; i < Strip::kGradients; ++i) to_[i] += job.row_size;
    row_ += 1;
  }
  __device__ __forceinline__ void end_step() {}

 private:
  template <typename Piece>
  __device__ __forceinline__ DirectStore(const StripJob<Element>& job, const Piece& p,
                                         int row, const Unit& unit)
      : rows_(p.group < job.groups - Strip::kLost ? unit.count : 0, p.end - p.begin),
        row_(row - p.begin) {
    const int64_t to = unit.image * job.image_size + row * job.row_size + unit.in_row;
    to_[0] = job.grad1 + to;
    if constexpr (Strip::kGradients == 2) to_[1] = job.grad2 + to;
  }

  StoredRows<Strip::Loader::kVectors> rows_;
  float* to_[Strip::kGradients];
  int row_;
};

// Channels interleaved: the threads of a channel have every so many elements of a row.
// So rows go to shared memory, and a step later to global memory by units of
// neighbouring elements: storing each element alone would take four times as many
// transactions.
template <typename Strip>
class StagedStore {
 public:
  using Loader = typename Strip::Loader;
  using Element = typename Loader::Element;

  template <typename Piece>
  __device__ __forceinline__ StagedStore(const StripJob<Element>& job, const Piece& p,
                                         int row)
      : StagedStore(
            job, p, row - kStepRows,
            Loader::unit(job, p.origin, Strip::kOut, p.thread, p.first_channel)) {}

  // After the barrier: the rows of the step before.
  __device__ __forceinline__ void store_last_step(const StripJob<Element>& job) {
    const float* const from = reinterpret_cast<const float*>(
        reinterpret_cast<const char*>(staged_) + Strip::kStagedStepBytes - at_.offset);
    // All reads before the first store: they wait for shared memory but once.
    constexpr int kStores = kStepRows * Strip::kGradients;
    float v[kStores][kGroup];
#pragma unroll
    for (int k = 0; k < kStores; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) v[k][i] = from[k * Loader::kPitch + from_[i]];
    }
#pragma unroll
    for (int k = 0; k < kStores; ++k) {
      const int gradient = k % Strip::kGradients;
      rows_.store(row_ + k / Strip::kGradients, to_[gradient], v[k]);
      to_[gradient] += job.row_size;
    }
    row_ += kStepRows;
  }
  // Row r of the step.
  template <typename... Gradients>
  __device__ __forceinline__ void put(const StripJob<Element>&, int r,
                                      const Gradients&... gradients) {
    float* const to =
        reinterpret_cast<float*>(reinterpret_cast<char*>(staged_) + at_.offset) +
        r * Strip::kGradients * Loader::kPitch + offset_;
    int k = 0;
    (store_group(to + k++ * Loader::kPitch, gradients), ...);
  }
  __device__ __forceinline__ void end_step() { at_.advance(); }

 private:
  template <typename Piece>
  __device__ __forceinline__ StagedStore(const StripJob<Element>& job, const Piece& p,
                                         int row, const Unit& unit)
      : staged_(p.staged),
        offset_(p.offset),
        rows_(
            p.thread < (job.groups - Strip::kLost) * job.part_channels ? unit.count : 0,
            p.end - p.begin),
        row_(row - p.begin) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      from_[i] = Loader::place_in_row(job, kGroup * p.thread + i);
    }
    const int64_t to = unit.image * job.image_size + row * job.row_size + unit.in_row;
    to_[0] = job.grad1 + to;
    if constexpr (Strip::kGradients == 2) to_[1] = job.grad2 + to;
  }

  float* const staged_;
  const int offset_;
  int from_[kGroup];
  StoredRows<Loader::kVectors> rows_;
  float* to_[Strip::kGradients];
  int row_;
  RingPosition<2, Strip::kStagedStepBytes> at_{0};
};

template <typename Strip>
using GradientStore = std::conditional_t<Strip::Loader::kInterleaved,
                                         StagedStore<Strip>, DirectStore<Strip>>;

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_
