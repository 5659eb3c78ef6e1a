// The gradients of volumes from the derivatives that cuda/volume.cuh left in memory.
//
// A block owns Shape::kWidth x Shape::kHeight pixels of the gradient in every slice of
// its piece of the depth, and takes one slice a step: the derivatives there and in a
// halo, copied asynchronously some steps ahead, are convolved along the rows, from
// shared memory to shared memory; a step later along the columns, from there to
// registers; and then along the depth, where a thread keeps, of each of its pixels and
// each map of derivatives, the ten sums that are not complete yet.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_GRADIENT_CUH_
#define JAX_FUSED_SSIM_CUDA_VOLUME_GRADIENT_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/measure.h"
#include "cuda/centre.cuh"
#include "cuda/convolve.cuh"
#include "cuda/element.cuh"
#include "cuda/leading.cuh"
#include "cuda/overlap.cuh"
#include "cuda/pieces.cuh"
#include "cuda/predicated.cuh"
#include "cuda/volume_filter.cuh"
#include "cuda/volume_shape.h"

namespace jax_fused_ssim::cuda {

template <typename T, int kGradients, typename Taps, typename Shape>
class VolumeGradient {
 public:
  using Job = VolumeJob<T, Taps>;
  using Layout = VolumeGradientLayout<T, kGradients, Shape>;
  using Maps = DerivativeMaps<kGradients>;

  __device__ __forceinline__ VolumeGradient(const Job& job, unsigned char* shared)
      : job_(job),
        slices_(reinterpret_cast<T*>(shared)),
        rows_(slices_ + Layout::kSlices * Layout::kSliceWords),
        thread_(threadIdx.x) {}

  __device__ __forceinline__ void run() {
    let_next_launch_begin();
    wait_for_launch_before();
    march_columns(job_, [this](const Piece& piece, int64_t column, int64_t channel) {
      place(piece, column, channel);
      march();
    });
  }

 private:
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kRows = Shape::kRows;
  static constexpr int kMaps = Layout::kMaps;
  static constexpr int kGroup = Layout::kGroup;
  static constexpr int kCopies = (Layout::kCopies + kThreads - 1) / kThreads;

  __device__ __forceinline__ void place(const Piece& piece, int64_t column,
                                        int64_t channel) {
    uint64_t rest = static_cast<uint64_t>(column);
    const int64_t column_x = take_index(rest, job_.columns_x);
    const int64_t column_y = take_index(rest, job_.columns_y);
    const int64_t x = column_x * Shape::kWidth, y = column_y * Shape::kHeight;
    const auto image = static_cast<int64_t>(rest);
    begin_ = piece.begin;
    end_ = piece.end;
    const ImageOffsets offset = image_offsets(job_.leading, image);
    const T* const img1 = job_.img1 + offset.of[kImg1] + channel;
    const T* const img2 = job_.img2 + offset.of[kImg2] + channel;
    offsets_ = offsets_of<T, Taps>(volume_centres<Taps>(
        job_, offset.of[kImg1] + channel, offset.of[kImg2] + channel));

    const int64_t own_y = y + thread_ / Shape::kWidth * kRows,
                  own_x = x + thread_ % Shape::kWidth;
    const int64_t own = (own_y * job_.width + own_x) * job_.channels;
    const int64_t at = begin_ * job_.slice + own;
    img1_ = img1 + at;
    img2_ = img2 + at;
    const int64_t result = image * job_.depth * job_.slice + channel + at;
    grad_[0] = job_.grad1 + result;
    if constexpr (kGradients == 2) grad_[1] = job_.grad2 + result;
    row_ = job_.width * job_.channels;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      there_[r] = own_y + r < job_.height && own_x < job_.width;
    }

