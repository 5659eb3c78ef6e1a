// Pixels that are integers: value / (2^bits - 1) * data range.

#ifndef JAX_FUSED_SSIM_COMMON_INTEGER_H_
#define JAX_FUSED_SSIM_COMMON_INTEGER_H_

#include <limits>

#include "common/host_device.h"

namespace jax_fused_ssim {

// How an image's pixels lie in memory: in the type of the call, or as integers.
enum class Pixels { kOwn, kU8, kU16 };

// What an integer is multiplied by, in two parts: `high` has so few bits that its
// product with the integer is exact, so that the sum of both products is rounded once,
// as the quotient of a float is, whether or not it is fused with one of them.
template <typename T>
struct IntegerScale {
  T high = 1, low = 0;
};

template <typename T>
IntegerScale<T> integer_scale(Pixels pixels, double data_range) {
  if (pixels == Pixels::kOwn) return {};
  const int bits = pixels == Pixels::kU8 ? 8 : 16;
  const double exact = data_range / ((1 << bits) - 1);
  // As many bits of a double as are too many: Veltkamp's splitting, without overflow as
  // data ranges are bounded.
  const int dropped =
      std::numeric_limits<double>::digits - (std::numeric_limits<T>::digits - bits);
  const double shifted = exact * (static_cast<double>(1ull << dropped) + 1);
  const double high = shifted - (shifted - exact);
  return {static_cast<T>(high), static_cast<T>(exact - high)};
}

// V is a float, a double or a vector of either, with the value of an integer.
template <typename V, typename T>
JFS_HOST_DEVICE V integer_pixel(V value, const IntegerScale<T>& scale) {
  return value * scale.high + value * scale.low;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_INTEGER_H_
