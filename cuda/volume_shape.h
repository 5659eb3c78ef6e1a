// What the kernels of volumes are given, how large a column is, how it lies in shared
// memory.

#ifndef JAX_FUSED_SSIM_CUDA_VOLUME_SHAPE_H_
#define JAX_FUSED_SSIM_CUDA_VOLUME_SHAPE_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "common/derivatives.h"
#include "common/measure.h"
#include "common/window.h"
#include "cuda/cut.h"
#include "cuda/job.h"
#include "cuda/leading.cuh"
#include "cuda/pieces.cuh"

namespace jax_fused_ssim::cuda {

// What a kernel marches for: the sum of a map, or the map; the derivatives of every
// pixel of the map that one gradient goes back through, or both do, written where
// cuda/volume_gradient.cuh reads them; or a gradient at once.
enum class VolumeWork { kMap, kDerivatives, kBothDerivatives, kGradient };

// Pixels of the map that a column has in every slice, how many of them, one below the
// other, a thread has, and whether the stages of a step work on different slices: that
// takes twice the shared memory, and one barrier a step for all.
template <int width, int height, int rows, bool overlaps, bool is_for_compiled_window>
struct VolumeShape {
  static constexpr int kWidth = width;
  static constexpr int kHeight = height;
  static constexpr int kRows = rows;
  static constexpr int kTall = kMoments * rows;  // rows of one moment instead
  static constexpr bool kOverlaps = overlaps;
  // Or only for given ones, one of which has the same taps.
  static constexpr bool kIsForCompiledWindow = is_for_compiled_window;
  static constexpr int kThreads = width * height / rows;
  static constexpr int kBlocks = 1;  // on a multiprocessor: its registers hold no more
  static_assert(width % (32 / kMoments) == 0 && height % kTall == 0, "whole warps");
};

// Sixteen warps, four for each scheduler, hide each other's latency; 2 rows are what
// their 128 registers hold. In shared memory the gradient fits 227 KB (9.0, 10.0),
// 163 KB (8.0), 99 KB (8.6, 8.9, 12.0) and 64 KB (7.5), which is also the shape for
// float64. The value fits 99 KB with the first.
using OverlappingVolume = VolumeShape<32, 32, 2, true, true>;
using LargeVolume = VolumeShape<32, 32, 2, false, true>;
using MiddleVolume = VolumeShape<32, 24, 2, false, false>;
using SmallVolume = VolumeShape<16, 16, 1, false, false>;

// How a column lies in shared memory, in elements of T behind what threads keep there
// (cuda/volume.cuh). For a gradient the map has kRadius pixels more than the column on
// every side, and always the images as many more than the map.
template <typename T, VolumeWork kWork, typename Shape>
struct VolumeLayout {
  static constexpr bool kGradient = kWork == VolumeWork::kGradient;
  using Maps = DerivativeMaps<kWork == VolumeWork::kBothDerivatives ? 2 : 1>;
  static constexpr int kMapHalo = kGradient ? kRadius : 0;
  static constexpr int kImageHalo = kMapHalo + kRadius;
  static constexpr int kOutWidth = Shape::kWidth - 2 * kMapHalo;
  static constexpr int kOutHeight = Shape::kHeight - 2 * kMapHalo;
  static constexpr int kBuffers = Shape::kOverlaps ? 2 : 1;
  static constexpr int kGroup = 4;  // neighbours that a thread convolves together

  // s and d of a slice. Rows are read in pairs: no two threads meet in a bank when the
  // pitch is twice an odd number. They begin at an even pixel, so there may be one more
  // before them, and three behind.
  static constexpr int kImageBefore = kImageHalo % 2;
  static constexpr int kImageLead = kImageHalo + kImageBefore;
  static constexpr int kImageWidth = Shape::kWidth + 2 * kRadius + 4 * kImageBefore;
  static constexpr int kImageHeight = Shape::kHeight + 2 * kRadius;
  static constexpr int kImagePlane = kImageWidth * kImageHeight;
  static constexpr int kImages = 2 * kImagePlane;
  static_assert(kImageWidth % 4 == 2, "");

  // Its moments, filtered along the rows. A warp reads eight columns of all of them.
  static constexpr int kMomentGap = 8;
  static constexpr int kMomentPlane = Shape::kWidth * kImageHeight + kMomentGap;
  static constexpr int kMomentRows = kMoments * kMomentPlane;

