// How the CPU kernels get their threads.

#ifndef JAX_FUSED_SSIM_CPU_PARALLEL_H_
#define JAX_FUSED_SSIM_CPU_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace jax_fused_ssim::cpu {

// Calls task(i) for every i in [0, count), each once, in any order and on any thread,
// and returns when all have returned.
class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int64_t threads() const = 0;
  virtual void run(int64_t count, const std::function<void(int64_t)>& task) const = 0;
};

}  // namespace jax_fused_ssim::cpu

#endif  // JAX_FUSED_SSIM_CPU_PARALLEL_H_
