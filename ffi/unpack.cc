#include "ffi/unpack.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "common/loss.h"

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

using Dims = std::vector<int64_t>;

// Sides up to here fit the kernels' 32-bit row and column indices, halo included.
constexpr int64_t kMaxSide = int64_t{1} << 30;
// And elements of a volume's row: 32 bits hold some tens of rows.
constexpr int64_t kMaxVolumeRow = int64_t{1} << 25;

struct Buffer {
  ffi::DataType dtype;
  Dims shape;
  void* data;
};

ffi::Error invalid(const std::string& message) {
  return ffi::Error::InvalidArgument("jax_fused_ssim: " + message);
}

std::string text(const Dims& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    s += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return s + "]";
}

std::string text(ffi::DataType dtype) {
  return "dtype " + std::to_string(static_cast<int>(dtype));
}

Buffer buffer(const ffi::AnyBuffer& b) {
  const auto dims = b.dimensions();
  return {b.element_type(), Dims(dims.begin(), dims.end()), b.untyped_data()};
}

std::optional<DType> image_dtype(ffi::DataType dtype) {
  switch (dtype) {
    case ffi::F16:
      return DType::kF16;
    case ffi::BF16:
      return DType::kBF16;
    case ffi::F32:
      return DType::kF32;
    case ffi::F64:
      return DType::kF64;
    default:
      return std::nullopt;
  }
}

std::optional<Pixels> integer_pixels(ffi::DataType dtype) {
  switch (dtype) {
    case ffi::U8:
      return Pixels::kU8;
    case ffi::U16:
      return Pixels::kU16;
    default:
      return std::nullopt;
  }
}

ffi::Error get_parameters(const ffi::Dictionary& attrs, Parameters* out) {
  std::string missing;
  auto get = [&](const char* name, auto* value) {
    auto found = attrs.get<std::remove_pointer_t<decltype(value)>>(name);
    if (found.has_value()) {
      *value = *found;
    } else {
      missing += std::string(missing.empty() ? "" : ", ") + name;
    }
  };
  for (const Parameter& p : kParameters) {
    if (p.number) {
      get(p.name, &(out->*p.number));
    } else {
      get(p.name, &(out->*p.flag));
    }
  }
  if (!missing.empty())
    return invalid("attributes missing or of a wrong type: " + missing);
  return ffi::Error::Success();
}

// The taps of a window that is not compiled in; none of the one that is.
ffi::Error get_window(const ffi::Dictionary& attrs, Call* call) {
  const auto taps = attrs.get<ffi::Span<const double>>("window");
  if (!taps.has_value())
    return invalid("attributes missing or of a wrong type: window");
  if (taps->size() == 0) return ffi::Error::Success();
  if (taps->size() > kWindow) {
    return invalid("a window has at most " + std::to_string(kWindow) + " taps, got " +
                   std::to_string(taps->size()));
  }
  if (call->dtype != DType::kF32 && call->dtype != DType::kF64) {
    return invalid("a window that is given is for images of float32 or float64");
  }
  call->taps = taps->begin();
  call->window_size = static_cast<int>(taps->size());
  return ffi::Error::Success();
}

ffi::Error check_bounds(const Parameters& parameters, DType dtype) {
  for (const Parameter& p : kParameters) {
    if (!p.bounded) continue;
    const Bounds& bounds = dtype == DType::kF64 ? p.in_double : p.in_float;
    const double value = parameters.*p.number;
    if (value >= bounds.least && value <= bounds.most) continue;
    char message[128];
    std::snprintf(message, sizeof message, "%s must be within [%g, %g], got %g", p.name,
                  bounds.least, bounds.most, value);
    return invalid(message);
  }
  return ffi::Error::Success();
}

