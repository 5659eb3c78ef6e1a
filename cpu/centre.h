// The centres of the planes of a task (common/centre.h).

#ifndef JAX_FUSED_SSIM_CPU_CENTRE_H_
#define JAX_FUSED_SSIM_CPU_CENTRE_H_

#include "common/centre.h"
#include "common/formula.h"
#include "cpu/element.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/simd.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// Where the i-th sample is; rows are counted through all slices.
JFS_INLINE int64_t sample_row(const Work& work, int i) {
  const int row = i / kCentreSide, slice = centre_slice(row, i % kCentreSide);
  return centre_sample(slice, work.depth) * work.height +
         centre_sample(row, work.height);
}
JFS_INLINE int64_t sample_col(const Work& work, int i) {
  return centre_sample(i % kCentreSide, work.width);
}

// Reads the samples of one channel of an image.
template <typename E>
void read_samples(const Work& work, int image, int64_t channel, Compute<E>* samples) {
  with_pixels<E>(work, image, [&](auto* pixels) {
    using P = PixelOf<decltype(pixels)>;
    P in[kCentreSamples];
    for (int i = 0; i < kCentreSamples; ++i) {
      in[i] = pixel_at<P>(work, pixels, sample_row(work, i), sample_col(work, i),
                          work.width)[channel];
    }
    convert(in, kCentreSamples, pixel_scale<E>(work, image), samples);
  });
  if (work.sees_only_border) samples[0] = 0;
}

// Keeps those samples of both images, of as many as it returns, whose errors count.
// What has no weight may be far from the others.
template <typename T>
int drop_uncounted(const Work& work, int64_t channel, T* samples) {
  if (!work.error_weight) return 2 * kCentreSamples;
  const auto* const weight = static_cast<const T*>(work.error_weight) +
                             (work.weight_channels == work.channels ? channel : 0);
  int kept = 0;
  for (int i = 0; i < 2 * kCentreSamples; ++i) {
    const int k = i % kCentreSamples;
    const int64_t pixel = sample_row(work, k) * work.width + sample_col(work, k);
    if (weight[pixel * work.weight_stride] > 0) samples[kept++] = samples[i];
  }
  return kept;
}

// The centre of what has these samples, in units of the range.
template <typename T>
T centre_of(const T* samples, int count, T range) {
  const T middle = range / 2;
  T nearest = middle, least = T(__builtin_inf());
  for (int i = 0; i < count; ++i) {
    const T distance = samples[i] > middle ? samples[i] - middle : middle - samples[i];
    if (distance < least) nearest = samples[i], least = distance;
  }
  T low = 0, high = 0;
  for (int i = 0; i < count; ++i) {
    const T distance = cut_to_range(samples[i] - nearest, range);
    low = distance < low ? distance : low;
    high = distance > high ? distance : high;
  }
  const CentreStep<T> step((high - low) / range);
  const T half_way = (nearest + (low + high) / 2) / range;
  const T centre = __builtin_rint(half_way * step.inverse) * step.size;
  return centre - centre == 0 ? centre : T(0.5);
}

// The centres of the channels of a task, as they are subtracted from pixels, and from
// s and d.
template <typename T>
struct TaskCentres {
  T x[kMaxChannels], y[kMaxChannels];
  Centre<T> of_means[kMaxChannels];

  template <typename E>
  static TaskCentres of(const Work& work) {
    TaskCentres centres;
    const T range = static_cast<T>(work.parameters.data_range);
    for (int64_t c = 0; c < work.channels; ++c) {
      T samples[2 * kCentreSamples];
      T* const samples_of_y = samples + kCentreSamples;
      read_samples<E>(work, 0, c, samples);
      read_samples<E>(work, 1, c, samples_of_y);
      T x, y;
      if (work.errors) {
        x = y = centre_of(samples, drop_uncounted(work, c, samples), range);
      } else {
        x = centre_of(samples, kCentreSamples, range);
        y = centre_of(samples_of_y, kCentreSamples, range);
      }
      centres.x[c] = x * range;
      centres.y[c] = y * range;
      centres.of_means[c] = {x + y, x - y};
    }
    return centres;
  }

  // Writes them beside the elements of a row.
  void repeat(int64_t channels, int64_t elements, Scratch<T>& scratch) const {
    for (int64_t i = 0; i < elements; i += channels) {
      for (int64_t c = 0; c < channels && i + c < elements; ++c) {
        scratch.centre_x[i + c] = x[c];
        scratch.centre_y[i + c] = y[c];
      }
    }
  }
};

}  // namespace
}  // namespace JFS_ISA
}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_CENTRE_H_
