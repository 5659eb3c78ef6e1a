// The ops: what each one takes and gives, of which handlers, checks and targets follow.

#ifndef JAX_FUSED_SSIM_FFI_OPS_H_
#define JAX_FUSED_SSIM_FFI_OPS_H_

#include <cstddef>

namespace jax_fused_ssim {

// Every op takes img1 and img2 and gives scratch, behind all other results. In this
// order, besides:
enum Has : unsigned {
  kHasWeight = 1 << 0,       // an operand of the map's shape, in the images' dtype
  kHasLoss = 1 << 1,         // a result for every plane, or for neighbours together
  kHasTerms = 1 << 2,        // the loss has errors; of each its terms
  kHasMap = 1 << 3,          // a result
  kHasGradients = 1 << 4,    // a result for img1, or one for each image
  kHasLossWeights = 1 << 5,  // three or four operands in its type: common/call.h
  kHasHalves = 1 << 6,       // a result for each image; no kernel for CPUs has it
  kHasLuminance = 1 << 7,    // a result before the map, which is of the other factor
};

struct Op {
  const char* target;  // of the custom call
  unsigned has;
};

constexpr Op kOps[] = {
    {"jax_fused_ssim_ssim_sum", kHasLoss},
    {"jax_fused_ssim_ssim_sum_grad", kHasLoss | kHasGradients},
    {"jax_fused_ssim_ssim_sum_grad_halved", kHasLoss | kHasGradients | kHasHalves},
    {"jax_fused_ssim_loss_sum", kHasLoss | kHasTerms},
    {"jax_fused_ssim_loss_sum_grad", kHasLoss | kHasTerms | kHasGradients},
    {"jax_fused_ssim_weighted_loss_sum", kHasLossWeights | kHasLoss | kHasTerms},
    {"jax_fused_ssim_weighted_loss_sum_grad",
     kHasLossWeights | kHasLoss | kHasTerms | kHasGradients},
    {"jax_fused_ssim_ssim_map", kHasMap},
    {"jax_fused_ssim_ssim_factor_maps", kHasMap | kHasLuminance},
    {"jax_fused_ssim_ssim_map_grad", kHasWeight | kHasGradients},
};
constexpr size_t kOpCount = sizeof kOps / sizeof kOps[0];

// Whether its images may be volumes.
constexpr bool takes_volumes(const Op& op) {
  return (op.has & (kHasTerms | kHasLossWeights | kHasHalves | kHasLuminance)) == 0;
}

// Halves images for MS-SSIM, on NVIDIA GPUs alone.
constexpr const char* kHalvedTarget = "jax_fused_ssim_halved";

constexpr bool kernels_have_every_op() {
  for (const Op& op : kOps) {
    if ((op.has & kHasLoss) && (op.has & (kHasWeight | kHasMap))) return false;
    if ((op.has & kHasTerms) && !(op.has & kHasLoss)) return false;
    if ((op.has & kHasLossWeights) && !(op.has & kHasTerms)) return false;
    if ((op.has & kHasHalves) && !(op.has & kHasGradients)) return false;
    if ((op.has & kHasHalves) && (op.has & (kHasTerms | kHasMap))) return false;
    if ((op.has & kHasLuminance) && !(op.has & kHasMap)) return false;
  }
  return true;
}
static_assert(
    kernels_have_every_op(),
    "no kernel adds up beside a map, counts errors alone, weighs SSIM alone, or halves "
    "without a gradient of SSIM alone");

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_OPS_H_