// Reads operands or results into buffers; their number must be within [least, most].
template <typename Remaining>
ffi::Error get_buffers(const char* what, const Remaining& remaining, size_t least,
                       size_t most, std::vector<Buffer>* out) {
  if (remaining.size() < least || remaining.size() > most) {
    return invalid("expected " + std::to_string(least) +
                   (least == most ? "" : " or " + std::to_string(most)) + " " + what +
                   ", got " + std::to_string(remaining.size()));
  }
  for (size_t i = 0; i < remaining.size(); ++i) {
    auto found = remaining.template get<ffi::AnyBuffer>(i);
    if (!found.has_value()) return found.error();
    if constexpr (std::is_same_v<Remaining, ffi::RemainingRets>) {
      out->push_back(buffer(**found));
    } else {
      out->push_back(buffer(*found));
    }
  }
  return ffi::Error::Success();
}

ffi::Error check(const char* what, const Buffer& b, ffi::DataType dtype,
                 const Dims& shape) {
  if (b.dtype == dtype && b.shape == shape) return ffi::Error::Success();
  return invalid(std::string(what) + " must be " + text(dtype) + " of shape " +
                 text(shape) + ", got " + text(b.dtype) + " of shape " + text(b.shape));
}

Dims joined(Dims leading, const Dims& rest) {
  leading.insert(leading.end(), rest.begin(), rest.end());
  return leading;
}

// Gives each of the first dimensions of `shape` to `leading` where that has 1.
void widen(const Dims& shape, Dims* leading) {
  for (size_t k = 0; k < std::min(leading->size(), shape.size()); ++k) {
    if ((*leading)[k] == 1) (*leading)[k] = shape[k];
  }
}

// Strides, in images or maps, by which the leading dimensions of an operand are walked;
// 0 where it has size 1 and others do not. `full`: its shape with the leading
// dimensions of all, `rank` of them. Empty where it does not fit.
std::optional<Dims> leading_strides(const Dims& shape, const Dims& full, size_t rank) {
  if (shape.size() != full.size()) return std::nullopt;
  Dims strides(rank);
  int64_t stride = 1;
  for (size_t k = shape.size(); k-- > 0;) {
    if (shape[k] != full[k] && (k >= rank || shape[k] != 1)) return std::nullopt;
    if (k >= rank) continue;
    strides[k] = shape[k] == full[k] ? stride : 0;
    stride *= shape[k];
  }
  return strides;
}

// Writes the leading dimensions with those merged that all operands walk as one.
ffi::Error merge_leading(const Dims& leading, const std::vector<Dims>& strides,
                         Leading* out) {
  for (size_t k = 0; k < leading.size(); ++k) {
    if (leading[k] == 1) continue;
    bool merges = out->rank > 0;
    for (size_t i = 0; i < strides.size(); ++i) {
      merges = merges && out->stride[i][out->rank - 1] == strides[i][k] * leading[k];
    }
    if (!merges) {
      if (out->rank == Leading::kMaxRank) {
        return invalid("operands broadcast against each other in more than " +
                       std::to_string(Leading::kMaxRank) +
                       " alternating groups of leading dimensions");
      }
      out->size[out->rank++] = 1;
    }
    out->size[out->rank - 1] *= leading[k];
    for (size_t i = 0; i < strides.size(); ++i) {
      out->stride[i][out->rank - 1] = strides[i][k];
    }
  }
  return ffi::Error::Success();
}

}  // namespace

