// Cuts a call of volumes into tasks.
//
// Columns are cut by the shape alone, rows and slices by the number of threads too: a
// term of a sum is one row of one slice of one column range, so no result depends on
// the number of threads.

#include <algorithm>

#include "cpu/tasks.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace {

// Bytes of a row that a task covers, in the compute type: many, as columns beside them
// are computed twice, and whole rows have none.
constexpr int64_t kTaskBytes = 2048;
// Bytes of a slice that a task covers. Few enough for the rings of a value to stay near
// the second cache; a gradient computes the map twice beside its rows, so it has more,
// and reads them from the third.
constexpr int64_t kValueBytes = 16384;
constexpr int64_t kGradientBytes = 32768;
// Rows and slices that a task covers at least, and tasks that a thread gets where these
// allow it: fewer than of images, as there is more around a task to be computed twice.
constexpr int64_t kTaskRows = 16;
constexpr int64_t kTaskSlices = 32;
constexpr int64_t kTasksPerThread = 2;

}  // namespace

void run_volumes(const Parallel& parallel, const Call& call) {
  const bool gradient = call.grad1 != nullptr;
  const int type = static_cast<int>(call.dtype);
  const int given = call.taps != nullptr;
  const auto kernel = gradient ? kernels().volume_gradient[given][type]
                               : kernels().volume_value[given][type];
  const auto covered = [gradient](int64_t side, int64_t map_begin, int64_t map_side) {
    return gradient ? Range{0, side} : Range{map_begin, map_begin + map_side};
  };
  const Range slices = covered(call.depth, call.map_z(), call.map_depth());
  const Range rows = covered(call.height, call.map_y(), call.map_height());
  const Range cols = covered(call.width, call.map_x(), call.map_width());

  const ChannelParts channel_parts(call);
  const int64_t halo = (gradient ? 4 : 2) * kRadius;
  const int64_t col_parts =
      column_parts(call, cols, channel_parts.most, halo, kTaskBytes);
  const int64_t col_count = ceil_div(length_of(cols), col_parts);

  const int64_t row_bytes = col_count * channel_parts.most * compute_bytes(call.dtype);
  const int64_t most_rows =
      std::max(kTaskRows, (gradient ? kGradientBytes : kValueBytes) / row_bytes);
  const int64_t least_parts = ceil_div(length_of(rows), most_rows);
  const int64_t strips = call.images * channel_parts.count * col_parts;
  const int64_t wanted = kTasksPerThread * std::max<int64_t>(parallel.threads(), 1);
  const int64_t row_parts =
      std::clamp(ceil_div(wanted, strips), least_parts,
                 std::max(least_parts, length_of(rows) / kTaskRows));
  const int64_t slice_parts =
      std::clamp<int64_t>(ceil_div(wanted, strips * row_parts), 1,
                          std::max<int64_t>(length_of(slices) / kTaskSlices, 1));

  const auto scratch_bytes = gradient ? kernels().volume_gradient_scratch[type]
                                      : kernels().volume_value_scratch[type];
  Tasks tasks(call, kernel,
              scratch_bytes((col_count + halo) * channel_parts.most, channel_parts.most,
                            weight_channels(call, channel_parts.most),
                            ceil_div(length_of(rows), row_parts)));
  parallel.run(strips * row_parts * slice_parts, [&](int64_t task) {
    const int64_t slice_part = next_digit(task, slice_parts);
    const int64_t row_part = next_digit(task, row_parts);
    const int64_t col_part = next_digit(task, col_parts);
    const Range channels = part_of({0, call.channels}, channel_parts.count,
                                   next_digit(task, channel_parts.count));
    const int64_t image = task;
    Work work = tasks.work_of(image, channels);
    work.slices = part_of(slices, slice_parts, slice_part);
    work.rows = part_of(rows, row_parts, row_part);
    work.cols = part_of(cols, col_parts, col_part);
    work.whole_rows = call.parameters.pad_x && col_parts == 1;
    tasks.run(work, image, channels);
  });
}

}  // namespace jax_fused_ssim::cpu
