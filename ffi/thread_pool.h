// Parallel over XLA's thread pool.

#ifndef JAX_FUSED_SSIM_FFI_THREAD_POOL_H_
#define JAX_FUSED_SSIM_FFI_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>

#include "cpu/parallel.h"
#include "xla/ffi/api/ffi.h"

namespace jax_fused_ssim {

// The pool promises no concurrency, and the caller is one of its workers: waiting for a
// task that sits in its queue could wait for ever. So the caller takes tasks like every
// helper until none is left, and then waits only for tasks that a helper has begun.
class ThreadPool : public cpu::Parallel {
 public:
  explicit ThreadPool(xla::ffi::ThreadPool pool) : pool_(pool) {}

  int64_t threads() const override { return pool_.num_threads(); }

  void run(int64_t count, const std::function<void(int64_t)>& task) const override {
    // Shared with helpers that the pool starts after everything is done.
    auto shared = std::make_shared<Shared>();
    shared->count = count;
    shared->task = &task;
    auto take_tasks = [shared] { shared->take_tasks(); };
    const int64_t helpers = std::min(threads(), count) - 1;
    for (int64_t i = 0; i < helpers; ++i) {
      pool_.Schedule(std::function<void()>(take_tasks));
    }
    take_tasks();
    std::unique_lock<std::mutex> lock(shared->mutex);
    shared->all_done.wait(lock, [&] { return shared->done == count; });
    if (shared->error) std::rethrow_exception(shared->error);
  }

 private:
  struct Shared {
    int64_t count = 0;
    const std::function<void(int64_t)>* task = nullptr;  // alive while tasks are left
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int64_t done = 0;
    std::exception_ptr error;

    void take_tasks() {
      int64_t taken = 0;
      std::exception_ptr caught;
      for (int64_t i; (i = next.fetch_add(1)) < count; ++taken) {
        try {
          (*task)(i);
        } catch (...) {
          caught = std::current_exception();
        }
      }
      if (taken == 0) return;
      const std::lock_guard<std::mutex> lock(mutex);
      if (caught) error = caught;
      done += taken;
      if (done == count) all_done.notify_one();
    }
  };

  mutable xla::ffi::ThreadPool pool_;
};

}  // namespace jax_fused_ssim

#endif  // JAX_FUSED_SSIM_FFI_THREAD_POOL_H_