  // What the threads of a warp exchange of a slice: where the images are, if these are
  // only read before and only written two barriers later.
  static constexpr int kExchange = Shape::kThreads * Shape::kTall;
  static constexpr bool kExchangesInImages = kGradient && !Shape::kOverlaps;
  static constexpr int kImageWords =
      kExchangesInImages && kImages < kExchange ? kExchange : kBuffers * kImages;

  // The derivatives of a slice of the map; these filtered along the rows, with two rows
  // that the last group of rows reads and nobody uses; and a ring of slices filtered
  // along rows and columns: those that the windows of kDeep slices of a gradient see,
  // which are made together, and where stages overlap the one that comes and one more,
  // as a ring of pairs needs half as many looks at where it ends.
  static constexpr int kMaps = Maps::kCount;
  static constexpr int kDerivativeWords = kMaps * Shape::kWidth * Shape::kHeight;
  static constexpr int kMapPitch = Shape::kWidth + 2;
  static constexpr int kMapPlane = kMapPitch * Shape::kHeight;
  static constexpr int kMapWords = kGradient ? kMaps * kMapPlane : 0;
  static constexpr int kOutGroups = (kOutWidth + kGroup - 1) / kGroup;
  static constexpr int kOutRowGroups = (kOutHeight + kGroup - 1) / kGroup;
  // No two of eight rows begin in the same bank.
  static constexpr int kRowPitch = kGroup * (kOutGroups + 1);
  static constexpr int kRowPlane = kRowPitch * (kGroup * kOutRowGroups + 2 * kRadius);
  static constexpr int kRowWords = kGradient ? kMaps * kRowPlane : 0;
  static constexpr int kOutPlane = kOutWidth * kOutHeight;
  static constexpr int kDeep = 2;
  static constexpr int kSlots = kWindow + kDeep - 1 + (Shape::kOverlaps ? 2 : 0);
  static_assert(kSlots % 2 == 0 && kDeep % 2 == 0, "");
  static constexpr int kSlot = kMaps * kOutPlane;
  static constexpr int kRingWords = kGradient ? kSlots * kSlot : 0;
  static_assert(!kGradient || kOutPlane <= Shape::kThreads, "a pixel a thread");
  static_assert(!kGradient || (kMapPitch % 4 == 2 &&
                               kMapPitch >= kGroup * kOutGroups + 2 * kRadius),
                "");

  static constexpr int kKeptBytes = 32 + 4 * int(sizeof(T)) + 20 * Shape::kThreads;
  static constexpr int kBytes =
      kKeptBytes +
      int(sizeof(T)) * (kImageWords + kBuffers * (kMomentRows + kMapWords + kRowWords) +
                        kRingWords + (kExchangesInImages ? 0 : kExchange));
};

// Pixels of the gradient that a column has in every slice where derivatives come from
// memory, how many, one below the other, a thread has, how many neighbours it convolves
// together along a row, and how many slices ahead derivatives are copied.
template <int width, int height, int rows, int group, int ahead>
struct VolumeGradientShape {
  static constexpr int kWidth = width;
  static constexpr int kHeight = height;
  static constexpr int kRows = rows;
  static constexpr int kGroup = group;
  static constexpr int kAhead = ahead;
  static constexpr int kThreads = width * height / rows;
  static constexpr int kBlocks = 1;
  static_assert(kThreads % 32 == 0, "whole warps");
};

// In shared memory the first fits 163 KB, for both gradients as well, the second 99 KB,
// and the last 64 KB.
using LargeVolumeGradient = VolumeGradientShape<32, 32, 2, 8, 2>;
using MiddleVolumeGradient = VolumeGradientShape<32, 32, 2, 8, 1>;
using SmallVolumeGradient = VolumeGradientShape<16, 16, 1, 4, 1>;

// How such a column lies in shared memory, in elements of T.
template <typename T, int kGradients, typename Shape>
struct VolumeGradientLayout {
  static constexpr int kMaps = DerivativeMaps<kGradients>::kCount;
  static constexpr int kGroup = Shape::kGroup;
  static constexpr int kAhead = Shape::kAhead;
  static constexpr int kHeight = Shape::kHeight + 2 * kRadius;
  // Of a slice in memory.
  static constexpr int kColumnWords = kMaps * Shape::kWidth * Shape::kHeight;

