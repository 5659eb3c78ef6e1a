// From the exact sums of planes to a loss and its terms.

#ifndef JAX_FUSED_SSIM_COMMON_LOSS_H_
#define JAX_FUSED_SSIM_COMMON_LOSS_H_

#include "common/host_device.h"
#include "common/parameters.h"
#include "common/plane_sum.h"

namespace jax_fused_ssim {

// Of a loss with errors: |d|, d^2 and 1 - SSIM, in this order.
constexpr int kTerms = 3;

// The sums of any number of planes. kErrors: with errors.
template <bool kErrors>
struct PlaneSums {
  PlaneSum dissimilarity = {};
  ErrorSums errors = {};

  JFS_HOST_DEVICE void add(const PlaneSums& other) {
    plane_sum_add(dissimilarity, plane_sum_carried(other.dissimilarity));
    if constexpr (kErrors) {
      plane_sum_add(errors.absolute, plane_sum_carried(other.errors.absolute));
      plane_sum_add(errors.square, plane_sum_carried(other.errors.square));
    }
  }

  // The scales are of weighted sums: common/call.h. The errors are in units, their
  // squares in its square.
  template <typename T>
  JFS_HOST_DEVICE void finish(const Parameters& p, T* loss, T* terms,
                              double weight_scale, double error_weight_scale,
                              double error_unit) const {
    const double scale = p.scale * weight_scale;
    const double error_scale = p.error_scale * error_weight_scale;
    const double ssim = plane_sum_value(dissimilarity);
    double total = weighted(p.ssim_weight, scale * ssim);
    if constexpr (kErrors) {
      // Errors may be sums of integers, which have no NaN; the SSIM beside them has.
      const double absolute = error_unit * plane_sum_value(errors.absolute) + 0 * ssim;
      const double square =
          error_unit * error_unit * plane_sum_value(errors.square) + 0 * ssim;
      total += weighted(p.l1_weight, error_scale * absolute);
      total += weighted(p.l2_weight, error_scale * square);
      terms[0] = static_cast<T>(error_scale * absolute);
      terms[1] = static_cast<T>(error_scale * square);
      terms[2] = static_cast<T>(scale * ssim);
    }
    *loss = static_cast<T>(total);
  }

 private:
  // A term without weight may be infinite.
  static JFS_HOST_DEVICE double weighted(double weight, double term) {
    return weight == 0 ? 0 : weight * term;
  }
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_COMMON_LOSS_H_
