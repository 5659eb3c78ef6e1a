// Cuts a call of images into tasks.
//
// Columns are cut by the shape alone and rows by the number of threads: a term of a sum
// is one row of one column range, so no result depends on the number of threads.

#include <algorithm>

#include "cpu/tasks.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace {

// Bytes of a row that a task covers, in the compute type: few enough for its rings to
// stay in the second cache, many enough for the halo to be small beside them and for
// the processor to foresee what is read.
constexpr int64_t kTaskBytes = 4096;
// Rows that a task covers at least, as 10 or 20 more are read.
constexpr int64_t kTaskRows = 48;
// Tasks that a thread gets at least, where there are rows enough: threads start at
// different times and cores differ in speed.
constexpr int64_t kTasksPerThread = 8;

}  // namespace

void run_images(const Parallel& parallel, const Call& call) {
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

  const ChannelParts channel_parts(call);
  const int64_t halo = (gradient ? 4 : 2) * kRadius;
  const int64_t col_parts =
      column_parts(call, cols, channel_parts.most, halo, kTaskBytes);
  const int64_t threads = std::max<int64_t>(parallel.threads(), 1);
  const int64_t strips = call.images * channel_parts.count * col_parts;
  const int64_t row_parts =
      std::clamp<int64_t>(ceil_div(kTasksPerThread * threads, strips), 1,
                          std::max<int64_t>(length_of(rows) / kTaskRows, 1));

  const auto scratch_bytes =
      gradient ? kernels().gradient_scratch[type] : kernels().value_scratch[type];
  const int64_t widest = ceil_div(length_of(cols), col_parts) + halo;
  Tasks tasks(call, kernel,
              scratch_bytes(widest * channel_parts.most, channel_parts.most,
                            weight_channels(call, channel_parts.most)));
  parallel.run(strips * row_parts, [&](int64_t task) {
    const int64_t row_part = next_digit(task, row_parts);
    const int64_t col_part = next_digit(task, col_parts);
    const Range channels = part_of({0, call.channels}, channel_parts.count,
                                   next_digit(task, channel_parts.count));
    const int64_t image = task;
    Work work = tasks.work_of(image, channels);
    work.rows = part_of(rows, row_parts, row_part);
    work.cols = part_of(cols, col_parts, col_part);
    work.error_rows = common_part(work.rows, error_rows);
    work.error_cols = common_part(work.cols, error_cols);
    tasks.run(work, image, channels);
  });
}

}  // namespace jax_fused_ssim::cpu