  // Slices as they are copied, in pieces of 16 bytes, from so many pixels before the
  // column on. Eight threads, which read as many of a row, or of two, do not meet in a
  // bank.
  static constexpr int kOfCopy = 16 / int(sizeof(T));
  static constexpr int kLead = (kRadius + kOfCopy - 1) / kOfCopy * kOfCopy;
  static constexpr int kRowCopies =
      (kLead + Shape::kWidth + kRadius + kOfCopy - 1) / kOfCopy;
  static constexpr int kCopies = kHeight * kRowCopies;  // of a map
  static constexpr int kPitch = kOfCopy * (kRowCopies + 1);
  static constexpr int kMapWords = kHeight * kPitch;
  static constexpr int kSliceWords = kMaps * kMapWords;
  static constexpr int kSlices = kAhead + 1;

  // These, filtered along the rows.
  static constexpr int kRowPitch = Shape::kWidth + 4;
  static constexpr int kRowWords = kMaps * kHeight * kRowPitch;

  static constexpr int kBytes =
      int(sizeof(T)) * (kSlices * kSliceWords + 2 * kRowWords);
};

// Whether the scratch of a call has room for derivatives.
template <typename T>
bool has_room_for_derivatives(const Call& call, int gradients) {
  const int64_t words =
      derivative_words(call.map_depth(), call.height, call.width, sizeof(T), gradients);
  return call.scratch_words >= kScratchWords + words;
}

// Where they lie there: of every plane, slice of the map and column one map of
// derivatives after the other, zero outside of the map.
template <typename T>
T* derivatives_of(const Call& call) {
  const int64_t begin = (call.scratch_bytes() + kDerivativeAlignment - 1) /
                        kDerivativeAlignment * kDerivativeAlignment;
  return reinterpret_cast<T*>(static_cast<char*>(call.scratch) + begin);
}

// Arguments of the kernel. Columns go through all slices of a volume, one for each of
// columns_y x columns_x places of every image and channel; for cuda/pieces.cuh they are
// strips, whose rows are the slices.
template <typename T_, typename Taps_>
struct VolumeJob : Job<T_> {
  using T = T_;
  using Taps = Taps_;

  VolumeJob() = default;
  explicit VolumeJob(const Call& call)
      : Job<T>(call),
        depth(static_cast<int>(call.depth)),
        height(call.height),
        width(call.width),
        channels(call.channels),
        map_z(call.map_z()),
        map_depth(static_cast<int>(call.map_depth())),
        map_height(call.map_height()),
        map_width(call.map_width()),
        slice(height * width * channels),
        map_stride(map_width * channels),
        map_slice(map_height * map_stride),
        derivatives(derivatives_of<T>(call)),
        has_pairs(call.channels == 1 && call.width % 2 == 0 &&
                  pairs_begin_at(this->img1) && pairs_begin_at(this->img2)),
        parts(static_cast<int>(call.channels)) {
    if constexpr (std::is_same_v<Taps, GivenWindow<T>>) {
      window = call.given_window<T>(false);
      mirrored = call.given_window<T>(true);
    }
  }

  int depth;
  int64_t height, width, channels;
  int map_z, map_depth;
  int64_t map_height, map_width;
  int64_t slice, map_stride, map_slice;  // elements of a slice, and of a map's row
  T* derivatives;
  int64_t derivative_slice;  // elements of theirs
  int64_t columns_y, columns_x;
  // Where blocks take columns one after the other, all those at the same time that are
  // neighbours, as their halos are the same: how many each takes, how many there are at
  // a time, and how many blocks share each of the last. Else 1: they go on from one
  // column to the next.
  int64_t waves, at_a_time, last_shared_by;
  int64_t columns;  // in all
  bool has_pairs;   // two neighbours may be read at once, the first at an even place
  int64_t rows;     // slices of the results
  int parts;        // the channels, which are neighbours in memory
  static constexpr int part_channels = 1;
  Cut cut;
  Taps window, mirrored;  // mirrored: leads back from the map

  // The column of a piece, of which there may be none.
  __device__ __forceinline__ int64_t column(Piece& piece) const {
    if (waves == 1) return piece.strip;
    uint64_t block = static_cast<uint64_t>(piece.strip);
    const int64_t wave = take_index(block, waves);
    if (wave == waves - 1 && last_shared_by > 1) {
      const int64_t part = take_index(block, last_shared_by);
      piece.begin = static_cast<int>(part * rows / last_shared_by);
      piece.end = static_cast<int>((part + 1) * rows / last_shared_by);
    }
    return wave * at_a_time + static_cast<int64_t>(block);
  }

 private:
  static bool pairs_begin_at(const T* image) {
    return reinterpret_cast<uintptr_t>(image) % (2 * sizeof(T)) == 0;
  }
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_VOLUME_SHAPE_H_
