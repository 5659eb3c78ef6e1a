// A sum of non-negative numbers that does not depend on the order of its terms.
//
// Every term is split into a multiple of 2^-26 and a rest in multiples of 2^-62, and
// both are added as integers. Integer addition is associative: the result is bitwise
// the same for any number of threads or blocks. Room for 2^38 in value, beyond which
// the sum is infinite, and 2^28 terms before a carry.

#ifndef JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_
#define JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_

#include "common/host_device.h"

namespace jax_fused_ssim {

// All zero bytes is the empty sum.
struct PlaneSum {
  unsigned long long coarse;
  unsigned long long fine;
  unsigned int not_finite;  // NotFinite of any term
  unsigned int unused;
};

enum NotFinite : unsigned int { kNaN = 1, kTooLarge = 2 };

// What is wrong with a value that is not below a limit.
JFS_HOST_DEVICE unsigned int not_below(double value, double limit) {
  return value < limit ? 0u
                       : static_cast<unsigned int>(value >= limit ? kTooLarge : kNaN);
}

// One term, ready to be added member by member.
JFS_HOST_DEVICE PlaneSum plane_sum_term(double value) {
  const unsigned int wrong = not_below(value, 0x1p38);
  if (wrong) return {0, 0, wrong, 0};
  const auto coarse = static_cast<unsigned long long>(value * 0x1p26);
  const double rest = value - static_cast<double>(coarse) * 0x1p-26;
  return {coarse, static_cast<unsigned long long>(rest * 0x1p62), 0, 0};
}

JFS_HOST_DEVICE void plane_sum_add(PlaneSum& sum, const PlaneSum& term) {
  sum.coarse += term.coarse;
  sum.fine += term.fine;
  sum.not_finite |= term.not_finite;
  if (sum.coarse < term.coarse) sum.not_finite |= kTooLarge;
}

// The same sum with less than one coarse unit in its fine part.
JFS_HOST_DEVICE PlaneSum plane_sum_carried(const PlaneSum& sum) {
  constexpr int kBits = 62 - 26;
  PlaneSum carried = {sum.fine >> kBits, sum.fine & ((1ull << kBits) - 1), 0, 0};
  plane_sum_add(carried, {sum.coarse, 0, sum.not_finite, 0});
  return carried;
}

JFS_HOST_DEVICE double plane_sum_value(const PlaneSum& sum) {
  const double value = static_cast<double>(sum.coarse) * 0x1p-26 +
                       static_cast<double>(sum.fine) * 0x1p-62;
  return sum.not_finite == 0     ? value
         : sum.not_finite & kNaN ? __builtin_nan("")
                                 : __builtin_inf();
}

// The errors of a plane: of d = (x - y) / L, the sums of |d| and of d^2.
struct ErrorSums {
  PlaneSum absolute, square;
};

// 32-bit words a plane of what an op has for scratch: the PlaneSums of all planes, then
// their ErrorSums, and behind them two floats a plane, the centres of both images
// (common/centre.h).
constexpr int kScratchWords =
    (sizeof(PlaneSum) + sizeof(ErrorSums)) / sizeof(unsigned int) + 2;

// Where a term is one float pixel it may as well be an integer from the start: then the
// sum does not depend on which pixels a thread or a kernel takes together either.
// Pixels give (1 - SSIM) / 2, within [0, 1], in quanta of 2^-29; 4 of them fit 32 bits.
constexpr float kPixelQuanta = 0x1p29f;

// The sum of 1 - SSIM over pixels.
JFS_HOST_DEVICE PlaneSum plane_sum_of_pixels(unsigned long long quanta,
                                             bool not_finite) {
  return {quanta >> 2, (quanta & 3) << 34, not_finite ? kNaN : 0u, 0};
}

// A float pixel's error likewise: |d| in quanta, so that d^2, the square of an integer,
// is exact too. A range has some 2^22 of them, and the steps of 8 and 16 bits, 1 / 255
// and 1 / 65535, have a whole number: or the same rounding of every small step would
// add up. 2^30 quanta or more make both sums infinite: 32 bits hold four smaller
// errors, and 64 bits their squares.
constexpr float kErrorQuanta = 65535 * 64;
constexpr unsigned int kMostErrorQuanta = 1u << 30;

// What the sums of quanta count is so much: they are taken for 2^-22.
constexpr double kErrorUnit = 0x1p22 / kErrorQuanta;

// What the quanta of an error that is too large have in common; 0 for others.
JFS_HOST_DEVICE unsigned int too_large_bits(unsigned int quanta) {
  return quanta & ~(kMostErrorQuanta - 1);
}

// The sums over pixels, of |d| in quanta and of its square in theirs, which has 96
// bits: in units of kErrorUnit and of its square.
JFS_HOST_DEVICE ErrorSums error_sums_of_pixels(unsigned long long absolute,
                                               unsigned long long square,
                                               unsigned int square_top,
                                               bool too_large) {
  const unsigned int wrong = too_large ? kTooLarge : 0;
  constexpr int kFiner = 18;  // bits of the squares below 2^-26
  const auto top = static_cast<unsigned long long>(square_top) << (64 - kFiner);
  return {
      {absolute << 4, 0, wrong, 0},
      {top | square >> kFiner, (square & ((1u << kFiner) - 1)) << kFiner, wrong, 0}};
}

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_PLANE_SUM_H_
