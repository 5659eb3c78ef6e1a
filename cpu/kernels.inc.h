// The kernels, for one instruction set: the file that includes this defines JFS_ISA, a
// namespace of its own, JFS_VECTOR_BYTES, JFS_KERNELS, the table to fill, and its name.
//
// Rows are streamed, four at a time: of the input (as sum and difference) and of the
// derivative maps the last 16 are kept in rings, so that a task reads each pixel once,
// writes each result once, and its scratch does not grow with the height. A convolution
// is a vertical pass over a ring, then a horizontal one over the rows that this gave;
// rows are folded (folded.h), so that both are aligned loads. Every lane does the same
// arithmetic whatever the tile, whole vectors to the end of a row, so that a pixel's
// result depends on its window alone.

#include <cstdint>

#include "common/formula.h"
#include "cpu/convolve.h"
#include "cpu/folded.h"
#include "cpu/rows.h"
#include "cpu/scratch.h"
#include "cpu/work.h"

namespace jax_fused_ssim::cpu {
namespace JFS_ISA {
namespace {

// Elements [begin, end) of a row as a mask, folded; `row` is room for one.
template <typename T>
void fold_mask(int64_t begin, int64_t end, const Shape<T>& shape, T* row, T* mask) {
  fill(row, 0, shape.row(), T(0));
  fill(row, begin, end, T(1));
  fold(row, shape.length, mask, kLanes<T>);
  for (int64_t i = 0; i < shape.row(); i += kLanes<T>) {
    store(mask + i, load<Vec<T>>(mask + i) != Vec<T>{});
  }
}

template <typename T>
JFS_INLINE Vec<T> select(const T* mask, Vec<T> v) {
  return load<Mask<T>>(mask) ? v : Vec<T>{};
}

// Adds a folded row of (1 - SSIM) / 2 to the sums of its channels, as one term a
// channel.
template <typename T>
void add_row(const T* half, int64_t length, int64_t channels, PlaneSum* sums) {
  constexpr int kParts = sizeof(double) / sizeof(T);
  constexpr int n = kLanes<T> / kParts;
  using Part = typename VecOf<T, n>::type;
  using Double = typename VecOf<double, n>::type;
  for (int64_t c = 0; c < channels; ++c) {
    Double parts[kParts] = {};
    for (int64_t j = c; j < length; j += channels) {
      for (int k = 0; k < kParts; ++k) {
        const Part part = load<Part>(half + j * kLanes<T> + k * n);
        parts[k] += __builtin_convertvector(part, Double);
      }
    }
    if (kParts == 2) parts[0] += parts[kParts - 1];
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += parts[0][i];
    plane_sum_add(sums[c], plane_sum_term(2 * sum));
  }
}

// Reads a batch of input rows into the ring; [first, last) are those that are used.
template <typename E>
void load_batch(const Work& work, int64_t row, Range used, int64_t col, int64_t n,
                Compute<E> inv_range, const Shape<Compute<E>>& shape,
                ValueScratch<Compute<E>>& scratch) {
  using T = Compute<E>;
  using Images = Ring<T, kImages>;
  scratch.images.next();
  T* const batch = scratch.images.batch(0);
  for (int k = 0; k < kBatch; ++k) {
    if (row + k < used.begin || row + k >= used.end) continue;
    load_row<E>(work, row + k, col, n, inv_range, scratch.s, scratch.d);
    fold(scratch.s, shape.length, batch + k * kLanes<T>, Images::kColumn);
    fold(scratch.d, shape.length, batch + (kBatch + k) * kLanes<T>, Images::kColumn);
  }
}

// Calls body(column, out) for every step of a horizontal pass: kOutputs pixels of one
// channel from `column` on.
template <typename Body>
JFS_INLINE void for_columns(int64_t length, int64_t channels, Body body) {
  for (int64_t block = 0; block < length; block += kOutputs * channels) {
    for (int64_t c = 0; c < channels; ++c) body(block + c);
  }
}

template <typename T>
JFS_INLINE void moments_at(const T* between, int64_t column, int64_t channels, int row,
                           Moments<Vec<T>>* m) {
  Vec<T> s[kOutputs], d[kOutputs], ss[kOutputs], dd[kOutputs];
  horizontal<T, kMoments, kOutputs>(between, column, channels, 0, row, s);
  horizontal<T, kMoments, kOutputs>(between, column, channels, 1, row, d);
  horizontal<T, kMoments, kOutputs>(between, column, channels, 2, row, ss);
  horizontal<T, kMoments, kOutputs>(between, column, channels, 3, row, dd);
  for (int k = 0; k < kOutputs; ++k) m[k] = {s[k], d[k], ss[k], dd[k]};
}

// The value: sums, map or both. Reads 2 images, computes 4 windowed means a pixel.
template <typename E>
void value(const Work& work) {
  using T = Compute<E>;
  using V = Vec<T>;
  const Constants<T> c = constants<T>(work.data_range, work.k1, work.k2);
  const int64_t channels = work.channels;
  const int64_t out_n = (work.cols.end - work.cols.begin) * channels;
  const int64_t in_n = out_n + 2 * kRadius * channels;
  const Shape<T> shape(in_n, channels);
  ValueScratch<T> scratch(shape, work.scratch);
  fold_mask(0, out_n, shape, scratch.s, scratch.own);

  const Range in_rows = {work.rows.begin - kRadius, work.rows.end + kRadius};
  const int64_t first = in_rows.begin - kSpare;
  for (int64_t row = first; row - kRadius < work.rows.end; row += kBatch) {
    load_batch<E>(work, row, in_rows, work.cols.begin - kRadius, in_n, c.inv_range,
                  shape, scratch);
    const int64_t centre = row - kRadius;
    if (centre < work.rows.begin) continue;
    vertical<T, kImages, true>(scratch.images, shape.length, scratch.between);
    extend<T, kMoments>(scratch.between, shape.length, channels);
    for (int k = 0; k < kBatch && centre + k < work.rows.end; ++k) {
      for_columns(shape.length, channels, [&](int64_t column) {
        Moments<V> m[kOutputs];
        moments_at(scratch.between, column, channels, k, m);
        for (int i = 0; i < kOutputs; ++i) {
          const int64_t at = (column + i * channels) * kLanes<T>;
          store(scratch.half + at,
                select(scratch.own + at, half_dissimilarity(m[i], c)));
        }
      });
      if (work.sums) add_row(scratch.half, shape.length, channels, work.sums);
      if (work.map) {
        unfold(scratch.half, kLanes<T>, shape.length, scratch.s);
        store_map<E>(work, centre + k, scratch.s, out_n);
      }
    }
  }
}

// Gradients in one image or both, of the sum or against a cotangent, and the sums when
// asked for. Reads 2 images, writes 1 or 2, computes 4 + 3 or 4 + 4 windowed means a
// pixel: stage 1 as in `value`, its derivative maps go through a second ring, stage 2
// is 10 rows behind the input and finds its own pixels in the oldest rows of the
// input's ring.
template <typename E, bool kBoth>
struct Gradient {
  using T = Compute<E>;
  using V = Vec<T>;
  static constexpr int kMaps = kBoth ? 4 : 3;
  static constexpr int64_t kMapColumn = Ring<T, kMaps>::kColumn;