ffi::Error unpack(const Op& op, const ffi::RemainingArgs& args,
                  const ffi::RemainingRets& rets, const ffi::Dictionary& attrs,
                  Call* call) {
  const auto has = [&](unsigned what) { return (op.has & what) != 0; };
  const size_t least_operands = 2 + has(kHasWeight) + 3 * has(kHasLossWeights);
  const size_t least_results = has(kHasLoss) + has(kHasTerms) + has(kHasMap) +
                               has(kHasLuminance) + has(kHasGradients) +
                               2 * has(kHasHalves) + 1;  // scratch
  const size_t most_results =
      least_results + (has(kHasGradients) && !has(kHasHalves) ? 1 : 0);

  std::vector<Buffer> in, out;
  if (auto error = get_parameters(attrs, &call->parameters); error.failure()) {
    return error;
  }
  if (auto error = get_buffers("operands", args, least_operands,
                               least_operands + has(kHasLossWeights), &in);
      error.failure()) {
    return error;
  }
  if (auto error = get_buffers("results", rets, least_results, most_results, &out);
      error.failure()) {
    return error;
  }

  const Buffer &img1 = in[kImg1], &img2 = in[kImg2];
  ffi::DataType image_type = img1.dtype;
  if (has(kHasTerms)) {
    int integers = 0;
    for (const int i : {kImg1, kImg2}) {
      const auto pixels = integer_pixels(in[i].dtype);
      integers += pixels.has_value();
      call->pixels[i] = pixels.value_or(Pixels::kOwn);
    }
    if (call->pixels[0] != Pixels::kOwn) image_type = img2.dtype;
    if (integers == 2) image_type = ffi::F32;
  }
  const auto own = [&](int i) { return call->pixels[i] == Pixels::kOwn; };
  const auto dtype = image_dtype(image_type);
  const bool last = call->parameters.channels_last;
  const bool volumes = call->parameters.volumes;
  if (volumes && !takes_volumes(op)) {
    return invalid("no kernel counts errors, weighs, or has two maps, in volumes");
  }
  const size_t axes = volumes ? 3 : 2;
  const size_t trailing = axes + last;
  if (!dtype || (own(0) && img1.dtype != image_type) ||
      (own(1) && img2.dtype != image_type)) {
    return invalid("images must have one dtype, float16, bfloat16, float32 or float64" +
                   std::string(has(kHasTerms) ? ", or be uint8 or uint16" : "") +
                   "; got " + text(img1.dtype) + " and " + text(img2.dtype));
  }
  const size_t gradients = out.size() - (least_results - has(kHasGradients));
  if (gradients > 0 && (!own(0) || (gradients > 1 && !own(1)))) {
    return invalid("integer images have no gradient");
  }
  call->dtype = *dtype;
  if (auto error = check_bounds(call->parameters, *dtype); error.failure()) {
    return error;
  }
  if (auto error = get_window(attrs, call); error.failure()) return error;
  if (volumes && *dtype != DType::kF32 && *dtype != DType::kF64) {
    return invalid("volumes must have the dtype float32 or float64");
  }
  if (img1.shape.size() < trailing || img1.shape.size() != img2.shape.size()) {
    return invalid("images must have the same number of dimensions, at least " +
                   std::to_string(trailing) + "; got " + text(img1.shape) + " and " +
                   text(img2.shape));
  }
  const size_t leading_rank = img1.shape.size() - trailing;
  Dims leading(leading_rank, 1);
  for (const Buffer& b : in) widen(b.shape, &leading);
  const Dims rest(img1.shape.begin() + leading_rank, img1.shape.end());
  call->depth = volumes ? rest[0] : 1;
  call->height = rest[axes - 2];
  call->width = rest[axes - 1];
  call->channels = last ? rest[axes] : 1;
  call->images = 1;
  for (const int64_t n : leading) call->images *= n;
  if (call->depth < 1 || call->height < 1 || call->width < 1 || call->channels < 1 ||
      call->map_depth() < 1 || call->map_height() < 1 || call->map_width() < 1 ||
      call->depth > kMaxSide || call->height > kMaxSide || call->width > kMaxSide ||
      (volumes && call->width > kMaxVolumeRow / call->channels)) {
    return invalid("images " + text(img1.shape) +
                   " are empty, smaller than the window, or too large");
  }

  if (has(kHasHalves) && (*dtype != DType::kF32 || last || img1.shape != img2.shape ||
                          call->height % 2 != 0 || call->width % 4 != 0)) {
    return invalid(
        "images that are halved as well must be float32, of one shape, with "
        "channels first, an even height and a width that is a multiple of 4; "
        "got " +
        text(img1.shape) + " and " + text(img2.shape));
  }

  const ffi::DataType wide = *dtype == DType::kF64 ? ffi::F64 : ffi::F32;
  const ffi::DataType gradient = *dtype == DType::kBF16 ? ffi::BF16 : wide;
  const Dims planes = last ? joined(leading, {call->channels}) : leading;
  Dims groups;
  if (has(kHasLoss)) {
    // The loss has the first dimensions of the planes; over the others it is summed.
    // Errors are counted of all channels of an image together.
    const size_t most = has(kHasTerms) ? leading.size() : planes.size();
    const size_t kept = std::min(out[0].shape.size(), most);
    groups.assign(planes.begin(), planes.begin() + kept);
    call->results = 1;
    for (const int64_t n : groups) call->results *= n;
  }
  const Dims half = joined(leading, {call->height / 2, call->width / 2});
  const Dims terms = joined(groups, {kTerms});
  Dims words = joined(planes, {kScratchWords});
  if (volumes && out.back().shape.size() == words.size()) {
    words.back() = std::max(words.back(), out.back().shape.back());
  }
  call->scratch_words = words.back();
  const Dims image = joined(leading, rest);
  Dims map = image;
  if (volumes) map[leading_rank] = call->map_depth();
  map[leading_rank + axes - 2] = call->map_height();
  map[leading_rank + axes - 1] = call->map_width();

  // Of each operand its shape with all leading dimensions.
  const Dims& of_weight = has(kHasLossWeights) ? image : map;
  Dims full[kOperands] = {
      image, image, of_weight, image, joined(leading, {kWeightScales}), image};
  if (has(kHasLossWeights) && last) {
    const Dims& shape = in[kWeight].shape;
    if (shape.empty() || shape.back() != 1) {
      call->weight_channels = call->channels;
    }
    for (const int k : {kWeight, kErrorWeight, kMeanScale}) {
      full[k].back() = call->weight_channels;
    }
  } else {
    call->weight_channels = call->channels;
  }
  const char* const names[kOperands] = {"",
                                        "",
                                        has(kHasWeight) ? "cotangent" : "weights",
                                        "weights of errors",
                                        "scales",
                                        "scales of means"};
  std::vector<Dims> strides;
  for (size_t i = 0; i < in.size(); ++i) {
    const auto found = leading_strides(in[i].shape, full[i], leading_rank);
    const ffi::DataType type = has(kHasWeight) ? img1.dtype : wide;
    if (i >= kWeight && (!found || in[i].dtype != type)) {
      return invalid(std::string(names[i]) + " must be " + text(type) + " of shape " +
                     text(full[i]) + ", but for leading dimensions of size 1; got " +
                     text(in[i].dtype) + " of shape " + text(in[i].shape));
    }
    if (!found) {
      return invalid("images " + text(img1.shape) + " and " + text(img2.shape) +
                     " do not fit each other and leading dimensions " + text(leading));
    }
    strides.push_back(*found);
    call->operand[i] = in[i].data;
  }
  if (call->leaves_out() && *dtype != DType::kF32 && *dtype != DType::kF64) {
    return invalid("scales of means are for images of float32 or float64");
  }
  if (auto error = merge_leading(leading, strides, &call->leading); error.failure()) {
    return error;
  }

  const struct {
    bool present;
    const char* name;
    ffi::DataType dtype;
    const Dims& shape;
    void** data;
  } results[] = {
      {has(kHasLoss), "loss", wide, groups, &call->loss},
      {has(kHasTerms), "terms", wide, terms, &call->terms},
      {has(kHasLuminance), "map of luminance", image_type, map, &call->luminance},
      {has(kHasMap), "map", image_type, map, &call->map},
      {has(kHasGradients), "gradient", gradient, image, &call->grad1},
      {out.size() > least_results, "second gradient", gradient, image, &call->grad2},
      {has(kHasHalves), "first halved image", image_type, half, &call->half[kImg1]},
      {has(kHasHalves), "second halved image", image_type, half, &call->half[kImg2]},
      {true, "scratch", ffi::U32, words, &call->scratch},
  };
  size_t next = 0;
  for (const auto& result : results) {
    if (!result.present) continue;
    const Buffer& b = out[next++];
    if (auto error = check(result.name, b, result.dtype, result.shape);
        error.failure()) {
      return error;
    }
    *result.data = b.data;
  }
  return ffi::Error::Success();
}

}  // namespace jax_fused_ssim