    const T* const derivatives =
        job_.derivatives +
        ((image * job_.channels + channel) * job_.map_depth + first_slice() -
         job_.map_z) *
            job_.derivative_slice +
        (column_y * job_.columns_x + column_x) * Layout::kColumnWords;
    copies_ = 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int copy = thread_ + i * kThreads;
      // From the first pixel of the column that is left above of this one.
      const int row = copy / Layout::kRowCopies + Shape::kHeight - kRadius;
      const int place =
          copy % Layout::kRowCopies * Layout::kOfCopy + Shape::kWidth - Layout::kLead;
      const int64_t down = row / Shape::kHeight - 1, right = place / Shape::kWidth - 1;
      from_[i] = derivatives + (down * job_.columns_x + right) * Layout::kColumnWords +
                 row % Shape::kHeight * Shape::kWidth + place % Shape::kWidth;
      to_[i] = copy / Layout::kRowCopies * Layout::kPitch +
               copy % Layout::kRowCopies * Layout::kOfCopy;
      if (copy >= Layout::kCopies) continue;
      const bool in = column_y + down >= 0 && column_y + down < job_.columns_y &&
                      column_x + right >= 0 && column_x + right < job_.columns_x;
      copies_ |= unsigned{in} << i;
      // What lies beside is zero in every slice.
      if (in) continue;
#pragma unroll 1
      for (int k = 0; k < Layout::kSlices * kMaps; ++k) {
#pragma unroll
        for (int j = 0; j < Layout::kOfCopy; ++j) {
          slices_[k * Layout::kMapWords + to_[i] + j] = 0;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int map = 0; map < kMaps; ++map) {
#pragma unroll
        for (T& sum : sums_[r][map]) sum = 0;
      }
    }
  }

  // Of the map.
  __device__ __forceinline__ int first_slice() const {
    return max(begin_ - kRadius, job_.map_z);
  }

  __device__ __forceinline__ void march() {
    const int first = first_slice(), last = end_ + kRadius;
    // Others are zero.
    const int end_of_map = min(last, job_.map_z + job_.map_depth);
    int slot = 0, next_slot = Layout::kAhead;
    for (int i = 0; i < Layout::kAhead; ++i) copy(i, first + i < end_of_map);
    // The rows of slice z are filtered a step before its columns.
#pragma unroll 1
    for (int z = first; z <= last; ++z) {
      T x[kRows], y[kRows];
      const bool writes = z - 1 - kRadius >= begin_;
      if (writes) load_own(x, y);
      wait_for_copies<Layout::kAhead - 1>();
      __syncthreads();
      copy(next_slot, z + Layout::kAhead < end_of_map);
      if (z < end_of_map) filter_rows(slot, z & 1);
      if (z > first) {
        if (z <= end_of_map) {
          add_columns<true>(~z & 1, writes, x, y);
        } else {
          add_columns<false>(~z & 1, writes, x, y);
        }
      }
      slot = slot_after(slot);
      next_slot = slot_after(next_slot);
    }
  }

  // Begins the copies of the slice that comes next, if there is one.
  __device__ __forceinline__ void copy(int slot, bool there) {
    if (there) {
      T* const to = slices_ + slot * Layout::kSliceWords;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        if (!(copies_ >> i & 1)) continue;
#pragma unroll
        for (int map = 0; map < kMaps; ++map) {
          copy_sixteen(to + to_[i] + map * Layout::kMapWords,
                       from_[i] + map * (Shape::kWidth * Shape::kHeight));
        }
        advance(from_[i], job_.derivative_slice);
      }
    }
    commit_copies();
  }
  // So that the compiler keeps the address: it would compute it anew every time.
  template <typename Element>
  static __device__ __forceinline__ void advance(Element*& at, int64_t elements) {
    at += elements;
#ifdef __CUDA_ARCH__
    asm volatile("" : "+l"(at));
#endif
  }
  static __device__ __forceinline__ void copy_sixteen(T* to, const T* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)),
                 "l"(from)
                 : "memory");
#else
    *reinterpret_cast<int4*>(to) = *reinterpret_cast<const int4*>(from);
