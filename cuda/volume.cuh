// SSIM of volumes: a column of a plane marches along the depth, in one pass.
//
// A block owns Shape::kWidth x Shape::kHeight pixels of the map in every slice of its
// piece of the depth, and takes one slice a step. Both images are read there and in a
// halo, as s and d (common/formula.h); the four moments are convolved along the rows,
// from shared memory to shared memory; then along the columns, from shared memory to
// registers; and then along the depth, where a thread keeps, of each pixel that it has
// of one moment, the ten sums that are not complete yet. What is complete is a slice of
// the map: threads of a warp exchange it, so that each has all moments of fewer pixels,
// which are added up, written, or become derivatives. For a gradient these are written
// too, for cuda/volume_gradient.cuh. Without memory for that they go back the same way
// here, along rows and columns; but where they meet the depth they wait in a ring in
// shared memory, as the registers are full. Then a block computes every derivative that
// its gradient sees, which is twice as many.
//
// Whatever lies before or behind the volume is its zero padding: slices of nothing but
// what zeros are without the centres. What comes before is in the sums from the start.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_CUH_
#define JAX_FUSED_SSIM_CUDA_VOLUME_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/centre.h"
#include "common/formula.h"
#include "common/measure.h"
#include "common/plane_sum.h"
#include "cuda/centre.cuh"
#include "cuda/convolve.cuh"
#include "cuda/element.cuh"
#include "cuda/leading.cuh"
#include "cuda/overlap.cuh"
#include "cuda/pieces.cuh"
#include "cuda/predicated.cuh"
#include "cuda/span.cuh"
#include "cuda/volume_filter.cuh"
#include "cuda/volume_shape.h"
#include "cuda/volume_sum.cuh"

namespace jax_fused_ssim::cuda {

template <typename T, VolumeWork kWork, typename Taps, typename Shape>
class Volume {
 public:
  using Job = VolumeJob<T, Taps>;
  using Layout = VolumeLayout<T, kWork, Shape>;
  using Maps = typename Layout::Maps;

  __device__ __forceinline__ Volume(const Job& job, unsigned char* shared)
      : job_(job),
        common_(reinterpret_cast<Common*>(shared)),
        own_(reinterpret_cast<Own*>(shared + sizeof(Common)) + threadIdx.x),
        moments_at_(
            reinterpret_cast<int*>(shared + sizeof(Common) + kThreads * sizeof(Own)) +
            threadIdx.x),
        images_(reinterpret_cast<T*>(shared + Layout::kKeptBytes)),
        moment_rows_(images_ + Layout::kImageWords),
        maps_(moment_rows_ + kBuffers * Layout::kMomentRows),
        map_rows_(maps_ + kBuffers * Layout::kMapWords),
        ring_(map_rows_ + kBuffers * Layout::kRowWords),
        exchange_(Layout::kExchangesInImages ? images_ : ring_ + Layout::kRingWords),
        thread_(threadIdx.x) {
    static_assert(sizeof(Common) + kThreads * (sizeof(Own) + sizeof(*moments_at_)) ==
                      Layout::kKeptBytes,
                  "");
  }

  __device__ __forceinline__ void run() {
    let_next_launch_begin();
    march_columns(job_, [this](const Piece& piece, int64_t column, int64_t channel) {
      place(piece, column, channel);
      __syncthreads();
      march();
      flush();
    });
  }

 private:
  static constexpr bool kGradient = kWork == VolumeWork::kGradient;
  static constexpr bool kDerivatives =
      kWork == VolumeWork::kDerivatives || kWork == VolumeWork::kBothDerivatives;
  static constexpr int kBuffers = Layout::kBuffers;
  static constexpr int kRows = Shape::kRows;
  static constexpr int kTall = Shape::kTall;
  static constexpr int kThreads = Shape::kThreads;
  static constexpr int kGroup = Layout::kGroup;
  static constexpr int kDeep = Layout::kDeep;
  // A row of the images is read in pairs, which begin at an even pixel.
  static_assert(Layout::kOutWidth % 2 == 0 && Layout::kImageLead % 2 == 0 &&
                    Layout::kImageWidth % 2 == 0,
                "");
  static constexpr int kPairs = Layout::kImageWidth / 2;
  static constexpr int kLoads =
      (kPairs * Layout::kImageHeight + kThreads - 1) / kThreads;

