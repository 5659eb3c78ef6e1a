// What images and volumes have in common when a call is cut into tasks: the operands of
// a task, its scratch, and where its sums go.

#ifndef JAX_FUSED_SSIM_CPU_TASKS_H_
#define JAX_FUSED_SSIM_CPU_TASKS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "common/call.h"
#include "cpu/parallel.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {

// The kernels of the instruction set that was picked.
const Kernels& kernels();

// Runs the kernels over all planes, whose sums are zero before.
void run_images(const Parallel& parallel, const Call& call);
void run_volumes(const Parallel& parallel, const Call& call);

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int64_t length_of(Range range) { return range.end - range.begin; }

inline Range common_part(Range a, Range b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

// Cuts [range) into `parts` nearly equal parts and returns one.
inline Range part_of(Range range, int64_t parts, int64_t index) {
  const int64_t n = length_of(range);
  return {range.begin + n * index / parts, range.begin + n * (index + 1) / parts};
}

// An index that counts in several digits, the last one first.
inline int64_t next_digit(int64_t& index, int64_t base) {
  const int64_t digit = index % base;
  index /= base;
  return digit;
}

inline int64_t compute_bytes(DType dtype) { return dtype == DType::kF64 ? 8 : 4; }

// The channels of an image, in nearly equal parts of which a task takes one.
struct ChannelParts {
  int64_t count, most;

  explicit ChannelParts(const Call& call)
      : count(ceil_div(call.channels, kMaxChannels)),
        most(ceil_div(call.channels, count)) {}
};

// In how many ranges tasks take columns that windows of a kernel see `halo` more of: by
// the shape alone. `task_bytes`: of a row that a task covers, in the compute type.
inline int64_t column_parts(const Call& call, Range cols, int64_t channels,
                            int64_t halo, int64_t task_bytes) {
  const int64_t elements =
      std::max(task_bytes / compute_bytes(call.dtype), 4 * halo * channels);
  return ceil_div(length_of(cols) * channels, elements);
}

// Channels of the weights that go with so many of the images'; 0 without weights.
int64_t weight_channels(const Call& call, int64_t channels);

// The kScales of an image; 1 without weights, and where there is no image.
using Scales = std::array<double, kWeightScales>;
Scales scales_of_image(const Call& call, int64_t image);

// Scratch for tasks, as many pieces as run at a time: fresh memory costs page faults.
class ScratchPool {
 public:
  explicit ScratchPool(size_t bytes) : bytes_(bytes) {}

  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), piece_(pool.take()) {}
    ~Lease() { pool_.give(std::move(piece_)); }
    void* memory() const;

   private:
    ScratchPool& pool_;
    std::unique_ptr<char[]> piece_;
  };

 private:
  std::unique_ptr<char[]> take();
  void give(std::unique_ptr<char[]> piece);

  const size_t bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<char[]>> free_;
};

// Runs one kernel of a call for one task after the other, from any thread.
class Tasks {
 public:
  Tasks(const Call& call, void (*kernel)(const Work&), size_t scratch_bytes)
      : call_(call), kernel_(kernel), scratch_(scratch_bytes) {}

  // Some channels of an image: all that a task needs but its ranges, and what run()
  // adds.
  Work work_of(int64_t image, Range channels) const;

  // Runs the kernel and adds the sums to those of the planes.
  void run(Work work, int64_t image, Range channels);

 private:
  const Call& call_;
  void (*const kernel_)(const Work&);
  ScratchPool scratch_;
  std::mutex adding_;
};

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_TASKS_H_
