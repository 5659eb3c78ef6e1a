// The operands of tasks, and where their sums go.

#include "cpu/tasks.h"

#include <type_traits>
#include <utility>

namespace jax_fused_ssim::cpu {
namespace {

size_t element_bytes(DType dtype) {
  return dtype == DType::kF64 ? 8 : dtype == DType::kF32 ? 4 : 2;
}
size_t pixel_bytes(Pixels pixels, DType dtype) {
  return pixels == Pixels::kU8 ? 1 : pixels == Pixels::kU16 ? 2 : element_bytes(dtype);
}
size_t gradient_bytes(DType dtype) {
  return dtype == DType::kBF16 ? 2 : compute_bytes(dtype);
}

IntegerScale<double> scale_of(Pixels pixels, const Call& call) {
  const double data_range = call.parameters.data_range;
  if (call.dtype == DType::kF64) return integer_scale<double>(pixels, data_range);
  const auto scale = integer_scale<float>(pixels, data_range);
  return {scale.high, scale.low};
}

template <typename T>
T* advance(T* p, int64_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return p ? reinterpret_cast<Byte*>(p) + bytes : nullptr;
}

struct Offsets {
  int64_t of[kOperands];
};

// Where the operands' images and maps of one leading index of the results lie, in
// images and maps.
Offsets operand_offsets(const Leading& leading, int64_t index) {
  Offsets offsets = {};
  for (int k = leading.rank - 1; k >= 0; --k) {
    const int64_t i = index % leading.size[k];
    index /= leading.size[k];
    for (int operand = 0; operand < kOperands; ++operand) {
      offsets.of[operand] += i * leading.stride[operand][k];
    }
  }
  return offsets;
}

}  // namespace

int64_t weight_channels(const Call& call, int64_t channels) {
  const bool shared = call.weight_channels != call.channels;
  return call.operand[kWeight] == nullptr ? 0 : shared ? 1 : channels;
}

Scales scales_of_image(const Call& call, int64_t image) {
  if (!call.has_weights() || call.images == 0) return {1, 1, 1};
  const int64_t at = kWeightScales * operand_offsets(call.leading, image).of[kScales];
  const auto read = [at](const auto* scales) -> Scales {
    return {scales[at], scales[at + 1], scales[at + 2]};
  };
  return call.dtype == DType::kF64
             ? read(static_cast<const double*>(call.operand[kScales]))
             : read(static_cast<const float*>(call.operand[kScales]));
}

void* ScratchPool::Lease::memory() const {
  void* p = piece_.get();
  size_t space = pool_.bytes_ + kScratchAlignment;
  return std::align(kScratchAlignment, pool_.bytes_, p, space);
}

std::unique_ptr<char[]> ScratchPool::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      auto piece = std::move(free_.back());
      free_.pop_back();
      return piece;
    }
  }
  return std::make_unique<char[]>(bytes_ + kScratchAlignment);
}

void ScratchPool::give(std::unique_ptr<char[]> piece) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(piece));
}

Work Tasks::work_of(int64_t image, Range channels) const {
  const Offsets offsets = operand_offsets(call_.leading, image);
  const auto operand = [&](int k, int64_t channel, int64_t bytes) {
    const int64_t at = offsets.of[k] * call_.operand_size(k) + channel;
    return advance(call_.operand[k], at * bytes);
  };
  const bool weights_are_shared = call_.weight_channels != call_.channels;
  const int64_t weight_channel = weights_are_shared ? 0 : channels.begin;
  const int64_t weight_bytes =
      call_.has_weights() ? compute_bytes(call_.dtype) : element_bytes(call_.dtype);
  const int64_t map_at = image * call_.map_size() + channels.begin;
  const int64_t grad_at = image * call_.image_size() + channels.begin;
  const int64_t grad_bytes = gradient_bytes(call_.dtype);

  Work work = {};
  for (const int k : {kImg1, kImg2}) {
    const int64_t bytes = pixel_bytes(call_.pixels[k], call_.dtype);
    work.img[k] = operand(k, channels.begin, bytes);
    work.pixels[k] = call_.pixels[k];
    work.integer_scale[k] = scale_of(call_.pixels[k], call_);
  }
  work.depth = call_.depth;
  work.height = call_.height;
  work.width = call_.width;
  work.channels = length_of(channels);
  work.pixel_stride = call_.channels;
  work.parameters = call_.parameters;
  work.window = call_.given_window<double>(false);
  work.mirrored = call_.given_window<double>(true);
  work.sees_only_border = call_.sees_only_border();
  work.centre_slices = {call_.map_z(), call_.map_z() + call_.map_depth()};
  work.centre_rows = {call_.map_y(), call_.map_y() + call_.map_height()};
  work.centre_cols = {call_.map_x(), call_.map_x() + call_.map_width()};
  work.map = advance(call_.map, map_at * element_bytes(call_.dtype));
  work.luminance = advance(call_.luminance, map_at * element_bytes(call_.dtype));
  work.grad[0] = advance(call_.grad1, grad_at * grad_bytes);
  work.grad[1] = advance(call_.grad2, grad_at * grad_bytes);
  work.weight = operand(kWeight, weight_channel, weight_bytes);
  work.error_weight = operand(kErrorWeight, weight_channel, weight_bytes);
  work.mean_scale = operand(kMeanScale, weight_channel, weight_bytes);
  work.weight_channels = weight_channels(call_, work.channels);
  work.weight_stride = call_.weight_channels;
  const Scales scales = scales_of_image(call_, image);
  work.weight_scale = scales[kMapScale];
  work.error_weight_scale = scales[kErrorScale];
  work.weight_unit = scales[kWeightUnit];
  return work;
}

void Tasks::run(Work work, int64_t image, Range channels) {
  PlaneSum* const accumulators = call_.accumulators();
  ErrorSums* const error_accumulators = call_.error_accumulators();
  const ScratchPool::Lease scratch(scratch_);
  work.scratch = scratch.memory();
  PlaneSum sums[kMaxChannels] = {};
  work.sums = accumulators ? sums : nullptr;
  ErrorSums errors[kMaxChannels] = {};
  work.errors = error_accumulators ? errors : nullptr;
  kernel_(work);
  if (!accumulators) return;
  const std::lock_guard<std::mutex> lock(adding_);
  for (int64_t c = channels.begin; c < channels.end; ++c) {
    const int64_t plane = image * call_.channels + c, own = c - channels.begin;
    plane_sum_add(accumulators[plane], sums[own]);
    if (!error_accumulators) continue;
    plane_sum_add(error_accumulators[plane].absolute, errors[own].absolute);
    plane_sum_add(error_accumulators[plane].square, errors[own].square);
  }
}

}  // namespace jax_fused_ssim::cpu