  // How many slices after its image slice was asked for a stage takes it.
  static constexpr int kRowsLag = 1;
  static constexpr int kMapLag = Shape::kOverlaps ? 2 : 1;
  static constexpr int kMapRowsLag = Shape::kOverlaps ? 3 : 1;
  static constexpr int kRingLag = Shape::kOverlaps ? 4 : 1;
  static constexpr int kOutLag = kRingLag + 1;

  // What all threads have in common in a piece, in shared memory, as the registers are
  // full: spilled ones would come from far, because little of the cache is left.
  struct alignas(16) Common {
    Pair<T> offsets;
    Centre<T> centre;
    T* gradient;     // from where the column begins in slice 0 of the images
    int64_t map_at;  // the column's, in the map or its weights
    int64_t plane;
  };
  // What a thread has of its own, in one load: where what it reads, and its pixel of
  // the gradient, are in a slice of the images, from the beginning of the column's, or
  // where its derivatives are among those of the column; and bits.
  struct alignas(16) Own {
    int load_at[kLoads], out_at;
    unsigned int flags;
  };

  // Slices [begin, end).
  struct Slices {
    int begin, end;
    __device__ __forceinline__ bool hold(int z) const { return begin <= z && z < end; }
  };

  __device__ __forceinline__ void place(const Piece& piece, int64_t column,
                                        int64_t channel) {
    uint64_t rest = static_cast<uint64_t>(column);
    const int64_t column_x = take_index(rest, job_.columns_x);
    const int64_t column_y = take_index(rest, job_.columns_y);
    const auto image = static_cast<int64_t>(rest);
    // Where the results begin in the image.
    constexpr bool kOfMap = kWork == VolumeWork::kMap;
    const int64_t y = column_y * Layout::kOutHeight + (kOfMap ? job_.map_y : 0);
    const int64_t x = column_x * Layout::kOutWidth;
    const int first = kGradient ? 0 : job_.map_z;
    out_ = {piece.begin + first, piece.end + first};
    const Slices map = {job_.map_z, job_.map_z + job_.map_depth};
    map_ = {max(out_.begin - Layout::kMapHalo, map.begin),
            min(out_.end + Layout::kMapHalo, map.end)};
    slices_ = {max(map_.begin - kRadius, 0), map_.end + kRadius};
    images_end_ = min(slices_.end, job_.depth);

    const ImageOffsets offset = image_offsets(job_.leading, image);
    const int64_t top = y - Layout::kImageHalo, left = x - Layout::kImageLead;
    const Pair<T> centres = volume_centres<Taps>(job_, offset.of[kImg1] + channel,
                                                 offset.of[kImg2] + channel);
    const int64_t corner = (top * job_.width + left) * job_.channels + channel;
    const int64_t plane = image * job_.channels + channel;
    img1_ = job_.img1 + offset.of[kImg1] + corner + slices_.begin * job_.slice;
    img2_ = job_.img2 + offset.of[kImg2] + corner + slices_.begin * job_.slice;
    if constexpr (kDerivatives) {
      derivatives_ =
          job_.derivatives +
          (plane * job_.map_depth + map_.begin - job_.map_z) * job_.derivative_slice +
          (column_y * job_.columns_x + column_x) * Layout::kDerivativeWords;
    }
    if (thread_ == 0) {
      const int64_t map_corner = (y - Layout::kMapHalo - job_.map_y) * job_.map_stride +
                                 (x - Layout::kMapHalo - job_.map_x) * job_.channels +
                                 channel;
      const int64_t map_image =
          kOfMap ? image * job_.map_depth * job_.map_slice : offset.of[kWeight];
      *common_ = {offsets_of<T, Taps>(centres), centre_of<T>(centres),
                  job_.grad1 + image * job_.depth * job_.slice + corner,
                  map_image + map_corner, plane};
    }
    Own own = {};
    place_loads(top, left, own);
    place_map(y - Layout::kMapHalo, x - Layout::kMapHalo, own);
    if constexpr (kGradient) place_gradients(y, x, own);
    if constexpr (kDerivatives) {
      own.out_at = map_row(thread_) * Shape::kWidth + map_column(thread_);
    }
    *own_ = own;
    *moments_at_ = tall_moment(thread_) * Layout::kMomentPlane +
                   tall_row(thread_) * Shape::kWidth + map_column(thread_);
    begin_sums(padding(offsets_of<T, Taps>(centres)));
  }

