// Choices that change no result of a strip kernel, only the order and the registers of
// its row loop, and with them its time: by as much as 15 % either way, without a rule
// that would tell. So each kernel has those that measured fastest of 15 combinations,
// or where these were slow of up to 220, on an H100 with CUDA 13.0: docs/kernels.md.

#ifndef JAX_FUSED_SSIM_CUDA_STRIP_TUNING_H_
#define JAX_FUSED_SSIM_CUDA_STRIP_TUNING_H_

#include "common/call.h"

namespace jax_fused_ssim::cuda {

// What a gradient weighs.
enum class Weighting {
  kNone,
  kCotangent,   // map pixels; nothing is added up
  kOneForBoth,  // the window and the error of a pixel, by the same
  kOneForEach,  // by one each
  kLeavesOut,   // as kOneForBoth, and windows do not see what has no weight
};

enum Tuning : unsigned {
  kPlain = 0,
  // The halo is formed with the second row of a step, not with the first.
  kHaloLate = 1 << 0,
  // What a thread's pixels lose to their centres is in shared memory, not in registers.
  kKeepsOffsets = 1 << 1,
  // So is where it copies the halo from.
  kKeepsHaloSource = 1 << 2,
  // In a register, and not computed anew in every step: where the strip's shared memory
  // begins, the thread's index, the centre of its map pixels, in which quanta it
  // counts each.
  kHoldsShared = 1 << 3,
  kHoldsThread = 1 << 4,
  kHoldsCentre = 1 << 5,
  kHoldsQuanta = 1 << 6,
  // The bytes of a row are read from the job, not computed from its elements.
  kReadsRowBytes = 1 << 7,
  // Value and map: s and d of the next row are written after the first window.
  kWritesLate = 1 << 8,
  // Stage 2 of a gradient begins with a row before it stores the one above.
  kBeginsRowsEarly = 1 << 9,
};

// What takes shared memory: left out where there is too little.
constexpr unsigned kTakesShared = kKeepsOffsets | kKeepsHaloSource;

constexpr unsigned sum_tuning(int maps, bool interleaved, DType type) {
  const bool map = maps > 0;
  if (type == DType::kF32) {
    if (!map && !interleaved) return kHoldsShared | kHoldsQuanta | kReadsRowBytes;
    if (!map) {
      return kHaloLate | kKeepsOffsets | kHoldsQuanta | kReadsRowBytes | kWritesLate;
    }
    if (!interleaved) return kHaloLate | kKeepsOffsets | kKeepsHaloSource;
    return kKeepsOffsets | kKeepsHaloSource | kHoldsShared | kReadsRowBytes;
  }
  if (!map && !interleaved) {
    return kKeepsHaloSource | kHoldsShared | kHoldsCentre | kHoldsQuanta;
  }
  if (!map) return kHaloLate | kKeepsOffsets | kHoldsCentre | kHoldsQuanta;
  if (!interleaved) return kHoldsShared | kReadsRowBytes | kWritesLate;
  return kHaloLate | kKeepsOffsets | kKeepsHaloSource | kHoldsShared;
}

constexpr unsigned grad_tuning(int gradients, bool weighted, bool interleaved,
                               DType type) {
  const bool both = gradients == 2, half = type == DType::kF16;
  if (type == DType::kF32 && !interleaved) {
    if (weighted) return both ? kKeepsOffsets : kHaloLate | kKeepsOffsets;
    if (!both) return kHaloLate;
    return kKeepsHaloSource | kHoldsThread | kHoldsCentre | kReadsRowBytes;
  }
  if (type == DType::kF32) {
    if (!weighted && !both) return kHaloLate | kKeepsHaloSource | kHoldsShared;
    if (!weighted) {
      return kKeepsOffsets | kKeepsHaloSource | kHoldsShared | kHoldsThread;
    }
    if (!both) return kReadsRowBytes;
    return kKeepsOffsets | kKeepsHaloSource | kHoldsShared | kReadsRowBytes |
           kBeginsRowsEarly;
  }
  if (!interleaved) {
    if (!both) {
      return !weighted ? kHaloLate : kKeepsHaloSource | kHoldsThread | kReadsRowBytes;
    }
    return kKeepsOffsets | kKeepsHaloSource | kHoldsShared |
           (weighted ? kHoldsThread : kPlain);
  }
  if (!weighted && !both) {
    return half ? kHaloLate | kHoldsShared | kReadsRowBytes | kBeginsRowsEarly
                : kHaloLate | kKeepsHaloSource | kHoldsShared | kHoldsThread |
                      kHoldsCentre | kReadsRowBytes;
  }
  if (!weighted) return kHaloLate | kKeepsOffsets;
  if (!both) {
    return half ? kHoldsShared | kHoldsThread | kBeginsRowsEarly
                : kKeepsOffsets | kHoldsShared | kHoldsThread | kReadsRowBytes;
  }
  return kHaloLate | kKeepsOffsets | kKeepsHaloSource | kHoldsShared | kHoldsThread;
}

constexpr unsigned kHalvingGradTuning = kHaloLate;

// With errors. `bytes`: the second image has those, which come from another place than
// the first one's pixels, so that the halo has no one way to keep.
constexpr unsigned loss_sum_tuning(bool interleaved) {
  return interleaved ? kHaloLate | kKeepsOffsets | kKeepsHaloSource | kHoldsThread |
                           kHoldsQuanta
                     : kHaloLate | kKeepsOffsets | kHoldsThread | kWritesLate;
}

constexpr unsigned loss_grad_tuning(bool interleaved, bool bytes, DType type) {
  if (bytes) {
    return !interleaved ? kHoldsThread | kHoldsCentre | kReadsRowBytes
                        : kHaloLate | kKeepsOffsets | kHoldsShared | kHoldsThread |
                              kReadsRowBytes | kBeginsRowsEarly;
  }
  if (type == DType::kF32) {
    return interleaved ? kHaloLate | kKeepsHaloSource | kHoldsThread | kHoldsCentre |
                             kReadsRowBytes
                       : kHaloLate | kHoldsThread;
  }
  if (!interleaved) return kKeepsOffsets;
  return kHaloLate | kHoldsShared | kReadsRowBytes |
         (type == DType::kBF16 ? kHoldsThread : kPlain);
}

constexpr unsigned weighted_loss_grad_tuning(Weighting weighting, bool interleaved,
                                             bool bytes) {
  if (weighting == Weighting::kLeavesOut) {
    if (bytes && interleaved) return kKeepsOffsets | kHoldsCentre | kReadsRowBytes;
    if (bytes) return kHoldsShared | kHoldsThread;
    return kHoldsShared | kHoldsThread | kHoldsCentre | kReadsRowBytes |
           (interleaved ? kPlain : kHaloLate | kKeepsOffsets);
  }
  if (weighting == Weighting::kOneForBoth) {
    return kHaloLate | kKeepsOffsets | kKeepsHaloSource | kHoldsShared | kHoldsThread;
  }
  if (bytes) {
    return interleaved ? kKeepsOffsets | kHoldsShared | kBeginsRowsEarly
                       : kHaloLate | kHoldsThread;
  }
  return interleaved
             ? kHaloLate | kKeepsOffsets | kHoldsShared | kHoldsThread | kReadsRowBytes
             : kHaloLate | kReadsRowBytes | kBeginsRowsEarly;
}

}  // namespace jax_fused_ssim::cuda

#endif  // JAX_FUSED_SSIM_CUDA_STRIP_TUNING_H_
