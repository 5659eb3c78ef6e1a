// The type that arithmetic on elements is done in.

#ifndef JAX_FUSED_SSIM_CUDA_ELEMENT_H_
#define JAX_FUSED_SSIM_CUDA_ELEMENT_H_

#include <cuda_runtime.h>

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

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_ELEMENT_H_
