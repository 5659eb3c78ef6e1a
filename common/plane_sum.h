// A sum of non-negative doubles that does not depend on the order of its terms.
//
// Every term is split into a multiple of 2^-26 and a rest in multiples of 2^-62, and
// both are added as integers. Integer addition is associative: the result is bitwise
// the same for any number of threads or blocks. Room for 2^39 in value and 2^28 terms.

#ifndef JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_
#define JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

// All zero bytes is the empty sum.
struct PlaneSum {
  unsigned long long coarse;
  unsigned long long fine;
  unsigned int not_finite;
  unsigned int unused;
};

// 32-bit words a plane of what an op has for scratch: the PlaneSums of all planes, and
// behind them two floats a plane, the centres of both images (common/centre.h).
constexpr int kScratchWords = sizeof(PlaneSum) / sizeof(unsigned int) + 2;

// One term, ready to be added member by member.
JFS_HOST_DEVICE PlaneSum plane_sum_term(double value) {
  if (!(value < 549755813888.0)) return {0, 0, 1, 0};
  const auto coarse = static_cast<unsigned long long>(value * 0x1p26);
  const double rest = value - static_cast<double>(coarse) * 0x1p-26;
  return {coarse, static_cast<unsigned long long>(rest * 0x1p62), 0, 0};
}

JFS_HOST_DEVICE void plane_sum_add(PlaneSum& sum, const PlaneSum& term) {
  sum.coarse += term.coarse;
  sum.fine += term.fine;
  sum.not_finite |= term.not_finite;
}

// NaN when a term was not finite.
JFS_HOST_DEVICE double plane_sum_value(const PlaneSum& sum) {
  const double value = static_cast<double>(sum.coarse) * 0x1p-26 +
                       static_cast<double>(sum.fine) * 0x1p-62;
  return sum.not_finite ? value * __builtin_nan("") : value;
}

// Where a term is one float pixel it may as well be an integer from the start: then the
// sum does not depend on which pixels a thread or a kernel takes together either.
// Pixels give (1 - SSIM) / 2, within [0, 1], in quanta of 2^-29; 4 of them fit 32 bits.
constexpr float kPixelQuanta = 0x1p29f;

// The sum of 1 - SSIM over pixels.
JFS_HOST_DEVICE PlaneSum plane_sum_of_pixels(unsigned long long quanta,
                                             bool not_finite) {
  return {quanta >> 2, (quanta & 3) << 34, not_finite, 0};
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_