  const Work& work;
  const int64_t channels = work.channels;
  const int64_t out_n = (work.cols.end - work.cols.begin) * channels;
  const int64_t mid_n = out_n + 2 * kRadius * channels;
  const int64_t in_n = mid_n + 2 * kRadius * channels;
  const Constants<T> c = constants<T>(work.data_range, work.k1, work.k2);
  const T factor = T(kDerivativeScale * work.scale / work.data_range);
  const Shape<T> shape{in_n, channels};
  GradientScratch<T, kMaps> scratch{shape, work.scratch};

  // Elements of a row of stage 1 that are centres.
  const int64_t first_col = work.cols.begin - kRadius;
  const int64_t begin =
      clamp((work.centre_cols.begin - first_col) * channels, 0, mid_n);
  const int64_t end =
      clamp((work.centre_cols.end - first_col) * channels, begin, mid_n);

  void run() {
    fold_mask(begin, end, shape, scratch.s, scratch.inside);
    // Those that this task sums.
    const int64_t own_begin = clamp(kRadius * channels, begin, end);
    const int64_t own_end = clamp(kRadius * channels + out_n, own_begin, end);
    fold_mask(own_begin, own_end, shape, scratch.s, scratch.own);
    fill(scratch.s, 0, shape.row(), T(0));

    const Range in_rows = {work.rows.begin - 2 * kRadius, work.rows.end + 2 * kRadius};
    const int64_t first = in_rows.begin - 2 * kSpare;
    for (int64_t row = first; row - 2 * kRadius < work.rows.end; row += kBatch) {
      load_batch<E>(work, row, in_rows, work.cols.begin - 2 * kRadius, in_n,
                    c.inv_range, shape, scratch);
      const int64_t centre = row - kRadius;
      if (centre < work.rows.begin - kRadius - kSpare) continue;
      derivative_rows(centre);
      const int64_t pixel_row = centre - kRadius;
      if (pixel_row >= work.rows.begin) gradient_rows(pixel_row);
    }
  }

  // Stage 1.
  void derivative_rows(int64_t centre) {
    vertical<T, kImages, true>(scratch.images, shape.length, scratch.between);
    extend<T, kMoments>(scratch.between, shape.length, channels);
    scratch.maps.next();
    for (int k = 0; k < kBatch; ++k) {
      T* const out = scratch.maps.batch(0) + k * kLanes<T>;
      const int64_t row = centre + k;
      if (row < work.centre_rows.begin || row >= work.centre_rows.end) {
        for (int64_t i = 0; i < shape.columns * kMaps; ++i) {
          store(out + i * kBatch * kLanes<T>, V{});
        }
        continue;
      }
      const bool sums = work.sums && row >= work.rows.begin && row < work.rows.end;
      if (work.cotangent) {
        load_cotangent<E>(work, row, first_col, begin, end, scratch.s);
        fold(scratch.s, shape.length, scratch.weight, kLanes<T>);
        derivative_row<true>(k, out);
      } else {
        derivative_row<false>(k, out);
      }
      if (sums) add_row(scratch.half, shape.length, channels, work.sums);
    }
  }

