// SSIM over a tile of one plane: its sum, its map or those of its two factors, its
// gradients, in one pass.
//
// A block owns kHeight x kWidth pixels. It reads both images there and in a halo, once,
// and keeps s and d (common/formula.h) in shared memory; convolves s, d, s^2, d^2 along
// the rows, then along the columns, for the map pixels centred in the tile; adds those
// up or writes them. For gradients the map is computed 5 pixels further out each way
// (so the images are read 10 further out), its derivatives take the place of the
// row-filtered moments, and three separable convolutions, four for both gradients, end
// in one write a pixel. Global traffic a pixel of float32: 8 bytes in and 4 out for
// each image wanted, times the halo where it misses the caches. Arithmetic, without the
// halo: 82 fused multiply-adds for the value, 143 with one gradient, 164 with both.
//
// Why tiles: blocks are many and independent, so a small image spreads over the whole
// chip at once. The price is the halo, computed again by each neighbour (1.2 times the
// work for the value, 1.7 with gradient), which large images need not pay. Why these
// sizes: see TileShape in cuda/tile_shape.h. Why several outputs a thread: n neighbours
// share n + 10 inputs, and shared memory, not arithmetic, limits the kernel when n is
// small.

#ifndef JAX_FUSED_SSIM_CUDA_TILE_CUH_
#define JAX_FUSED_SSIM_CUDA_TILE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "common/formula.h"
#include "common/measure.h"
#include "common/plane_sum.h"
#include "cuda/centre.cuh"
#include "cuda/convolve.cuh"
#include "cuda/element.cuh"
#include "cuda/error_sum.cuh"
#include "cuda/leading.cuh"
#include "cuda/overlap.cuh"
#include "cuda/span.cuh"
#include "cuda/tile_shape.h"
#include "cuda/tile_sum.cuh"

namespace jax_fused_ssim::cuda {

// kIntegers: images may be integers. kWeights: a loss may have weights. kLeavesOut:
// windows may not see what has none. kFactors: the maps are those of the two factors.
template <typename Element, int kGradients, bool kErrors, bool kIntegers, bool kWeights,
          bool kLeavesOut, bool kFactors, typename Taps, typename Shape>
class Tile {
 public:
  using Job = TileJob<Element, Taps>;
  using T = Compute<Element>;
  using Sum = typename TileSum<T>::Sum;
  using Layout = TileLayout<T, kGradients, kErrors, Shape>;
  using Maps = DerivativeMaps<kGradients>;
  using Errors = ErrorSum<T, kWeights, Taps>;

  __device__ __forceinline__ Tile(const Job& job, unsigned char* shared)
      : job_(job),
        warp_sums_(reinterpret_cast<Sum*>(shared)),
        warp_errors_(reinterpret_cast<ErrorSums*>(shared + Layout::kSumBytes)),
        s_(reinterpret_cast<T*>(shared + Layout::kSumBytes + Layout::kErrorBytes)),
        d_(s_ + Layout::kImagePlane),
        moments_(d_ + Layout::kImagePlane),
        maps_(moments_),
        map_rows_(moments_ + Layout::kMaps * Layout::kMapPlane),
        thread_(threadIdx.x) {}

  __device__ __forceinline__ void run(int64_t index) {
    let_next_launch_begin();
    place(index);
    read_images();
    __syncthreads();
    filter_image_rows();
    __syncthreads();
    Sum sum = 0;
    if constexpr (kGradients == 0) {
      for (int i = thread_; i < kSegments; i += Shape::kThreads) map_segment(i, sum);
      reduce_in_warp(sum);
      if constexpr (kErrors) count_errors();
      __syncthreads();
      add_to_plane();
    } else {
      // The derivatives overwrite the moments, so they wait in registers until every
      // thread has read its own.
      static_assert(kSegments <= Shape::kThreads, "one segment a thread");
      T derivatives[Layout::kMaps][Shape::kRows1];
      if (thread_ < kSegments) map_segment(thread_, sum, derivatives);
      reduce_in_warp(sum);
      __syncthreads();
      if (thread_ < kSegments) store_derivatives(thread_, derivatives);
      __syncthreads();
      filter_map_rows();
      __syncthreads();
      write_gradients();
      if constexpr (kErrors) __syncthreads();
      add_to_plane();
    }
  }

