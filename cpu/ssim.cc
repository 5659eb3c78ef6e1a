// Cuts a call into tasks, picks the kernels for this CPU, and finishes the sums.
//
// Columns are cut by the shape alone and rows by the number of threads: a term of a sum
// is one row of one column range, so no result depends on the number of threads.

#include "cpu/ssim.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "common/loss.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace {

const Kernels& pick_kernels() {
  const Kernels* best = &kBaselineKernels;
#ifdef JAX_FUSED_SSIM_X86
  // For tests: a name here stops the search at that instruction set.
  const char* wanted = std::getenv("JAX_FUSED_SSIM_CPU");
  auto stop = [&] { return wanted && !std::strcmp(wanted, best->name); };
  if (!stop() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    best = &kAvx2Kernels;
    if (!stop() && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      best = &kAvx512Kernels;
    }
  }
#endif
  return *best;
}

const Kernels& kernels() {
  static const Kernels& picked = pick_kernels();
  return picked;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

size_t element_bytes(DType dtype) {
  return dtype == DType::kF64 ? 8 : dtype == DType::kF32 ? 4 : 2;
}
size_t pixel_bytes(Pixels pixels, DType dtype) {
  return pixels == Pixels::kU8 ? 1 : pixels == Pixels::kU16 ? 2 : element_bytes(dtype);
}
size_t compute_bytes(DType dtype) { return dtype == DType::kF64 ? 8 : 4; }
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

Range common_part(Range a, Range b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

// Cuts [range) into `parts` nearly equal parts and returns one.
Range part_of(Range range, int64_t parts, int64_t index) {
  const int64_t n = range.end - range.begin;
  return {range.begin + n * index / parts, range.begin + n * (index + 1) / parts};
}

// Scratch for tasks, as many pieces as run at a time: fresh memory costs page faults.
class ScratchPool {
 public:
  explicit ScratchPool(size_t bytes) : bytes_(bytes) {}

  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), piece_(pool.take()) {}
    ~Lease() { pool_.give(std::move(piece_)); }
    void* memory() const {
      void* p = piece_.get();
      size_t space = pool_.bytes_ + kScratchAlignment;
      return std::align(kScratchAlignment, pool_.bytes_, p, space);
    }

   private:
    ScratchPool& pool_;
    std::unique_ptr<char[]> piece_;
  };

 private:
  std::unique_ptr<char[]> take() {
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
  void give(std::unique_ptr<char[]> piece) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(piece));
  }

  const size_t bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<char[]>> free_;
};

// Bytes of a row that a task covers, in the compute type: few enough for its rings to
// stay in the second cache, many enough for the halo to be small beside them and for
// the processor to foresee what is read.
constexpr int64_t kTaskBytes = 4096;
// Rows that a task covers at least, as 10 or 20 more are read.
constexpr int64_t kTaskRows = 48;
// Tasks that a thread gets at least, where there are rows enough: threads start at
// different times and cores differ in speed.
constexpr int64_t kTasksPerThread = 8;

// The kScales of an image; 1 without weights, and where there is no image.
using Scales = std::array<double, kWeightScales>;
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

template <typename T, bool kErrors>
void finish_sums(const Call& call) {
  const int64_t planes = call.planes_of_result();
  for (int64_t result = 0; result < call.results; ++result) {
    PlaneSums<kErrors> sums;
    for (int64_t i = result * planes; i < (result + 1) * planes; ++i) {
      PlaneSums<kErrors> plane;
      plane.dissimilarity = call.accumulators()[i];
      if constexpr (kErrors) plane.errors = call.error_accumulators()[i];
      sums.add(plane);
    }
    T* const terms = kErrors ? static_cast<T*>(call.terms) + kTerms * result : nullptr;
    const Scales scales = scales_of_image(call, result * planes / call.channels);
    sums.finish(call.parameters, static_cast<T*>(call.loss) + result, terms,
                scales[kMapScale], scales[kErrorScale]);
  }
}

void finish(const Call& call) {
  if (call.dtype == DType::kF64) {
    call.has_errors() ? finish_sums<double, true>(call)
                      : finish_sums<double, false>(call);
  } else {
    call.has_errors() ? finish_sums<float, true>(call)
                      : finish_sums<float, false>(call);
  }
}

}  // namespace