  template <bool kWeighted>
  void derivative_row(int row, T* out) {
    for_columns(shape.length, channels, [&](int64_t column) {
      Moments<V> m[kOutputs];
      moments_at(scratch.between, column, channels, row, m);
      for (int i = 0; i < kOutputs; ++i) {
        const int64_t j = column + i * channels, at = j * kLanes<T>;
        const Terms<V> t(m[i], c);
        if constexpr (!kWeighted) {
          store(scratch.half + at,
                select(scratch.own + at, t.half_dissimilarity(T(1))));
        }
        auto put = [&](int map, V v) {
          if constexpr (kWeighted) v *= load<V>(scratch.weight + at);
          store(out + j * kMapColumn + map * kBatch * kLanes<T>,
                select(scratch.inside + at, v));
        };
        const Derivatives<V> g = derivatives(m[i], t, T(1));
        put(0, g.ss);
        put(1, g.dd);
        if constexpr (kBoth) {
          put(2, g.s);
          put(3, g.d);
        } else {
          put(2, g.s + g.d);
        }
      }
    });
  }

  // Stage 2.
  void gradient_rows(int64_t pixel_row) {
    vertical<T, kMaps, false>(scratch.maps, shape.length, scratch.between);
    extend<T, kMaps>(scratch.between, shape.length, channels);
    const RingRows<T, kImages> images(scratch.images);
    const int64_t length = shape.length;
    for (int row = 0; row < kBatch && pixel_row + row < work.rows.end; ++row) {
      for_columns(length, channels, [&](int64_t column) {
        V ss[kOutputs], dd[kOutputs], p[kOutputs], q[kOutputs];
        horizontal<T, kMaps, kOutputs>(scratch.between, column, channels, 0, row, ss);
        horizontal<T, kMaps, kOutputs>(scratch.between, column, channels, 1, row, dd);
        horizontal<T, kMaps, kOutputs>(scratch.between, column, channels, 2, row, p);
        if constexpr (kBoth) {
          horizontal<T, kMaps, kOutputs>(scratch.between, column, channels, 3, row, q);
        }
        for (int i = 0; i < kOutputs; ++i) {
          const int64_t j = column + i * channels;
          // The pixel is 10 to the right in the input's rows, maybe some lanes on.
          int64_t pixel = j + 2 * kRadius * channels, lane = 0;
          for (; pixel >= length; pixel -= length) ++lane;
          const V s = load<V>(images.at(pixel, 0, row) + lane);
          const V d = load<V>(images.at(pixel, 1, row) + lane);
          if constexpr (kBoth) {
            const V in_s = p[i] + s * ss[i], in_d = q[i] + d * dd[i];
            store(scratch.grad1 + j * kLanes<T>, factor * (in_s + in_d));
            store(scratch.grad2 + j * kLanes<T>, factor * (in_s - in_d));
          } else {
            store(scratch.grad1 + j * kLanes<T>,
                  factor * (p[i] + s * ss[i] + d * dd[i]));
          }
        }
      });
      put_row(pixel_row + row, scratch.grad1, work.grad1);
      if constexpr (kBoth) put_row(pixel_row + row, scratch.grad2, work.grad2);
    }
  }

  void put_row(int64_t row, const T* folded, void* out) {
    unfold(folded, kLanes<T>, shape.length, scratch.d);
    store_gradient(work, row, scratch.d, out_n, out);
  }
};

template <typename E>
void gradient(const Work& work) {
  if (work.grad2) {
    Gradient<E, true>{work}.run();
  } else {
    Gradient<E, false>{work}.run();
  }
}

template <typename E>
size_t value_scratch(int64_t elements, int64_t channels) {
  using T = Compute<E>;
  return ValueScratch<T>(Shape<T>(elements, channels), nullptr).bytes;
}

template <typename E>
size_t gradient_scratch(int64_t elements, int64_t channels) {
  using T = Compute<E>;
  return GradientScratch<T, 4>(Shape<T>(elements, channels), nullptr).bytes;
}

}  // namespace
}  // namespace JFS_ISA

// In the order of DType.
#define JFS_EVERY_TYPE(f) \
  {JFS_ISA::f<Float16>, JFS_ISA::f<BFloat16>, JFS_ISA::f<float>, JFS_ISA::f<double>}

const Kernels JFS_KERNELS = {
    JFS_ISA_NAME,
    JFS_EVERY_TYPE(value),
    JFS_EVERY_TYPE(gradient),
    JFS_EVERY_TYPE(value_scratch),
    JFS_EVERY_TYPE(gradient_scratch),
};

#undef JFS_EVERY_TYPE

}  // namespace jax_fused_ssim::cpu