 private:
  // Column segments of the map, kRows1 long; the last of a column is moved up to end
  // with it and leaves its first rows to the one before.
  static constexpr int kSegmentsInColumn =
      (Layout::kMapHeight + Shape::kRows1 - 1) / Shape::kRows1;
  static constexpr int kSegments = kSegmentsInColumn * Layout::kMapWidth;
  static constexpr bool kSegmentsOverlap = Layout::kMapHeight % Shape::kRows1 != 0;

  struct Segment {
    int column, top, fresh;  // rows from `fresh` on are this segment's
  };
  static __device__ __forceinline__ Segment segment(int i) {
    const int fresh = i / Layout::kMapWidth * Shape::kRows1;
    constexpr int kLast = Layout::kMapHeight - Shape::kRows1;
    return {i % Layout::kMapWidth, fresh < kLast ? fresh : kLast, fresh};
  }
  static __device__ __forceinline__ bool is_fresh(const Segment& segment, int row) {
    return !kSegmentsOverlap || row >= segment.fresh;
  }

  __device__ __forceinline__ void place(int64_t index) {
    uint64_t rest = static_cast<uint64_t>(index);
    channel_ = take_index(rest, job_.channels);
    const int64_t tile_x = take_index(rest, job_.tiles_x);
    const int64_t tile_y = take_index(rest, job_.tiles_y);
    image_ = static_cast<int64_t>(rest);

    y_ = axis(tile_y * Shape::kHeight + (Layout::kOfMap ? job_.map_y : 0), job_.height,
              job_.map_height, job_.map_y, Layout::kMapHeight, Layout::kImageHeight);
    x_ = axis(tile_x * Shape::kWidth + (Layout::kOfMap ? job_.map_x : 0), job_.width,
              job_.map_width, job_.map_x, Layout::kMapWidth, Layout::kImageWidth);
  }

  // Along one axis: where the tile begins in the image, and which of its places in the
  // image and in the map exist.
  struct Axis {
    int64_t origin;
    Span image, map;
  };
  static __device__ __forceinline__ Axis axis(int64_t origin, int64_t image_size,
                                              int64_t map_size, int map_start,
                                              int map_places, int image_places) {
    return {
        origin, clip(0, image_size, origin - Layout::kImageHalo, image_places),
        clip(map_start, map_start + map_size, origin - Layout::kMapHalo, map_places)};
  }

