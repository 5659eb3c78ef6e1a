// From a strip's threads to its outputs in global memory, a row at a time: of the
// piece's rows those that it owns.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_
#define JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/predicated.cuh"
#include "cuda/strip_job.cuh"
#include "cuda/strip_load.cuh"

namespace jax_fused_ssim::cuda {

// Where kGroup neighbouring elements of a row go: in every output to the same place.
struct Destination {
  int64_t at;  // elements into the output, in its row 0; may be negative
  bool exists[kGroup];
};

// How many of a piece's rows a thread stores of each of kGroup elements, or of all of
// them as one: the elements that do not exist have no rows. kWhole: as one where it can
// be; kSingly: there are some that cannot.
template <bool kWhole, bool kSingly>
class StoredRows {
 public:
  // `aligned`: all of them may be stored as one.
  __device__ __forceinline__ StoredRows(const bool (&exists)[kGroup], bool aligned,
                                        int rows) {
    const bool whole = kWhole && aligned && exists[0] && exists[kGroup - 1];
    whole_ = whole ? static_cast<unsigned int>(rows) : 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      single_[i] = exists[i] && !whole ? static_cast<unsigned int>(rows) : 0;
    }
  }
  // In row `row` of the piece.
  template <typename T>
  __device__ __forceinline__ void store(int row, T* to,
                                        const float (&v)[kGroup]) const {
    if constexpr (kWhole) store4_if(static_cast<unsigned int>(row) < whole_, to, v);
    if constexpr (kSingly) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        store_if(static_cast<unsigned int>(row) < single_[i], to + i, v[i]);
      }
    }
  }

 private:
  unsigned int whole_, single_[kGroup];
};

// Where a strip's outputs are: at(job, k), and row_size(job), in elements.
template <typename Strip>
struct Outputs;

// A thread's outputs, Strip::kOutputs of them of type Strip::Output. It puts rows from
// `row` of the piece on, which has `rows` from row `begin` of the output on. `staged`
// is shared memory.

// Channels first: a thread stores its own columns.
template <typename Strip>
class DirectStore {
 public:
  using Output = typename Strip::Output;
  using Job = StripJob<typename Strip::Loader::Element>;

  __device__ __forceinline__ DirectStore(const Job& job, float*, int,
                                         const Destination& destination, bool aligned,
                                         int begin, int rows, int row)
      : rows_(destination.exists, aligned, rows), row_(row) {
    const int64_t at = destination.at + (begin + row) * Outputs<Strip>::row_size(job);
#pragma unroll
    for (int i = 0; i < Strip::kOutputs; ++i) to_[i] = Outputs<Strip>::at(job, i) + at;
  }

  __device__ __forceinline__ void store_last_step(const Job&) {}
  // The next row.
  __device__ __forceinline__ void put(const Job& job, int,
                                      const float (&v)[Strip::kOutputs][kGroup]) {
#pragma unroll
    for (int k = 0; k < Strip::kOutputs; ++k) rows_.store(row_, to_[k], v[k]);
#pragma unroll
    for (int k = 0; k < Strip::kOutputs; ++k) to_[k] += Outputs<Strip>::row_size(job);
    row_ += 1;
  }
  __device__ __forceinline__ void end_step() {}

 private:
  StoredRows<Strip::Loader::kVectors, Strip::kSingly> rows_;
  Output* to_[Strip::kOutputs];
  int row_;
};

// Channels interleaved: the threads of a channel have every so many elements of a row.
// So rows go to shared memory, and a step later to global memory by quads of
// neighbouring elements: storing each element alone would take four times as many
// transactions.
template <typename Strip>
class StagedStore {
 public:
  using Loader = typename Strip::Loader;
  using Output = typename Strip::Output;
  using Job = StripJob<typename Loader::Element>;

  // `destination`: of the thread's quad.
  __device__ __forceinline__ StagedStore(const Job& job, float* staged, int thread,
                                         const Destination& destination, bool aligned,
                                         int begin, int rows, int row)
      : staged_(staged),
        offset_(Columns<Loader>::offset_of(job, thread)),
        rows_(destination.exists, aligned, rows),
        row_(row - kStepRows) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      from_[i] = Columns<Loader>::place_in_row(job, kGroup * thread + i);
    }
    const int64_t at = destination.at + (begin + row_) * Outputs<Strip>::row_size(job);
#pragma unroll
    for (int i = 0; i < Strip::kOutputs; ++i) to_[i] = Outputs<Strip>::at(job, i) + at;
  }

  // After the barrier: the rows of the step before.
  __device__ __forceinline__ void store_last_step(const Job& job) {
    const float* const from = reinterpret_cast<const float*>(
        reinterpret_cast<const char*>(staged_) + Strip::kStagedBytes / 2 - at_.offset);
    // All reads before the first store: they wait for shared memory but once.
    constexpr int kStores = kStepRows * Strip::kOutputs;
    float v[kStores][kGroup];
#pragma unroll
    for (int k = 0; k < kStores; ++k) {
#pragma unroll
      for (int i = 0; i < kGroup; ++i) v[k][i] = from[k * Loader::kPitch + from_[i]];
    }
#pragma unroll
    for (int k = 0; k < kStores; ++k) {
      const int output = k % Strip::kOutputs;
      rows_.store(row_ + k / Strip::kOutputs, to_[output], v[k]);
      to_[output] += Outputs<Strip>::row_size(job);
    }
    row_ += kStepRows;
  }
  // Row r of the step.
  __device__ __forceinline__ void put(const Job&, int r,
                                      const float (&v)[Strip::kOutputs][kGroup]) {
    float* const to =
        reinterpret_cast<float*>(reinterpret_cast<char*>(staged_) + at_.offset) +
        r * Strip::kOutputs * Loader::kPitch + offset_;
#pragma unroll
    for (int k = 0; k < Strip::kOutputs; ++k)
      store_group(to + k * Loader::kPitch, v[k]);
  }
  __device__ __forceinline__ void end_step() { at_.advance(); }

 private:
  float* const staged_;
  const int offset_;
  int from_[kGroup];
  StoredRows<Loader::kVectors, Strip::kSingly> rows_;
  Output* to_[Strip::kOutputs];
  int row_;
  RingPosition<2, Strip::kStagedBytes / 2> at_{0};
};

template <typename Strip>
using OutputStore = std::conditional_t<Strip::Loader::kInterleaved, StagedStore<Strip>,
                                       DirectStore<Strip>>;

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_STORE_CUH_
