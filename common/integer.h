// Pixels that are integers: value / (2^bits - 1) * data range.

#ifndef JAX_FUSED_SSIM_COMMON_INTEGER_H_
#define JAX_FUSED_SSIM_COMMON_INTEGER_H_

#include <cstdint>
#include <cstring>
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
  const double most = (1 << bits) - 1;
  // The quotient without as many bits of a double as are too many. Its product with
  // `most` is exact, and the difference too, as the two are near each other.
  const int dropped =
      std::numeric_limits<double>::digits - (std::numeric_limits<T>::digits - bits);
  double high = data_range / most;
  std::uint64_t pattern;
  std::memcpy(&pattern, &high, sizeof pattern);
  pattern &= ~std::uint64_t{0} << dropped;
  std::memcpy(&high, &pattern, sizeof high);
  return {static_cast<T>(high), static_cast<T>((data_range - high * most) / most)};
}

// V is a float, a double or a vector of either, with the value of an integer.
template <typename V, typename T>
JFS_HOST_DEVICE V integer_pixel(V value, const IntegerScale<T>& scale) {
  return value * scale.high + value * scale.low;
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_INTEGER_H_