void run(const Parallel& parallel, const Call& call) {
  if (call.planes() == 0) return finish(call);
  PlaneSum* const accumulators = call.accumulators();
  ErrorSums* const error_accumulators = call.error_accumulators();
  if (accumulators) std::memset(accumulators, 0, call.planes() * sizeof(PlaneSum));
  if (error_accumulators) {
    std::memset(error_accumulators, 0, call.planes() * sizeof(ErrorSums));
  }
  const bool gradient = call.grad1 != nullptr;
  const int type = static_cast<int>(call.dtype);
  const int given = call.taps != nullptr;
  const auto kernel =
      gradient ? kernels().gradient[given][type] : kernels().value[given][type];
  const Range centre_rows = {call.map_y(), call.map_y() + call.map_height()};
  const Range centre_cols = {call.map_x(), call.map_x() + call.map_width()};
  // Errors count in all of the map, and maybe around it.
  const Range error_rows = {call.error_y(), call.error_end_y()};
  const Range error_cols = {call.error_x(), call.error_end_x()};
  const Range rows = gradient            ? Range{0, call.height}
                     : call.has_errors() ? error_rows
                                         : centre_rows;
  const Range cols = gradient            ? Range{0, call.width}
                     : call.has_errors() ? error_cols
                                         : centre_cols;

  const int64_t channel_parts = ceil_div(call.channels, kMaxChannels);
  const int64_t most_channels = ceil_div(call.channels, channel_parts);
  const int64_t halo = (gradient ? 4 : 2) * kRadius;
  const int64_t col_elements = std::max<int64_t>(kTaskBytes / compute_bytes(call.dtype),
                                                 4 * halo * most_channels);
  const int64_t col_parts =
      ceil_div((cols.end - cols.begin) * most_channels, col_elements);
  const int64_t threads = std::max<int64_t>(parallel.threads(), 1);
  const int64_t strips = call.images * channel_parts * col_parts;
  const int64_t row_parts =
      std::clamp<int64_t>(ceil_div(kTasksPerThread * threads, strips), 1,
                          std::max<int64_t>((rows.end - rows.begin) / kTaskRows, 1));

  const auto scratch_bytes =
      gradient ? kernels().gradient_scratch[type] : kernels().value_scratch[type];
  const int64_t widest = ceil_div(cols.end - cols.begin, col_parts) + halo;
  const bool has_weight = call.operand[kWeight] != nullptr;
  const bool weights_are_shared = call.weight_channels != call.channels;
  const auto weight_channels = [&](int64_t channels) {
    return !has_weight ? 0 : weights_are_shared ? 1 : channels;
  };
  ScratchPool pool(scratch_bytes(widest * most_channels, most_channels,
                                 weight_channels(most_channels)));
  const int64_t in_bytes = element_bytes(call.dtype);
  const int64_t weight_bytes =
      call.has_weights() ? compute_bytes(call.dtype) : element_bytes(call.dtype);
  const int64_t grad_bytes = gradient_bytes(call.dtype);

  std::mutex adding;
  parallel.run(strips * row_parts, [&](int64_t task) {
    const int64_t row_part = task % row_parts;
    const int64_t col_part = task / row_parts % col_parts;
    const int64_t channel_part = task / row_parts / col_parts % channel_parts;
    const int64_t image = task / row_parts / col_parts / channel_parts;
    const Offsets offsets = operand_offsets(call.leading, image);
    const Range channels = part_of({0, call.channels}, channel_parts, channel_part);
    const auto operand = [&](int k, int64_t channel, int64_t bytes) {
      const int64_t at = offsets.of[k] * call.operand_size(k) + channel;
      return advance(call.operand[k], at * bytes);
    };
    const int64_t weight_channel = weights_are_shared ? 0 : channels.begin;
    const int64_t map_at = image * call.map_size() + channels.begin;
    const int64_t grad_at = image * call.image_size() + channels.begin;

    Work work = {};
    for (const int k : {kImg1, kImg2}) {
      work.img[k] = operand(k, channels.begin, pixel_bytes(call.pixels[k], call.dtype));
      work.pixels[k] = call.pixels[k];
      work.integer_scale[k] = scale_of(call.pixels[k], call);
    }
    work.height = call.height;
    work.width = call.width;
    work.channels = channels.end - channels.begin;
    work.pixel_stride = call.channels;
    work.parameters = call.parameters;
    work.window = call.given_window<double>(false);
    work.mirrored = call.given_window<double>(true);
    work.sees_only_border = call.sees_only_border();
    work.centre_rows = centre_rows;
    work.centre_cols = centre_cols;
    work.rows = part_of(rows, row_parts, row_part);
    work.cols = part_of(cols, col_parts, col_part);
    work.error_rows = common_part(work.rows, error_rows);
    work.error_cols = common_part(work.cols, error_cols);
    work.map = advance(call.map, map_at * in_bytes);
    work.grad[0] = advance(call.grad1, grad_at * grad_bytes);
    work.grad[1] = advance(call.grad2, grad_at * grad_bytes);
    work.weight = operand(kWeight, weight_channel, weight_bytes);
    work.error_weight = operand(kErrorWeight, weight_channel, weight_bytes);
    work.mean_scale = operand(kMeanScale, weight_channel, weight_bytes);
    work.weight_channels = weight_channels(work.channels);
    work.weight_stride = call.weight_channels;
    const Scales scales = scales_of_image(call, image);
    work.weight_scale = scales[kMapScale];
    work.error_weight_scale = scales[kErrorScale];
    work.weight_unit = scales[kWeightUnit];
    const ScratchPool::Lease scratch(pool);
    work.scratch = scratch.memory();
    PlaneSum sums[kMaxChannels] = {};
    work.sums = accumulators ? sums : nullptr;
    ErrorSums errors[kMaxChannels] = {};
    work.errors = error_accumulators ? errors : nullptr;
    kernel(work);
    if (!accumulators) return;
    const std::lock_guard<std::mutex> lock(adding);
    for (int64_t c = channels.begin; c < channels.end; ++c) {
      const int64_t plane = image * call.channels + c, own = c - channels.begin;
      plane_sum_add(accumulators[plane], sums[own]);
      if (!error_accumulators) continue;
      plane_sum_add(error_accumulators[plane].absolute, errors[own].absolute);
      plane_sum_add(error_accumulators[plane].square, errors[own].square);
    }
  });
  finish(call);
}

const char* instruction_set() { return kernels().name; }

}  // namespace jax_fused_ssim::cpu
