// What every kernel is given, and how a call fills it.

#ifndef JAX_FUSED_SSIM_CUDA_JOB_H_
#define JAX_FUSED_SSIM_CUDA_JOB_H_

#include <type_traits>

#include "common/call.h"
#include "common/formula.h"
#include "common/measure.h"
#include "common/plane_sum.h"
#include "cuda/element.h"

namespace jax_fused_ssim::cuda {

// As a weight lies in memory: in the type of a loss, or as the cotangent of a map.
template <typename Element, bool kOfLoss>
using Weight = std::conditional_t<kOfLoss, Compute<Element>, Element>;

// With strides in elements, and a rank of at least 1.
inline Leading leading_in_elements(const Call& call) {
  Leading leading = call.leading;
  if (leading.rank == 0) {
    leading.rank = 1;
    leading.size[0] = 1;
  }
  for (int k = 0; k < kOperands; ++k) {
    for (int i = 0; i < leading.rank; ++i) {
      leading.stride[k][i] *= call.operand_size(k);
    }
  }
  return leading;
}

template <typename Element_>
struct Job {
  using Element = Element_;
  using T = Compute<Element>;

  const Element* img1;
  const Element* img2;
  const void* weight;  // Weight<Element, .>; null: 1 everywhere
  Pixels pixels[2];    // of img1 and img2, which point to integers unless kOwn
  IntegerScale<T> integer_scale[2];
  // Null: not wanted.
  PlaneSum* accumulators;
  ErrorSums* error_accumulators;
  Element* map;
  Element* luminance;
  Gradient<Element>* grad1;
  Gradient<Element>* grad2;

  Leading leading;       // leading_in_elements
  int map_y, map_x;      // image pixel that map pixel (0, 0) is centred on
  int error_y, error_x;  // rows and columns at each border whose errors do not count
  bool sees_only_border;
  Constants<T> constants;
  GradientFactors<T> gradient_factors;
  // Of a loss with weights.
  const T* error_weight;
  const T* scales;
  const T* mean_scale;  // null: 1 everywhere
  int weight_channels;

  Job() = default;
  explicit Job(const Call& call)
      : img1(static_cast<const Element*>(call.operand[kImg1])),
        img2(static_cast<const Element*>(call.operand[kImg2])),
        weight(call.operand[kWeight]),
        pixels{call.pixels[0], call.pixels[1]},
        integer_scale{
            jax_fused_ssim::integer_scale<T>(pixels[0], call.parameters.data_range),
            jax_fused_ssim::integer_scale<T>(pixels[1], call.parameters.data_range)},
        accumulators(call.accumulators()),
        error_accumulators(call.error_accumulators()),
        map(static_cast<Element*>(call.map)),
        luminance(static_cast<Element*>(call.luminance)),
        grad1(static_cast<Gradient<Element>*>(call.grad1)),
        grad2(static_cast<Gradient<Element>*>(call.grad2)),
        leading(leading_in_elements(call)),
        map_y(call.map_y()),
        map_x(call.map_x()),
        error_y(call.error_y()),
        error_x(call.error_x()),
        sees_only_border(call.sees_only_border()),
        constants(
            jax_fused_ssim::constants<T>(call.parameters, call.window_scale<T>())),
        gradient_factors(jax_fused_ssim::gradient_factors<T>(call.parameters,
                                                             call.window_scale<T>())),
        error_weight(static_cast<const T*>(call.operand[kErrorWeight])),
        scales(static_cast<const T*>(call.operand[kScales])),
        mean_scale(static_cast<const T*>(call.operand[kMeanScale])),
        weight_channels(static_cast<int>(call.weight_channels)) {}
};

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_JOB_H_