  // Everything is asked for before anything is used: the latency is paid once.
  __device__ __forceinline__ void read_images() {
    const ImageOffsets offset = image_offsets(job_.leading, image_);
    weight_ = static_cast<const MapWeight*>(job_.weight) + offset.of[kWeight];
    if constexpr (kWeights) {
      factors_ = job_.gradient_factors;
      if (job_.error_weight) {
        error_weight_ = job_.error_weight + offset.of[kErrorWeight];
        if constexpr (kLeavesOut) {
          mean_scale_ = job_.mean_scale + offset.of[kMeanScale];
        }
        const T* const scales = job_.scales + offset.of[kScales];
        factors_ = factors_.times(load(scales + kMapScale), load(scales + kErrorScale));
        unit_ = load(scales + kWeightUnit);
      }
    }
    constexpr int kAcross = Layout::kImageWidth <= 32 ? 32 : 64;
    constexpr int kDown = Shape::kThreads / kAcross;
    constexpr int kSteps = (Layout::kImageHeight + kDown - 1) / kDown;
    static_assert(Layout::kImageWidth <= kAcross && Shape::kThreads % kAcross == 0, "");

    const int column = thread_ % kAcross, top = thread_ / kAcross;
    const bool column_in = x_.image.holds(column);
    const int64_t first = image_pixel(y_.origin - Layout::kImageHalo + top,
                                      x_.origin - Layout::kImageHalo + column);
    const int64_t stride = kDown * job_.width * job_.channels;
    const T sample = load_sample<kIntegers>(job_, offset.of[kImg1] + channel_,
                                            offset.of[kImg2] + channel_);
    bool sample_counts = true;
    if (kWeights && job_.error_weight) {
      sample_counts = load(error_weight_ + weight_at(sampled_pixel(job_))) > 0;
    }
    T x[kSteps], y[kSteps];
    if constexpr (kIntegers) {
      const auto read = [&](int image, T(&to)[kSteps]) {
        const int64_t at = offset.of[image] + first;
        with_pixels(image ? job_.img2 : job_.img1, job_.pixels[image],
                    job_.integer_scale[image], [&](auto* p, const auto& value) {
                      p += at;
#pragma unroll
                      for (int i = 0; i < kSteps; ++i) {
                        const bool in = column_in && y_.image.holds(top + i * kDown);
                        to[i] = in ? value(load(p)) : T(0);
                        p += stride;
                      }
                    });
      };
      read(kImg1, x);
      read(kImg2, y);
    } else {
      const Element* img1 = job_.img1 + offset.of[kImg1] + first;
      const Element* img2 = job_.img2 + offset.of[kImg2] + first;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const bool in = column_in && y_.image.holds(top + i * kDown);
        x[i] = in ? load(img1) : T(0);
        y[i] = in ? load(img2) : T(0);
        img1 += stride;
        img2 += stride;
      }
    }
    unsigned int seen = ~0u;
    if (kLeavesOut && job_.mean_scale) {
      static_assert(kSteps <= 32, "a bit for each");
      seen = 0;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const int row = top + i * kDown;
        if (!column_in || !y_.image.holds(row)) continue;
        const int64_t pixel = (y_.origin - Layout::kImageHalo + row) * job_.width +
                              x_.origin - Layout::kImageHalo + column;
        seen |= unsigned{load(error_weight_ + weight_at(pixel)) > 0} << i;
      }
    }
    const Pair<T> centres =
        centres_of_samples<Taps>(sample, job_.constants, kErrors, sample_counts);
    const Pair<T> offsets = offsets_of<T, Taps>(centres);
    centre_ = centre_of<T>(centres);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int row = top + i * kDown;
      if (column < Layout::kImageWidth && row < Layout::kImageHeight) {
        const auto v =
            sum_difference<kErrors>(x[i], y[i], offsets, job_.constants.tap_over_range);
        const bool is_seen = !kLeavesOut || (seen >> i & 1) != 0;
        s_[row * Layout::kImagePitch + column] = is_seen ? v.s : T(0);
        d_[row * Layout::kImagePitch + column] = is_seen ? v.d : T(0);
      }
    }
  }

  // s, d -> row-filtered s, d, s^2, d^2.
  __device__ __forceinline__ void filter_image_rows() {
    constexpr int kOut = Shape::kColumns1, kIn = kOut + 2 * kRadius;
    constexpr int kItems = Layout::kImageHeight * Layout::kSlices1;
    for (int item = thread_; item < kItems; item += Shape::kThreads) {
      const int row = item % Layout::kImageHeight;
      const int column = item / Layout::kImageHeight * kOut;
      const int from = row * Layout::kImagePitch + column;
      T* to = moments_ + row * Layout::kMapPitch + column;
      T in[kIn], out[kOut];
#pragma unroll
      for (int image = 0; image < 2; ++image) {
        load_row(s_ + image * Layout::kImagePlane + from, in);
        convolve(job_.window, window_of_moment(image), in, out);
        store_row(to + image * Layout::kMomentPlane, out);
#pragma unroll
        for (int i = 0; i < kIn; ++i) in[i] *= in[i];
        convolve(job_.window, window_of_moment(image + 2), in, out);
        store_row(to + (image + 2) * Layout::kMomentPlane, out);
      }
    }
  }

  // Moments -> SSIM of a column segment: into the map and the sum, and its derivatives.
  template <typename... Derivatives>
  __device__ __forceinline__ void map_segment(int i, Sum& sum,
                                              Derivatives&... derivatives) {
    constexpr int kOut = Shape::kRows1;
    const Segment at = segment(i);
    const bool column_in = x_.map.holds(at.column);
    const bool column_owned = owned(at.column, Shape::kWidth);
    const int64_t pixel = map_pixel(at.top, at.column);
    const int64_t first = pixel * job_.channels + channel_;
    const int64_t stride = job_.map_width * job_.channels;
    Element* const map = job_.map + image_ * job_.map_height * stride + first;

    // Asked for early, needed late.
    T weight[kOut], mean_scale[kLeavesOut ? kOut : 1];
    if constexpr (kWeights) {
      const int64_t centred_on =
          weight_at((y_.origin - Layout::kMapHalo + at.top) * job_.width + x_.origin -
                    Layout::kMapHalo + at.column);
      const int64_t below = job_.width * job_.weight_channels;
#pragma unroll
      for (int r = 0; r < kOut; ++r) {
        weight[r] = job_.weight ? 0 : 1;
        if constexpr (kLeavesOut) mean_scale[r] = 1;
        if (job_.weight && column_in && y_.map.holds(at.top + r)) {
          weight[r] = unit_ * load(weight_ + centred_on + r * below);
          if (kLeavesOut && job_.mean_scale) {
            mean_scale[r] = load(mean_scale_ + centred_on + r * below);
          }
        }
      }
    } else if constexpr (kGradients != 0) {
#pragma unroll
      for (int r = 0; r < kOut; ++r) {
        weight[r] = 1;
        if (job_.weight && column_in && y_.map.holds(at.top + r)) {
          weight[r] = load(weight_ + first + r * stride);
        }
      }
    }

    T moments[kMoments][kOut];
#pragma unroll
    for (int k = 0; k < kMoments; ++k) {
      T in[kOut + 2 * kRadius];
      load_column<Layout::kMapPitch>(
          moments_ + k * Layout::kMomentPlane + at.top * Layout::kMapPitch + at.column,
          in);
      convolve_down(job_.window, in, moments[k]);
    }

#pragma unroll
    for (int r = 0; r < kOut; ++r) {
      const int row = at.top + r;
      const bool in = column_in && y_.map.holds(row);
      T weight_of_maps = weight[r];
      if constexpr (kLeavesOut) {
#pragma unroll
        for (int k = 0; k < kMoments; ++k) moments[k][r] *= mean_scale[r];
        weight_of_maps *= mean_scale[r];
      }
      const Moments<T> m = {moments[0][r], moments[1][r], moments[2][r], moments[3][r]};
      const Terms<T> terms(m, centre_, job_.constants);
      const T half = terms.half_dissimilarity(T(1));
      if (in && column_owned && owned(row, Shape::kHeight) && is_fresh(at, row)) {
        if constexpr (kFactors) {
          store_factors(terms, map + r * stride);
          continue;
        }
        if constexpr (kWeights) {
          sum += TileSum<T>::of_pixel(half, weight[r]);
        } else {
          sum += TileSum<T>::of_pixel(half);
        }
        if (kGradients == 0 && job_.map) store(map + r * stride, map_value(half, T(1)));
      }
      (derive(m, terms, in, weight_of_maps, r, derivatives), ...);
    }
  }

  // A pixel, which the map has at `map`, and the map of luminance at the same place.
  __device__ __forceinline__ void store_factors(const Terms<T>& terms,
                                                Element* map) const {
    store(map, map_value(terms.half_of_contrast_structure(T(1)), T(1)));
    store(job_.luminance + (map - job_.map),
          map_value(terms.half_of_luminance(T(1)), T(1)));
  }

  // Outside the map a derivative is zero, whatever was computed there.
  __device__ __forceinline__ void derive(const Moments<T>& m, const Terms<T>& terms,
                                         bool in, T weight, int r,
                                         T (&out)[Layout::kMaps][Shape::kRows1]) const {
    T maps[Layout::kMaps];
    Maps::at_pixel(m, terms, T(1), maps);
#pragma unroll
    for (int k = 0; k < Layout::kMaps; ++k) {
      out[k][r] = in && (!kWeights || weight > 0) ? maps[k] * weight : T(0);
    }
  }

  __device__ __forceinline__ void store_derivatives(
      int i, const T (&derivatives)[Layout::kMaps][Shape::kRows1]) {
    const Segment at = segment(i);
#pragma unroll
    for (int r = 0; r < Shape::kRows1; ++r) {
      const int row = at.top + r;
      if (!is_fresh(at, row)) continue;
#pragma unroll
      for (int k = 0; k < Layout::kMaps; ++k) {
        maps_[k * Layout::kMapPlane + row * Layout::kMapPitch + at.column] =
            derivatives[k][r];
      }
    }
  }

  __device__ __forceinline__ void reduce_in_warp(Sum sum) {
    if (!job_.accumulators) return;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sum += __shfl_down_sync(0xffffffffu, sum, lanes);
    }
    if (thread_ % 32 == 0) warp_sums_[thread_ / 32] = sum;
  }

  // By the last thread, which has the least to do.
  __device__ __forceinline__ void add_to_plane() {
    if (!job_.accumulators || thread_ != Shape::kThreads - 1) return;
    Sum sum = 0;
#pragma unroll
    for (int i = 0; i < Layout::kWarps; ++i) sum += warp_sums_[i];
    const PlaneSum term = TileSum<T>::term(sum);
    wait_for_launch_before();
    PlaneSum* total = job_.accumulators + image_ * job_.channels + channel_;
    atomicAdd(&total->coarse, term.coarse);
    atomicAdd(&total->fine, term.fine);
    if (term.not_finite) atomicOr(&total->not_finite, term.not_finite);
    if constexpr (kErrors) {
      ErrorSums errors = {};
      for (int i = 0; i < Layout::kWarps; ++i) {
        plane_sum_add(errors.absolute, warp_errors_[i].absolute);
        plane_sum_add(errors.square, warp_errors_[i].square);
      }
      add_atomically(job_.error_accumulators + image_ * job_.channels + channel_,
                     errors);
    }
  }

  __device__ __forceinline__ void share_errors(Errors errors) {
    jax_fused_ssim::cuda::reduce_in_warp(errors);
    if (thread_ % 32 == 0) warp_errors_[thread_ / 32] = errors.sums();
  }

  // d of a pixel of the tile where its errors count, and 0 elsewhere.
  __device__ __forceinline__ T counted(int row, int column) const {
    const int64_t y = y_.origin + row, x = x_.origin + column;
    const bool counts = y >= job_.error_y && y < job_.error_end_y() &&
                        x >= job_.error_x && x < job_.error_end_x();
    return counts ? d_[(row + Layout::kImageHalo) * Layout::kImagePitch + column +
                       Layout::kImageHalo]
                  : T(0);
  }

  // Adds up the errors of a pixel of the tile; gives its d and its weight as
  // common/measure.h wants them.
  struct Error {
    T d, weight;
  };
  __device__ __forceinline__ Error count(int row, int column, Errors& errors) {
    T d[] = {counted(row, column)}, weight[] = {1};
    if (kWeights && job_.error_weight) {
      const int64_t y = y_.origin + row, x = x_.origin + column;
      const bool in = y < job_.height && x < job_.width;
      weight[0] =
          in ? unit_ * load(error_weight_ + weight_at(y * job_.width + x)) : T(0);
      d[0] = where_positive(weight[0], d[0]);
    }
    errors.add(d, weight);
    return {d[0], weight[0]};
  }

  // Where there is no gradient to count them with.
  __device__ __forceinline__ void count_errors() {
    Errors errors;
    for (int i = thread_; i < Shape::kWidth * Shape::kHeight; i += Shape::kThreads) {
      count(i / Shape::kWidth, i % Shape::kWidth, errors);
    }
    share_errors(errors);
  }

  // Derivative maps -> the same, filtered along the rows.
  __device__ __forceinline__ void filter_map_rows() {
    constexpr int kOut = Shape::kColumns2, kIn = kOut + 2 * kRadius;
    constexpr int kItems = Layout::kMapHeight * (Shape::kWidth / kOut);
    static_assert(Shape::kWidth % kOut == 0, "");
    for (int item = thread_; item < kItems; item += Shape::kThreads) {
      const int row = item % Layout::kMapHeight;
      const int column = item / Layout::kMapHeight * kOut;
#pragma unroll
      for (int k = 0; k < Layout::kMaps; ++k) {
        T in[kIn], out[kOut];
        load_row(maps_ + k * Layout::kMapPlane + row * Layout::kMapPitch + column, in);
        convolve(job_.mirrored, Maps::window(k), in, out);
        store_row(map_rows_ + k * Layout::kOutPlane + row * Layout::kOutPitch + column,
                  out);
      }
    }
  }

  __device__ __forceinline__ void write_gradients() {
    constexpr int kOut = Shape::kRows2;
    constexpr int kItems = Shape::kWidth * (Shape::kHeight / kOut);
    static_assert(Shape::kHeight % kOut == 0, "");
    const int64_t stride = job_.width * job_.channels;
    Errors errors;
    for (int item = thread_; item < kItems; item += Shape::kThreads) {
      const int column = item % Shape::kWidth, top = item / Shape::kWidth * kOut;
      T e[Layout::kMaps][kOut];
#pragma unroll
      for (int k = 0; k < Layout::kMaps; ++k) {
        T in[kOut + 2 * kRadius];
        load_column<Layout::kOutPitch>(
            map_rows_ + k * Layout::kOutPlane + top * Layout::kOutPitch + column, in);
        convolve_down(job_.mirrored, in, e[k]);
      }
      const bool column_in = x_.image.holds(column + Layout::kImageHalo);
      const int64_t first = image_ * job_.height * stride +
                            image_pixel(y_.origin + top, x_.origin + column);
#pragma unroll
      for (int r = 0; r < kOut; ++r) {
        if (!column_in || !y_.image.holds(top + r + Layout::kImageHalo)) continue;
        const int here = (top + r + Layout::kImageHalo) * Layout::kImagePitch + column +
                         Layout::kImageHalo;
        T means[Layout::kMaps], gradients[kGradients];
#pragma unroll
        for (int k = 0; k < Layout::kMaps; ++k) means[k] = e[k][r];
        Error error = {};
        if constexpr (kErrors) error = count(top + r, column, errors);
        Maps::template gradients<kErrors, kWeights>(
            means, s_[here], d_[here], error.d, error.weight,
            kWeights ? factors_ : job_.gradient_factors, gradients);
        if (kLeavesOut && job_.mean_scale) {
          for (T& gradient : gradients) {
            gradient = where_positive(error.weight, gradient);
          }
        }
        store(job_.grad1 + first + r * stride, gradients[0]);
        if constexpr (kGradients == 2)
          store(job_.grad2 + first + r * stride, gradients[1]);
      }
    }
    if constexpr (kErrors) share_errors(errors);
  }

  // Offset of an image pixel in its image; which pixel of its map one of the tile's map
  // places is; and where the weight of such a pixel, or of one of an image, is.
  __device__ __forceinline__ int64_t image_pixel(int64_t row, int64_t column) const {
    return (row * job_.width + column) * job_.channels + channel_;
  }
  __device__ __forceinline__ int64_t map_pixel(int row, int column) const {
    const int64_t y = y_.origin - Layout::kMapHalo - job_.map_y + row;
    const int64_t x = x_.origin - Layout::kMapHalo - job_.map_x + column;
    return y * job_.map_width + x;
  }
  __device__ __forceinline__ int64_t weight_at(int64_t pixel) const {
    return pixel * job_.weight_channels + (job_.weight_channels == 1 ? 0 : channel_);
  }
  static __device__ __forceinline__ bool owned(int i, int size) {
    return kGradients == 0 || (Layout::kMapHalo <= i && i < Layout::kMapHalo + size);
  }

  const Job& job_;
  Sum* const warp_sums_;
  ErrorSums* const warp_errors_;
  T* const s_;
  T* const d_;
  T* const moments_;
  T* const maps_;
  T* const map_rows_;
  const int thread_;

  int64_t image_, channel_;
  // Of the image.
  using MapWeight = Weight<Element, kErrors>;
  const MapWeight* weight_;
  const T* error_weight_;
  const T* mean_scale_;
  T unit_;
  GradientFactors<T> factors_;
  Centre<T> centre_;
  Axis y_, x_;
};

template <typename Element, int kGradients, bool kErrors, bool kIntegers, bool kWeights,
          bool kLeavesOut, bool kFactors, typename Taps, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    tile_kernel(const __grid_constant__ TileJob<Element, Taps> job) {
  extern __shared__ __align__(16) unsigned char shared[];
  Tile<Element, kGradients, kErrors, kIntegers, kWeights, kLeavesOut, kFactors, Taps,
       Shape>
      tile(job, shared);
  for (int64_t i = blockIdx.x; i < job.tiles; i += gridDim.x) {
    tile.run(i);
    __syncthreads();
  }
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_TILE_CUH_
