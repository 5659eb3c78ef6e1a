// The types of elements, and the type that arithmetic on them is done in.

#ifndef JAX_FUSED_SSIM_CUDA_ELEMENT_H_
#define JAX_FUSED_SSIM_CUDA_ELEMENT_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "common/call.h"

namespace jax_fused_ssim::cuda {

template <typename Element>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <typename Element>
using Compute = typename ComputeOf<Element>::type;

// The type of gradients.
template <typename Element>
using Gradient = std::conditional_t<std::is_same_v<Element, __nv_bfloat16>, Element,
                                    Compute<Element>>;

template <typename Element>
constexpr DType kDType = DType::kF32;
template <>
constexpr DType kDType<__half> = DType::kF16;
template <>
constexpr DType kDType<__nv_bfloat16> = DType::kBF16;
template <>
constexpr DType kDType<double> = DType::kF64;

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_ELEMENT_H_