  // What a slice of padding is, filtered along rows and columns, of the thread's
  // moment.
  __device__ __forceinline__ T padding(Pair<T> offsets) const {
    constexpr T kInverse = T(1 / double(Taps::kScale));
    const SumDifference<T> zero = sum_difference(T(0), T(0), offsets);
    const int moment = tall_moment(thread_);
    const T v = (moment % 2 == 0 ? zero.s : zero.d) * kInverse;
    return moment < 2 ? v : v * v;
  }
  // As if only padding had come yet. Where a piece begins within the volume these sums
  // are not complete before the map begins.
  __device__ __forceinline__ void begin_sums(T padding) {
    T sum = 0;
#pragma unroll
    for (int k = 2 * kRadius - 1; k >= 0; --k) {
      sum = with_tap(job_.window, 2 * kRadius - 1 - k, padding, sum);
#pragma unroll
      for (int r = 0; r < kTall; ++r) sums_[r][k] = sum;
    }
  }

  // Of the pairs that the thread reads, from row `top` and column `left` of the image
  // on.
  __device__ __forceinline__ void place_loads(int64_t top, int64_t left,
                                              Own& own) const {
    const Span rows = clip(0, job_.height, top, Layout::kImageHeight);
    const Span columns = clip(0, job_.width, left, Layout::kImageWidth);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int row = row_of_load(i), column = column_of_load(i);
      own.load_at[i] = static_cast<int>((row * job_.width + column) * job_.channels);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const bool in = rows.holds(row) && columns.holds(column + k);
        own.flags |= unsigned{in} << (kLoadBit + 2 * i + k);
      }
    }
  }
  // The i-th pair of the thread, in what is read.
  __device__ __forceinline__ int row_of_load(int i) const {
    return (thread_ + i * kThreads) / kPairs;
  }
  __device__ __forceinline__ int column_of_load(int i) const {
    return (thread_ + i * kThreads) % kPairs * 2;
  }

  // Of the thread's pixels of the map, from row `top` and column `left` of the image
  // on.
  __device__ __forceinline__ void place_map(int64_t top, int64_t left, Own& own) const {
    const Span rows =
        clip(job_.map_y, job_.map_y + job_.map_height, top, Shape::kHeight);
    const Span columns =
        clip(job_.map_x, job_.map_x + job_.map_width, left, Shape::kWidth);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = map_row(thread_) + r;
      const bool there = rows.holds(row) && columns.holds(map_column(thread_));
      const bool owned =
          is_owned(row, Shape::kHeight) && is_owned(map_column(thread_), Shape::kWidth);
      own.flags |= unsigned{there} << (kThereBit + r);
      own.flags |= unsigned{there && owned} << (kOwnedBit + r);
    }
  }

  // Of the thread's pixel of the gradient, which begins at row y and column x.
  __device__ __forceinline__ void place_gradients(int64_t y, int64_t x, Own& own) {
    const int row = thread_ / Layout::kOutWidth, column = thread_ % Layout::kOutWidth;
    const bool there =
        row < Layout::kOutHeight && y + row < job_.height && x + column < job_.width;
    own.flags |= unsigned{there} << kOutBit;
    own.out_at = static_cast<int>(
        ((row + Layout::kImageHalo) * job_.width + column + Layout::kImageLead) *
        job_.channels);
    // The windows of the results begin in even slots.
    const int first = out_.begin - kRadius - map_.begin;
    slot_ = first & 1;
    out_slot_ = first + slot_ < 0 ? first + slot_ + Layout::kSlots : first + slot_;
  }

  static __device__ __forceinline__ bool has(unsigned int flags, int bit) {
    return (flags & 1u << bit) != 0;
  }

  __device__ __forceinline__ void march() {
    const int last = kGradient ? out_.end + 2 * kRadius + kOutLag + kDeep - 1
                               : slices_.end + kMapLag;
    // How many steps there were, and are left until a slice of the map is complete:
    // counted, as from z the compiler would compute both anew, from where they begin.
    int steps = 0, incomplete = map_.begin + kRadius + kMapLag - slices_.begin;
#pragma unroll 1
    for (int z = slices_.begin; z < last; ++z, ++steps, --incomplete) {
      // Asked for early, needed late.
      T own_x[kDeep], own_y[kDeep];
      const int out = z - kOutLag - 2 * kRadius - (kDeep - 1);
      const bool writes =
          kGradient && out_.hold(out) && (out - out_.begin) % kDeep == 0;
      if (writes) load_own(out, min(z, images_end_) - out, own_x, own_y);
      T x[kLoads][2], y[kLoads][2];
      const bool loads = z < images_end_;
      if (loads) load_slice(*own_, x, y);
      if (steps >= kRowsLag && z - kRowsLag < images_end_) {
        filter_image_rows(z - kRowsLag);
      }
      if constexpr (kGradient) {
        if (writes) write_gradients(out, own_x, own_y);
      }
      end_stage();
      if (steps >= kMapLag && (!kGradient || z - kMapLag < slices_.end)) {
        make_map(z - kMapLag, incomplete <= 0);
      }
      if constexpr (kGradient) {
        end_stage();
        filter_map_rows(z - kMapRowsLag - kRadius);
        end_stage();
        filter_map_columns(z - kRingLag - kRadius);
      }
      if (loads) store_slice(z, x, y);
      __syncthreads();
    }
  }

  static __device__ __forceinline__ void end_stage() {
    if constexpr (!Shape::kOverlaps) __syncthreads();
  }

  // The slice of both images that comes next.
  __device__ __forceinline__ void load_slice(const Own& own, T (&x)[kLoads][2],
                                             T (&y)[kLoads][2]) {
    const auto in = [&](int i, int k) { return has(own.flags, kLoadBit + 2 * i + k); };
    if (job_.has_pairs) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        load2_if(in(i, 0), img1_ + own.load_at[i], x[i]);
        load2_if(in(i, 0), img2_ + own.load_at[i], y[i]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const int64_t at = own.load_at[i] + k * job_.channels;
          x[i][k] = in(i, k) ? load(img1_ + at) : T(0);
          y[i][k] = in(i, k) ? load(img2_ + at) : T(0);
        }
      }
    }
    img1_ += job_.slice;
    img2_ += job_.slice;
  }

  __device__ __forceinline__ void store_slice(int z, const T (&x)[kLoads][2],
                                              const T (&y)[kLoads][2]) {
    T* const s = images_ + buffer(z) * Layout::kImages;
    T* const d = s + Layout::kImagePlane;
    const Pair<T> offsets = common_->offsets;
    const unsigned int thread = thread_anew();
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const unsigned int pair = thread + i * kThreads;
      if (pair >= kPairs * Layout::kImageHeight) continue;
      SumDifference<T> v[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) v[k] = sum_difference(x[i][k], y[i][k], offsets);
      store_row(s + 2 * pair, {v[0].s, v[1].s});
      store_row(d + 2 * pair, {v[0].d, v[1].d});
    }
  }

  // s, d of a slice -> row-filtered s, d, s^2, d^2. Behind the last row of s begins
  // that of d, and so it is with what comes of them: rows are counted through both.
  __device__ __forceinline__ void filter_image_rows(int z) {
    constexpr int kGroups = Shape::kWidth / kGroup;
    constexpr int kItems = kGroups * 2 * Layout::kImageHeight;
    static_assert(kThreads % kGroups == 0, "whole rows at a time");
    const unsigned int thread = thread_anew();
    constexpr unsigned int kBetweenRows = Layout::kImageWidth - Shape::kWidth;
    const T* from = images_ + buffer(z) * Layout::kImages + thread * kGroup +
                    thread / kGroups * kBetweenRows;
    T* to = moment_rows_ + buffer(z) * Layout::kMomentRows + thread * kGroup;
#pragma unroll 1
    for (unsigned int i = thread; i < kItems; i += kThreads) {
      T in[kGroup + 2 * kRadius], out[kGroup];
      load_image_row(from, in);
      convolve(job_.window, window_of_moment(0), in, out);
      T* const row = i < kItems / 2 ? to : to + Layout::kMomentGap;
      store_four(row, out);
#pragma unroll
      for (T& v : in) v *= v;
      convolve(job_.window, window_of_moment(2), in, out);
      store_four(row + 2 * Layout::kMomentPlane, out);
      from += kThreads / kGroups * Layout::kImageWidth;
      to += kThreads * kGroup;
    }
    static_assert(window_of_moment(0) == window_of_moment(1), "");
    static_assert(window_of_moment(2) == window_of_moment(3), "");
  }

  // What a group's windows see.
  static __device__ __forceinline__ void load_image_row(const T* from,
                                                        T (&in)[kGroup + 2 * kRadius]) {
    constexpr int kBefore = Layout::kImageBefore;
    T all[kGroup + 2 * kRadius + 2 * kBefore];
    load_row(from, all);
#pragma unroll
    for (int k = 0; k < kGroup + 2 * kRadius; ++k) in[k] = all[k + kBefore];
  }

  // A slice of row-filtered moments -> the slice of the map that it completes.
  __device__ __forceinline__ void make_map(int z, bool complete) {
    const int map_slice = z - kRadius;
    const unsigned int flags = own_->flags;
    const bool weighted =
        kWork != VolumeWork::kMap && job_.weight != nullptr && complete;
    T weight[kRows];
    if (weighted) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        weight[r] =
            has(flags, kThereBit + r)
                ? load(static_cast<const T*>(job_.weight) + map_at(map_slice, r))
                : T(0);
      }
    }
    T tall[kTall];
    if (z < images_end_) {
      T in[kTall + 2 * kRadius];
      load_column<Shape::kWidth>(
          moment_rows_ + buffer(z) * Layout::kMomentRows + *moments_at_, in);
      convolve_down(job_.window, in, tall);
    } else {
      const T v = padding(common_->offsets);
#pragma unroll
      for (T& mean : tall) mean = v;
    }
    if (complete) {
      T completed[kTall];
#pragma unroll
      for (int r = 0; r < kTall; ++r) {
        completed[r] = completed_by(job_.window, tall[r], sums_[r]);
      }
      T moments[kMoments][kRows];
      exchange(completed, moments);
      take_map(map_slice, flags, moments, weighted, weight);
    }
