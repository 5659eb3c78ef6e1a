// The handler that halves images on NVIDIA GPUs: cuda/halve.h.

#include "cuda/halve.h"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "ffi/targets.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

ffi::Error invalid(const std::string& message) {
  return ffi::Error::InvalidArgument("jax_fused_ssim: halved: " + message);
}

// Whether `b` has the dimensions of `like`, but for the last two, smaller by 2^level.
bool is_halved(const ffi::AnyBuffer& b, const ffi::AnyBuffer& like, int level) {
  const auto found = b.dimensions(), whole = like.dimensions();
  if (b.element_type() != like.element_type() || found.size() != whole.size()) {
    return false;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    const bool is_side = i + 2 >= whole.size();
    if (found[i] != (is_side ? whole[i] >> level : whole[i])) return false;
  }
  return true;
}

// Operands: two batches, [..., height, width]. Results: the first one halved once,
// twice and so on, then the second one.
ffi::Error halved(cudaStream_t stream, ffi::RemainingArgs args,
                  ffi::RemainingRets rets) {
  cuda::Halving halving = {};
  const auto results = static_cast<int>(rets.size());
  if (args.size() != 2 || results < 2 || results % 2 != 0 ||
      results > 2 * kMostHalvings) {
    return invalid("expected two operands and two to eight results, an even number");
  }
  halving.halvings = results / 2;
  for (int k = 0; k < 2; ++k) {
    const auto image = args.get<ffi::AnyBuffer>(k);
    if (!image.has_value()) return image.error();
    const auto dims = image->dimensions();
    const auto type = image->element_type();
    if (dims.size() < 2 || (type != ffi::F32 && type != ffi::F64)) {
      return invalid("images must be of float32 or float64, with height and width");
    }
    const size_t leading = dims.size() - 2;
    const int64_t height = dims[leading], width = dims[leading + 1];
    const bool is_double = type == ffi::F64;
    if (k == 0) {
      halving.is_double = is_double;
      halving.height = height;
      halving.width = width;
    }
    const int64_t rest = (int64_t{1} << halving.halvings) - 1;
    if (is_double != halving.is_double || height != halving.height ||
        width != halving.width || (height & rest) || (width & rest)) {
      return invalid("images must be of one dtype and size, and halve without a rest");
    }
    halving.count[k] = 1;
    for (size_t i = 0; i < leading; ++i) halving.count[k] *= dims[i];
    halving.from[k] = image->untyped_data();
    for (int i = 0; i < halving.halvings; ++i) {
      auto result = rets.get<ffi::AnyBuffer>(k * halving.halvings + i);
      if (!result.has_value()) return result.error();
      if (!is_halved(**result, *image, i + 1)) {
        return invalid("a result does not have the size of an image that is halved");
      }
      halving.to[k][i] = (*result)->untyped_data();
    }
  }
  const cudaError_t error = cuda::halve(stream, halving);
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string("jax_fused_ssim: CUDA: ") +
                              cudaGetErrorString(error));
}

XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static constexpr auto kTraits = {ffi::Traits::kCmdBufferCompatible};
  // For as long as the process lives.
  static auto* const bound = ffi::Ffi::Bind()
                                 .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                 .RemainingArgs()
                                 .RemainingRets()
                                 .To(halved, kTraits)
                                 .release();
  return bound->Call(frame);
}

}  // namespace

Target cuda_halved_target() { return {kHalvedTarget, handler}; }

}  // namespace jax_fused_ssim