#endif
  }

  __device__ __forceinline__ void filter_rows(int slot, int buffer) {
    constexpr int kGroups = Shape::kWidth / kGroup;
    constexpr int kItems = kMaps * Layout::kHeight * kGroups;
    const T* const from = slices_ + slot * Layout::kSliceWords;
    T* const to = rows_ + buffer * Layout::kRowWords;
#pragma unroll
    for (int i = 0; i < (kItems + kThreads - 1) / kThreads; ++i) {
      const int item = thread_ + i * kThreads;
      if (item >= kItems) break;
      const int row = item / kGroups, column = item % kGroups * kGroup;
      T in[kGroup + 2 * kRadius], out[kGroup];
      load_window(from + row * Layout::kPitch + column, in);
      convolve(job_.mirrored, Window::kUnit, in, out);
#pragma unroll
      for (int k = 0; k < kGroup; k += 4) {
        const T four[4] = {out[k], out[k + 1], out[k + 2], out[k + 3]};
        store_four(to + row * Layout::kRowPitch + column + k, four);
      }
    }
  }

  // What a group's windows see of a row, from where that of the copies begins: by
  // sixteen bytes, but for the ends.
  static __device__ __forceinline__ void load_window(const T* from,
                                                     T (&in)[kGroup + 2 * kRadius]) {
    constexpr int kCount = kGroup + 2 * kRadius;
    constexpr int kSkipped = Layout::kLead - kRadius;
    static_assert(
        (kSkipped + 1) % Layout::kOfCopy == 0 && (kCount - 2) % Layout::kOfCopy == 0,
        "");
    in[0] = from[kSkipped];
#pragma unroll
    for (int k = 1; k < kCount - 1; k += Layout::kOfCopy) {
      if constexpr (Layout::kOfCopy == 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + kSkipped + k);
        in[k] = four.x;
        in[k + 1] = four.y;
        in[k + 2] = four.z;
        in[k + 3] = four.w;
      } else {
        const Pair<T> pair = *reinterpret_cast<const Pair<T>*>(from + kSkipped + k);
        in[k] = pair.x;
        in[k + 1] = pair.y;
      }
    }
    in[kCount - 1] = from[kSkipped + kCount - 1];
  }

  // The columns of a slice, and the slice of the gradient that it completes.
  template <bool kInMap>
  __device__ __forceinline__ void add_columns(int buffer, bool writes,
                                              const T (&x)[kRows],
                                              const T (&y)[kRows]) {
    T means[kRows][kMaps];
#pragma unroll
    for (int map = 0; map < kMaps; ++map) {
      T v[kRows] = {};
      if constexpr (kInMap) {
        T in[kRows + 2 * kRadius];
        load_column<Layout::kRowPitch>(
            rows_ + buffer * Layout::kRowWords +
                (map * Layout::kHeight + thread_ / Shape::kWidth * kRows) *
                    Layout::kRowPitch +
                thread_ % Shape::kWidth,
            in);
        convolve_down(job_.mirrored, in, v);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        means[r][map] = completed_by(job_.mirrored, v[r], sums_[r][map]);
        add_slice(job_.mirrored, v[r], sums_[r][map]);
      }
    }
    if (!writes) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const SumDifference<T> v =
          sum_difference<false>(x[r], y[r], offsets_, job_.constants.tap_over_range);
      T gradient[kGradients];
      Maps::template gradients<false, false>(means[r], v.s, v.d, T(0), T(0),
                                             job_.gradient_factors, gradient);
#pragma unroll
      for (int k = 0; k < kGradients; ++k) {
        if (there_[r]) store(of_global_memory(grad_[k]) + r * row_, gradient[k]);
      }
    }
#pragma unroll
    for (T*& gradient : grad_) advance(gradient, job_.slice);
  }

  // The pixels of both images whose gradients a thread has in the slice that comes
  // next.
  __device__ __forceinline__ void load_own(T (&x)[kRows], T (&y)[kRows]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      x[r] = there_[r] ? load(img1_ + r * row_) : T(0);
      y[r] = there_[r] ? load(img2_ + r * row_) : T(0);
    }
    advance(img1_, job_.slice);
    advance(img2_, job_.slice);
  }

  static __device__ __forceinline__ int slot_after(int slot) {
    return slot + 1 < Layout::kSlices ? slot + 1 : 0;
  }

  const Job& job_;
  T* const slices_;
  T* const rows_;
  const int thread_;

  int begin_, end_;  // slices of the gradient that it takes
  Pair<T> offsets_;
  // The thread's first pixel in the slice that comes next, and how far it is to the row
  // below.
  const T* img1_;
  const T* img2_;
  T* grad_[kGradients];
  int64_t row_;
  // What the thread copies of a map of derivatives.
  const T* from_[kCopies];
  int to_[kCopies];
  unsigned int copies_;  // bits: that there are
  bool there_[kRows];    // the thread's pixels
  T sums_[kRows][kMaps][2 * kRadius];
};

template <typename T, int kGradients, typename Taps, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    volume_gradient_kernel(const __grid_constant__ VolumeJob<T, Taps> job) {
  extern __shared__ __align__(16) unsigned char shared[];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  constexpr bool kFits = Shape::kWidth < 32;
#else
  constexpr bool kFits = true;
#endif
  if constexpr (kFits) {
    VolumeGradient<T, kGradients, Taps, Shape>(job, shared).run();
  } else {
    __trap();
  }
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_GRADIENT_CUH_