#pragma unroll
    for (int r = 0; r < kTall; ++r) add_slice(job_.window, tall[r], sums_[r]);
  }

  // A slice of the map, of which the thread has the moments of kRows pixels.
  __device__ __forceinline__ void take_map(int map_slice, unsigned int flags,
                                           const T (&moments)[kMoments][kRows],
                                           bool weighted, const T (&weight)[kRows]) {
    if (map_slice % VolumeSum<T>::kSlices == 0) flush();
    const Centre<T> centre = common_->centre;
    const unsigned int thread = thread_anew();
    T* const maps = kDerivatives
                        ? of_global_memory(derivatives_) + own_->out_at
                        : maps_ + buffer(map_slice) * Layout::kMapWords +
                              map_row(thread) * Layout::kMapPitch + map_column(thread);
    constexpr int kMapPlane =
        kDerivatives ? Shape::kWidth * Shape::kHeight : Layout::kMapPlane;
    constexpr int kMapPitch = kDerivatives ? Shape::kWidth : Layout::kMapPitch;
    T halves[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const Moments<T> m = {moments[0][r], moments[1][r], moments[2][r], moments[3][r]};
      const Terms<T> terms(m, centre, job_.constants);
      sum_.add(terms, has(flags, kOwnedBit + r));
      if constexpr (kWork != VolumeWork::kMap) {
        T derivatives[Layout::kMaps];
        Maps::at_pixel(m, terms, T(1), derivatives);
        // The rows of all maps have the unit window.
#pragma unroll
        for (int k = 0; k < Layout::kMaps; ++k) {
          if (Maps::window(k) == Window::kNormal) derivatives[k] *= Taps::kScale;
        }
        if (weighted) {
#pragma unroll
          for (T& derivative : derivatives) derivative *= weight[r];
        }
#pragma unroll
        for (int k = 0; k < Layout::kMaps; ++k) {
          maps[k * kMapPlane + r * kMapPitch] =
              has(flags, kThereBit + r) ? derivatives[k] : T(0);
        }
      } else {
        halves[r] = terms.half_dissimilarity(T(1));
      }
    }
    if constexpr (kDerivatives) derivatives_ += job_.derivative_slice;
    if (kWork == VolumeWork::kMap && job_.map) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (!has(flags, kOwnedBit + r)) continue;
        store(job_.map + map_at(map_slice, r), map_value(halves[r], T(1)));
      }
    }
    sum_.end_slice(!kGradient || out_.hold(map_slice));
  }

  // From the rows that lanes have of one moment to all moments of the pixels that they
  // have. A lane's rows lie by fours, in an order in which no two lanes meet in a bank.
  __device__ __forceinline__ void exchange(const T (&tall)[kTall],
                                           T (&moments)[kMoments][kRows]) const {
    static_assert(kRows <= 2 && kBeside == 8, "");
    const unsigned int thread = thread_anew(), first_four = kRows == 2 ? thread & 4 : 0;
    const unsigned int own = thread * kTall ^ first_four;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const T four[4] = {tall[4 * i], tall[4 * i + 1], tall[4 * i + 2],
                         tall[4 * i + 3]};
      store_four(exchange_ + (own ^ 4 * i), four);
    }
    __syncwarp();
    const unsigned int first_moment = thread & ~(31u - (kBeside - 1));
    const T* const from =
        exchange_ + (first_moment * kTall + thread % 32 / kBeside * kRows ^ first_four);
