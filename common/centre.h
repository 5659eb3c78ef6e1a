// The centre of a plane: a number that is subtracted from its pixels before anything is
// squared.
//
// A variance does not depend on it, but the rounding error of E[s^2] - E[s]^2 does: it
// is relative to the square of what the pixels have in common, which in heights,
// temperatures or pressures is many times the data range. The centre follows from
// pixels of the plane at fixed places, so that a plane has the same one in every batch,
// layout and kernel.
//
// It is half way between the smallest and the largest sample, which keeps the largest
// square small, but of each no more counts than one range from the sample nearest to
// the middle of the range: so it stays near the valid pixels where others are not
// finite, or fill values. Where every window sees the zero padding, one sample is zero.
// And it is rounded, to a sixteenth of the range, or to half of it where the samples
// lie further apart than that: planes that are alike then have the same centre, and of
// most photographs it is the middle of the range, so that what is black or white
// throughout has squares and means that agree.
//
// Of a volume the samples are those of a plane, each in one of four slices.

#ifndef JAX_FUSED_SSIM_COMMON_CENTRE_H_
#define JAX_FUSED_SSIM_COMMON_CENTRE_H_

#include <cstdint>

#include "common/host_device.h"
#include "common/window.h"

namespace jax_fused_ssim {

constexpr int kCentreSide = 4;
constexpr int kCentreSamples = kCentreSide * kCentreSide;

// What the centre of samples that lie `spread` ranges apart is rounded to.
template <typename T>
struct CentreStep {
  T size, inverse;

  JFS_HOST_DEVICE explicit CentreStep(T spread)
      : size(spread > T(0.5) ? T(0.5) : T(0.0625)),
        inverse(spread > T(0.5) ? T(2) : T(16)) {}
};

// Where the k-th of kCentreSide samples lies along a side.
JFS_HOST_DEVICE int64_t centre_sample(int k, int64_t side) {
  return side * (2 * k + 1) / (2 * kCentreSide);
}

// Which of kCentreSide slices of a volume has the sample of a row and a column.
JFS_HOST_DEVICE int centre_slice(int row, int column) {
  return (row + column) % kCentreSide;
}

// NaN counts as far below.
template <typename T>
JFS_HOST_DEVICE T cut_to_range(T distance, T data_range) {
  return distance > -data_range ? distance < data_range ? distance : data_range
                                : -data_range;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_CENTRE_H_
