#include "ffi/call.h"

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace jax_fused_ssim {
namespace {

namespace ffi = xla::ffi;

using Dims = std::vector<int64_t>;

// Sides up to here fit the kernels' 32-bit row and column indices, halo included.
constexpr int64_t kMaxSide = int64_t{1} << 30;

struct Attributes {
  double data_range, k1, k2, scale;
  bool pad_y, pad_x, channels_last;
};

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

ffi::Error get_attributes(const ffi::Dictionary& attrs, Attributes* out) {
  std::string missing;
  auto get = [&](auto* value, const char* name) {
    auto found = attrs.get<std::remove_pointer_t<decltype(value)>>(name);
    if (found.has_value()) {
      *value = *found;
    } else {
      missing += std::string(missing.empty() ? "" : ", ") + name;
    }
  };
  get(&out->data_range, "data_range");
  get(&out->k1, "k1");
  get(&out->k2, "k2");
  get(&out->scale, "scale");
  get(&out->pad_y, "pad_y");
  get(&out->pad_x, "pad_x");
  get(&out->channels_last, "channels_last");
  if (!missing.empty())
    return invalid("attributes missing or of a wrong type: " + missing);
  return ffi::Error::Success();
}

// Within the bounds of jax_fused_ssim/arguments.py, which NaN is not.
ffi::Error check_constants(const Attributes& attrs, DType dtype) {
  const bool wide = dtype == DType::kF64;
  const double most_range = wide ? 1e250 : 1e25, least_range = wide ? 1e-250 : 1e-25;
  const double most_k = wide ? 1e70 : 1e8, least_k = wide ? 1e-70 : 1e-8;
  const struct {
    const char* name;
    double value, least, most;
  } constants[] = {{"data_range", attrs.data_range, least_range, most_range},
                   {"k1", attrs.k1, least_k, most_k},
                   {"k2", attrs.k2, least_k, most_k}};
  for (const auto& c : constants) {
    if (c.value >= c.least && c.value <= c.most) continue;
    char message[128];
    std::snprintf(message, sizeof message, "%s must be within [%g, %g], got %g", c.name,
                  c.least, c.most, c.value);
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

Dims joined(const Dims& leading, std::initializer_list<int64_t> rest) {
  Dims shape = leading;
  shape.insert(shape.end(), rest);
  return shape;
}

// Strides, in images, by which an operand's leading dimensions are walked; 0 where it
// has size 1 and the results do not. Empty where it does not fit.
std::optional<Dims> leading_strides(const Dims& shape, const Dims& leading) {
  Dims strides(leading.size());
  int64_t stride = 1;
  for (size_t k = leading.size(); k-- > 0;) {
    if (shape[k] != leading[k] && shape[k] != 1) return std::nullopt;
    strides[k] = shape[k] == leading[k] ? stride : 0;
    stride *= shape[k];
  }
  return strides;
}

// Writes the leading dimensions with those merged that both images walk as one.
ffi::Error merge_leading(const Dims& leading, const Dims& stride1, const Dims& stride2,
                         Leading* out) {
  for (size_t k = 0; k < leading.size(); ++k) {
    if (leading[k] == 1) continue;
    const int last = out->rank - 1;
    if (last >= 0 && out->stride1[last] == stride1[k] * leading[k] &&
        out->stride2[last] == stride2[k] * leading[k]) {
      out->size[last] *= leading[k];
      out->stride1[last] = stride1[k];
      out->stride2[last] = stride2[k];
      continue;
    }
    if (out->rank == Leading::kMaxRank) {
      return invalid("images broadcast against each other in more than " +
                     std::to_string(Leading::kMaxRank) +
                     " alternating groups of leading dimensions");
    }
    out->size[out->rank] = leading[k];
    out->stride1[out->rank] = stride1[k];
    out->stride2[out->rank] = stride2[k];
    ++out->rank;
  }
  return ffi::Error::Success();
}

// The problem that two images and the leading dimensions of the results pose.
ffi::Error get_problem(const Attributes& attrs, const Buffer& img1, const Buffer& img2,
                       const Dims& leading, Problem* out) {
  const size_t trailing = img1.shape.size() - leading.size();
  const Dims rest1(img1.shape.end() - trailing, img1.shape.end());
  const Dims rest2(img2.shape.end() - trailing, img2.shape.end());
  const auto stride1 = leading_strides(img1.shape, leading);
  const auto stride2 = leading_strides(img2.shape, leading);
  if (rest1 != rest2 || !stride1 || !stride2) {
    return invalid("images " + text(img1.shape) + " and " + text(img2.shape) +
                   " do not fit each other and results with leading dimensions " +
                   text(leading));
  }
  out->height = rest1[0];
  out->width = rest1[1];
  out->channels = attrs.channels_last ? rest1[2] : 1;
  out->pad_y = attrs.pad_y ? kRadius : 0;
  out->pad_x = attrs.pad_x ? kRadius : 0;
  if (out->height < 1 || out->width < 1 || out->channels < 1 || out->map_height() < 1 ||
      out->map_width() < 1 || out->height > kMaxSide || out->width > kMaxSide) {
    return invalid("images " + text(img1.shape) +
                   " are empty, smaller than the window, " + "or too large");
  }
  out->images = 1;
  for (const int64_t n : leading) out->images *= n;
  out->data_range = attrs.data_range;
  out->k1 = attrs.k1;
  out->k2 = attrs.k2;
  out->scale = attrs.scale;
  return merge_leading(leading, *stride1, *stride2, &out->leading);
}

}  // namespace

ffi::Error unpack(Op op, const ffi::RemainingArgs& args, const ffi::RemainingRets& rets,
                  const ffi::Dictionary& attrs, Call* call) {
  const bool sums = op == Op::kSum || op == Op::kSumGrad;
  const bool gradients = op == Op::kSumGrad || op == Op::kMapGrad;
  const size_t operands = op == Op::kMapGrad ? 3 : 2;
  const size_t others = gradients && !sums ? 1 : 2;  // not gradients

  Attributes attributes = {};
  std::vector<Buffer> in, out;
  if (auto error = get_attributes(attrs, &attributes); error.failure()) return error;
  if (auto error = get_buffers("operands", args, operands, operands, &in);
      error.failure()) {
    return error;
  }
  if (auto error = get_buffers("results", rets, others + gradients,
                               others + 2 * gradients, &out);
      error.failure()) {
    return error;
  }

  const Buffer &img1 = in[0], &img2 = in[1];
  const auto dtype = image_dtype(img1.dtype);
  const size_t trailing = attributes.channels_last ? 3 : 2;
  if (!dtype || img1.dtype != img2.dtype) {
    return invalid(
        "images must have one dtype, float16, bfloat16, float32 or float64; got " +
        text(img1.dtype) + " and " + text(img2.dtype));
  }
  if (auto error = check_constants(attributes, *dtype); error.failure()) return error;
  if (img1.shape.size() < trailing || img1.shape.size() != img2.shape.size()) {
    return invalid("images must have the same number of dimensions, at least " +
                   std::to_string(trailing) + "; got " + text(img1.shape) + " and " +
                   text(img2.shape));
  }
  const size_t leading_rank = img1.shape.size() - trailing;
  if (out[0].shape.size() < leading_rank) {
    return invalid("results have too few dimensions: " + text(out[0].shape));
  }
  const Dims leading(out[0].shape.begin(), out[0].shape.begin() + leading_rank);

  Problem& problem = call->problem;
  if (auto error = get_problem(attributes, img1, img2, leading, &problem);
      error.failure()) {
    return error;
  }
  call->images = {*dtype, img1.data, img2.data};

  const bool last = attributes.channels_last;
  const int64_t c = problem.channels;
  const ffi::DataType wide = *dtype == DType::kF64 ? ffi::F64 : ffi::F32;
  const Dims planes = last ? joined(leading, {c}) : leading;
  const Dims words = joined(planes, {kScratchWords});
  Dims image = joined(leading, {problem.height, problem.width});
  Dims map = joined(leading, {problem.map_height(), problem.map_width()});
  if (last) {
    image.push_back(c);
    map.push_back(c);
  }

  std::vector<std::pair<ffi::Error, void*>> checked;
  size_t next = 0;
  auto result = [&](const char* what, ffi::DataType type, const Dims& shape) {
    const Buffer& b = out[next++];
    checked.emplace_back(check(what, b, type, shape), b.data);
    return b.data;
  };
  if (sums) call->sums = result("sums", wide, planes);
  if (op == Op::kMap) call->map = result("map", img1.dtype, map);
  if (op == Op::kMapGrad) {
    checked.emplace_back(check("cotangent", in[2], img1.dtype, map), nullptr);
    call->cotangent = in[2].data;
  }
  if (gradients) call->grad1 = result("gradient", wide, image);
  if (next + 1 < out.size()) call->grad2 = result("second gradient", wide, image);
  call->scratch = result("scratch", ffi::U32, words);
  for (const auto& [error, data] : checked) {
    if (error.failure()) return error;
  }
  return ffi::Error::Success();
}

}  // namespace jax_fused_ssim