#pragma unroll
    for (int k = 0; k < kMoments; ++k) {
      if constexpr (kRows == 2) {
        load_row(from + k * kBeside * kTall, moments[k]);
      } else {
        moments[k][0] = from[k * kBeside * kTall];
      }
    }
  }

  // The derivatives of a slice of the map, filtered along the rows.
  __device__ __forceinline__ void filter_map_rows(int map_slice) {
    if (!map_.hold(map_slice)) return;
    constexpr int kItems = Layout::kOutGroups * Shape::kHeight;  // of a map
    const T* const from = maps_ + buffer(map_slice) * Layout::kMapWords;
    T* const to = map_rows_ + buffer(map_slice) * Layout::kRowWords;
    for (int i = kThreads - 1 - thread_; i < Layout::kMaps * kItems; i += kThreads) {
      const int map = i / kItems, item = i % kItems;
      const int row = item % Shape::kHeight;
      const int column = item / Shape::kHeight * kGroup;
      T in[kGroup + 2 * kRadius], out[kGroup];
      load_row(from + map * Layout::kMapPlane + row * Layout::kMapPitch + column, in);
      convolve(job_.mirrored, Window::kUnit, in, out);
      store_four(to + map * Layout::kRowPlane + row * Layout::kRowPitch + column, out);
    }
  }

  // These, filtered along the columns, into the ring.
  __device__ __forceinline__ void filter_map_columns(int map_slice) {
    if (!map_.hold(map_slice)) return;
    constexpr int kItems = Layout::kOutWidth * Layout::kOutRowGroups;  // of a map
    const T* const from = map_rows_ + buffer(map_slice) * Layout::kRowWords;
    T* const to = ring_ + slot_ * Layout::kSlot;
    slot_ = slot_after(slot_, 1);
    for (int i = thread_; i < Layout::kMaps * kItems; i += kThreads) {
      const int map = i / kItems, item = i % kItems;
      const int row = item / Layout::kOutWidth * kGroup;
      const int column = item % Layout::kOutWidth;
      T in[kGroup + 2 * kRadius], out[kGroup];
      load_column<Layout::kRowPitch>(
          from + map * Layout::kRowPlane + row * Layout::kRowPitch + column, in);
      convolve_down(job_.mirrored, in, out);
#pragma unroll
      for (int r = 0; r < kGroup; ++r) {
        if (row + r < Layout::kOutHeight) {
          to[map * Layout::kOutPlane + (row + r) * Layout::kOutWidth + column] = out[r];
        }
      }
    }
  }

  // The pixels of both images whose gradients a thread has, in kDeep slices from z on,
  // which is so many behind the one that is loaded next.
  __device__ __forceinline__ void load_own(int z, int behind, T (&x)[kDeep],
                                           T (&y)[kDeep]) const {
    const Own own = *own_;
    const T* const img1 = img1_ - behind * job_.slice;
    const T* const img2 = img2_ - behind * job_.slice;
#pragma unroll
    for (int i = 0; i < kDeep; ++i) {
      const bool in = has(own.flags, kOutBit) && z + i < out_.end;
      x[i] = in ? load(img1 + own.out_at + i * job_.slice) : T(0);
      y[i] = in ? load(img2 + own.out_at + i * job_.slice) : T(0);
    }
  }

  // These slices of the gradient, from those in the ring.
  __device__ __forceinline__ void write_gradients(int z, const T (&x)[kDeep],
                                                  const T (&y)[kDeep]) {
    const int slot = out_slot_;
    out_slot_ = slot_after(out_slot_, kDeep);
    const Own own = *own_;
    if (!has(own.flags, kOutBit)) return;
    T means[kDeep][Layout::kMaps] = {};
    const int first = z - kRadius;
    if (map_.hold(first) && map_.hold(first + kWindow + kDeep - 2)) {
      add_slices<true>(first, slot, means);
    } else {
      add_slices<false>(first, slot, means);
    }
#pragma unroll
    for (int i = 0; i < kDeep; ++i) {
      const SumDifference<T> v = sum_difference(x[i], y[i], common_->offsets);
      T gradient[1];
      Maps::template gradients<false, false>(means[i], v.s, v.d, T(0), T(0),
                                             job_.gradient_factors, gradient);
      if (z + i < out_.end) {
        store(common_->gradient + (z + i) * job_.slice + own.out_at, gradient[0]);
      }
    }
  }

  // What kDeep windows along the depth see, the first from a slice of the map on, which
  // is in this slot. kAll: all of those slices are there.
  template <bool kAll>
  __device__ __forceinline__ void add_slices(int first, int slot,
                                             T (&means)[kDeep][Layout::kMaps]) const {
    const T* const from = ring_ + slot * Layout::kSlot + thread_;
#pragma unroll
    for (int k = 0; k < kWindow + kDeep - 1; ++k) {
      if (!kAll && !map_.hold(first + k)) continue;
      // Where the ring ends two slots end.
      const bool wraps = slot + k / 2 * 2 >= Layout::kSlots;
      const T* const at = wraps ? from - Layout::kSlots * Layout::kSlot : from;
#pragma unroll
      for (int map = 0; map < Layout::kMaps; ++map) {
        const T v = at[k * Layout::kSlot + map * Layout::kOutPlane];
#pragma unroll
        for (int i = 0; i < kDeep; ++i) {
          if (k < i || k - i >= kWindow) continue;
          means[i][map] = with_tap(job_.mirrored, k - i, v, means[i][map]);
        }
      }
    }
  }

  // Adds the sum to that of the plane.
  __device__ __forceinline__ void flush() {
    if (!job_.accumulators) return;
    const PlaneSum term = sum_.take();
    if (thread_ % 32 != 0) return;
    wait_for_launch_before();
    PlaneSum* const total = job_.accumulators + common_->plane;
    atomicAdd(&total->coarse, term.coarse);
    atomicAdd(&total->fine, term.fine);
    if (term.not_finite) atomicOr(&total->not_finite, term.not_finite);
  }

  // The thread, of which the compiler does not know that it is the same in every step:
  // it would keep what follows from it in registers, and spill others for that.
  static __device__ __forceinline__ unsigned int thread_anew() {
    unsigned int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
  }
  static __device__ __forceinline__ int buffer(int z) { return z & (kBuffers - 1); }
  // Of the ring.
  static __device__ __forceinline__ int slot_after(int slot, int count) {
    const int next = slot + count;
    return next < Layout::kSlots ? next : next - Layout::kSlots;
  }
  // A warp has kBeside columns of the map, kTall rows each: before the exchange, for
  // every moment, as many lanes side by side with all of the rows, and behind it as
  // many with kRows of them.
  static constexpr int kBeside = 32 / kMoments;
  static __device__ __forceinline__ int map_column(unsigned int thread) {
    return thread / 32 % (Shape::kWidth / kBeside) * kBeside + thread % kBeside;
  }
  static __device__ __forceinline__ int tall_row(unsigned int thread) {
    return thread / (32 * Shape::kWidth / kBeside) * kTall;
  }
  static __device__ __forceinline__ int map_row(unsigned int thread) {
    return tall_row(thread) + thread % 32 / kBeside * kRows;
  }
  static __device__ __forceinline__ int tall_moment(unsigned int thread) {
    return thread % 32 / kBeside;
  }
  static __device__ __forceinline__ bool is_owned(int i, int places) {
    return Layout::kMapHalo <= i && i < places - Layout::kMapHalo;
  }
  // The thread's r-th pixel of a slice of the map, in the map or its weights.
  __device__ __forceinline__ int64_t map_at(int map_slice, int r) const {
    return common_->map_at + (map_slice - job_.map_z) * job_.map_slice +
           (map_row(thread_) + r) * job_.map_stride +
           map_column(thread_) * job_.channels;
  }
  __device__ __forceinline__ SumDifference<T> sum_difference(T x, T y,
                                                             Pair<T> offsets) const {
    return jax_fused_ssim::cuda::sum_difference<false>(x, y, offsets,
                                                       job_.constants.tap_over_range);
  }

  // Bits of Own::flags: which pixels there are of those that the thread reads, of those
  // that it has in the map, of which the second ones count here and nowhere else, and
  // whether it has one in the gradient.
  static constexpr int kLoadBit = 0, kThereBit = 2 * kLoads,
                       kOwnedBit = kThereBit + kRows, kOutBit = kOwnedBit + kRows;
  static_assert(kOutBit < 32, "");

  const Job& job_;
  Common* const common_;
  Own* const own_;
  int* const moments_at_;  // where the columns are that a thread convolves
  T* const images_;
  T* const moment_rows_;
  T* const maps_;
  T* const map_rows_;
  T* const ring_;
  T* const exchange_;
  const int thread_;

  // Of the images, the map and the results that it takes, those of the images with the
  // padding behind them, which begins with slice images_end_.
  Slices slices_, map_, out_;
  int images_end_;
  // From where the column begins, in the slices of the images and the map that come
  // next.
  const T* img1_;
  const T* img2_;
  T* derivatives_;
  int slot_, out_slot_;         // of the ring, that come next
  T sums_[kTall][2 * kRadius];  // of the moment whose rows it has
  VolumeSum<T> sum_;
};

// Whether any block here can have so much shared memory: what cannot run is not built.
template <VolumeWork kWork, typename Shape>
__device__ constexpr bool fits_this_architecture() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return kWork != VolumeWork::kGradient || !Shape::kOverlaps;
#else
  return true;
#endif
}

template <typename T, VolumeWork kWork, typename Taps, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    volume_kernel(const __grid_constant__ VolumeJob<T, Taps> job) {
  extern __shared__ __align__(16) unsigned char shared[];
  if constexpr (fits_this_architecture<kWork, Shape>()) {
    unsigned char* pinned = shared;
    pin_shared(pinned);
    Volume<T, kWork, Taps, Shape>(job, pinned).run();
  } else {
    __trap();
  }
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_CUH_
