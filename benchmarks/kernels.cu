// Times the CUDA kernels by themselves: no JAX, no allocation, launches from a CUDA
// graph. For tuning, and for profilers and compute-sanitizer, which want a small
// program. `python -m benchmarks` is what compares libraries.
//
//     make kernels    # builds .venv/kernels, for the GPU of this machine
//     .venv/kernels [--once] [--repeat N] [--window N] [--no-room] [WORD ...]
//
// Runs the cases whose names have every WORD among theirs, and prints a JSON object for
// each: milliseconds a launch, median and quartiles, after a rest and on images that
// rotate through more memory than the cache holds. --once launches each case once and
// times nothing. --window gives the kernels a uniform window of so many pixels, 11 at
// most, in place of the one that they have compiled in. --no-room leaves gradients of
// volumes without memory for derivatives. JAX_FUSED_SSIM_CUDA_KERNEL
// chooses the kernel, as everywhere.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/derivatives.h"
#include "common/loss.h"
#include "cuda/ssim.h"

namespace jax_fused_ssim {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// The small ones are for compute-sanitizer: rows that can be copied by the vector and
// rows that cannot, and channels in more than one part.
struct Size {
  const char* name;
  int64_t images, channels, height, width;
  int64_t depth = 0;  // of volumes
};

constexpr Size kSizes[] = {
    {"1x3x256x256", 1, 3, 256, 256},
    {"2x3x256x256", 2, 3, 256, 256},
    {"64x3x256x256", 64, 3, 256, 256},
    {"3x1x400x400", 3, 1, 400, 400},
    {"1x3x360x640", 1, 3, 360, 640},
    {"1x3x512x512", 1, 3, 512, 512},
    {"25x1x135x240", 25, 1, 135, 240},
    {"5x1x1000x1000", 5, 1, 1000, 1000},
    {"1x3x1080x1920", 1, 3, 1080, 1920},
    {"5x5x1080x1920", 5, 5, 1080, 1920},
    {"8x3x2160x3840", 8, 3, 2160, 3840},
    {"5x5x1079x1919", 5, 5, 1079, 1919},
    {"25x1x1080x1920", 25, 1, 1080, 1920},
    {"13x2x1080x1920", 13, 2, 1080, 1920},
    {"8x3x1080x1920", 8, 3, 1080, 1920},
    {"6x4x1080x1920", 6, 4, 1080, 1920},
    {"2x12x1080x1920", 2, 12, 1080, 1920},
    {"2x3x61x83", 2, 3, 61, 83},
    {"2x3x61x84", 2, 3, 61, 84},
    {"2x3x62x84", 2, 3, 62, 84},
    {"2x12x61x84", 2, 12, 61, 84},
    {"1x1x128x256x256", 1, 1, 256, 256, 128},
    {"2x1x64x512x512", 2, 1, 512, 512, 64},
    {"4x3x16x128x128", 4, 3, 128, 128, 16},
    {"2x3x23x45x61", 2, 3, 45, 61, 23},
};

// What the pixels of a loss are weighed with: one [height, width] for all, or one for
// their windows and one for their errors; or one, and windows do not see those that
// have no weight, which here all have.
enum class Weights { kNone, kOne, kOneForEach, kLeavesOut };

struct Kind {
  const char* name;
  bool loss, errors, map, weight;
  int gradients;
  bool bytes = false;  // the second image
  Weights weights = Weights::kNone;
  bool halves = false;   // both images at half their size as well
  bool factors = false;  // two maps
};

constexpr Kind kKinds[] = {
    {"value", true, false, false, false, 0},
    {"value_and_grad", true, false, false, false, 1},
    {"value_and_grad_both", true, false, false, false, 2},
    {"value_and_grad_halved", true, false, false, false, 1, false, Weights::kNone,
     true},
    {"loss", true, true, false, false, 0},
    {"loss_and_grad", true, true, false, false, 1},
    {"loss_and_grad_both", true, true, false, false, 2},
    {"loss_uint8", true, true, false, false, 0, true},
    {"loss_and_grad_uint8", true, true, false, false, 1, true},
    {"weighted_loss", true, true, false, false, 0, false, Weights::kOne},
    {"weighted_loss_and_grad", true, true, false, false, 1, false, Weights::kOne},
    {"weighted_loss_and_grad_uint8", true, true, false, false, 1, true, Weights::kOne},
    {"inside_loss_and_grad", true, true, false, false, 1, false, Weights::kOneForEach},
    {"inside_loss_and_grad_uint8", true, true, false, false, 1, true,
     Weights::kOneForEach},
    {"normalized_loss_and_grad", true, true, false, false, 1, false,
     Weights::kLeavesOut},
    {"normalized_loss_and_grad_uint8", true, true, false, false, 1, true,
     Weights::kLeavesOut},
    {"map", false, false, true, false, 0},
    {"factor_maps", false, false, true, false, 0, false, Weights::kNone, false, true},
    {"map_vjp", false, false, false, true, 1},
    {"map_vjp_both", false, false, false, true, 2},
};

struct Type {
  const char* name;
  DType dtype;
  size_t bytes, gradient_bytes;
};

constexpr Type kTypes[] = {{"float32", DType::kF32, 4, 4},
                           {"bfloat16", DType::kBF16, 2, 2},
                           {"float16", DType::kF16, 2, 4},
                           {"float64", DType::kF64, 8, 8}};

__device__ float noise(uint64_t i) {
  i = (i + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  i = (i ^ (i >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((i ^ (i >> 31)) >> 40) * 0x1p-24f;
}

template <typename T>
__global__ void fill(T* to, int64_t count, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += step) {
    to[i] = static_cast<T>(noise(i) + seed * (noise(i + (seed << 40)) - 0.5f) * 0.2f);
  }
}

__global__ void fill_bytes(uint8_t* to, int64_t count, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += step) {
    to[i] = static_cast<uint8_t>(256 * noise(i + (seed << 40)));
  }
}

void fill(const Type& type, void* to, int64_t count, uint64_t seed) {
  switch (type.dtype) {
    case DType::kF16:
      return fill<<<1024, 256>>>(static_cast<__half*>(to), count, seed);
    case DType::kBF16:
      return fill<<<1024, 256>>>(static_cast<__nv_bfloat16*>(to), count, seed);
    case DType::kF32:
      return fill<<<1024, 256>>>(static_cast<float*>(to), count, seed);
    case DType::kF64:
      return fill<<<1024, 256>>>(static_cast<double*>(to), count, seed);
  }
}

// Device memory, a stretch of `each` bytes for every set of images.
struct Memory {
  char* data = nullptr;
  size_t each;

  Memory(size_t each, int sets) : each((each + 255) / 256 * 256) {
    if (each) check(cudaMalloc(&data, this->each * sets), "cudaMalloc");
  }
  ~Memory() { cudaFree(data); }
  void* of(int set) const { return data ? data + each * set : nullptr; }
};

struct Options {
  bool once = false;
  bool no_room = false;
  int repeat = 15;
  std::vector<double> taps;  // of a given window

  // What a case's name has for it.
  std::string window() const {
    return taps.empty() ? "" : " window " + std::to_string(taps.size());
  }
  std::vector<std::string> words;

  bool take(const std::string& name) const {
    return std::all_of(words.begin(), words.end(), [&](const std::string& word) {
      return (" " + name + " ").find(" " + word + " ") != std::string::npos;
    });
  }
};

// Before a case: a GPU that comes from work has used up more of the power that it may
// take for a while, and is slower.
constexpr std::chrono::milliseconds kRest{100};

// Milliseconds of each repetition, for one launch.
std::vector<double> time(cudaStream_t stream, int launches, int repeat,
                         const std::function<void(int)>& launch) {
  cudaGraph_t graph;
  cudaGraphExec_t run;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
  for (int i = 0; i < launches; ++i) launch(i);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&run, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  std::this_thread::sleep_for(kRest);
  for (int i = 0; i <= repeat; ++i) {
    check(cudaEventRecord(begin, stream), "record");
    check(cudaGraphLaunch(run, stream), "launch");
    check(cudaEventRecord(end, stream), "record");
    check(cudaEventSynchronize(end), "run");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "time");
    if (i > 0) times.push_back(ms / launches);  // the first one warms up
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(run);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times;
}

// Whether there is such a case among those asked for.
bool run(const Options& options, cudaStream_t stream, const Size& size,
         const Kind& kind, const Type& type, bool channels_last, bool same) {
  const std::string name = std::string(size.name) + " " + kind.name + " " + type.name +
                           (channels_last ? " NHWC" : " NCHW") +
                           (same ? " same" : " valid") + options.window();
  if (!options.take(name)) return false;
  const bool is_half = type.dtype == DType::kF16 || type.dtype == DType::kBF16;
  if ((!options.taps.empty() || size.depth) && is_half) return false;
  if ((kind.errors || kind.halves || kind.factors) && size.depth) return false;
  if (kind.halves && (type.dtype != DType::kF32 || channels_last ||
                      size.height % 2 != 0 || size.width % 4 != 0)) {
    return false;
  }

  Call call;
  call.dtype = type.dtype;
  call.channels = channels_last ? size.channels : 1;
  call.weight_channels = call.channels;
  call.images = channels_last ? size.images : size.images * size.channels;
  call.parameters.volumes = size.depth > 0;
  call.depth = std::max<int64_t>(size.depth, 1);
  call.height = size.height;
  call.width = size.width;
  if (!options.taps.empty()) {
    call.taps = options.taps.data();
    call.window_size = static_cast<int>(options.taps.size());
  }
  call.parameters.channels_last = channels_last;
  call.parameters.pad_y = call.parameters.pad_x = same;
  call.parameters.pad_z = same && call.parameters.volumes;
  call.leading.rank = 1;
  call.leading.size[0] = call.images;
  for (auto& stride : call.leading.stride) stride[0] = 1;
  const int64_t pixels = call.images * call.image_size();
  const int64_t map_pixels = call.images * call.map_size();
  call.parameters.scale = 1.0 / map_pixels;
  call.parameters.error_scale = 1.0 / pixels;
  if (kind.loss) call.results = 1;
  if (kind.bytes) call.pixels[kImg2] = Pixels::kU8;
  if (kind.errors) {
    call.parameters.ssim_weight = 0.2;
    call.parameters.l1_weight = 0.8;
  }

  const size_t call_bytes = type.dtype == DType::kF64 ? 8 : 4;
  constexpr size_t kRotated = 400u << 20;
  const int sets =
      options.once ? 1
                   : 1 + std::min<int64_t>(63, kRotated / (3 * pixels * type.bytes));
  const Memory img1(pixels * type.bytes, sets), img2(pixels * type.bytes, sets);
  const Memory map(kind.map ? map_pixels * type.bytes : 0, sets);
  const Memory luminance(kind.factors ? map_pixels * type.bytes : 0, sets);
  const Memory weight(kind.weight ? map_pixels * type.bytes : 0, sets);
  const Memory grad1(kind.gradients > 0 ? pixels * type.gradient_bytes : 0, sets);
  const Memory grad2(kind.gradients > 1 ? pixels * type.gradient_bytes : 0, sets);
  const size_t half_bytes = kind.halves ? pixels / 4 * type.bytes : 0;
  const Memory half1(half_bytes, sets), half2(half_bytes, sets);
  const Memory loss(kind.loss ? sizeof(double) : 0, 1);
  const Memory terms(kind.errors ? kTerms * sizeof(double) : 0, 1);
  const int64_t plane_pixels = int64_t{size.height} * size.width;
  const bool has_weights = kind.weights != Weights::kNone;
  const bool has_two = kind.weights == Weights::kOneForEach;
  const bool leaves_out = kind.weights == Weights::kLeavesOut;
  const Memory weights(has_weights ? plane_pixels * call_bytes : 0, 1);
  const Memory more(has_two || leaves_out ? plane_pixels * call_bytes : 0, 1);
  const Memory scales(has_weights ? kWeightScales * call_bytes : 0, 1);
  if (size.depth && kind.gradients && !options.no_room) {
    call.scratch_words += derivative_words(size.depth, size.height, size.width,
                                           call_bytes, kind.gradients);
  }
  const Memory scratch(call.planes() * call.scratch_words * 4, 1);
  for (int set = 0; set < sets; ++set) {
    fill(type, img1.of(set), pixels, 0);
    if (kind.bytes) {
      auto* const bytes = static_cast<uint8_t*>(img2.of(set));
      fill_bytes<<<1024, 256>>>(bytes, pixels, 1 + set);
    } else {
      fill(type, img2.of(set), pixels, 1 + set);
    }
    if (kind.weight) fill(type, weight.of(set), map_pixels, 99 + set);
  }
  if (has_weights) {
    const Type& own = type.dtype == DType::kF64 ? kTypes[3] : kTypes[0];
    fill(own, weights.of(0), plane_pixels, 0);
    if (more.data) fill(own, more.of(0), plane_pixels, 1);
    fill(own, scales.of(0), kWeightScales, 0);
    call.weight_channels = 1;
    for (const Operand k : {kWeight, kErrorWeight, kScales, kMeanScale})
      call.leading.stride[k][0] = 0;
  }
  check(cudaDeviceSynchronize(), "fill");

  const auto launch = [&](int i) {
    const int set = i % sets;
    call.operand[kImg1] = img1.of(set);
    call.operand[kImg2] = img2.of(set);
    call.operand[kWeight] = has_two       ? more.of(0)
                            : has_weights ? weights.of(0)
                                          : weight.of(set);
    call.operand[kErrorWeight] = weights.of(0);
    call.operand[kScales] = scales.of(0);
    call.operand[kMeanScale] = leaves_out ? more.of(0) : nullptr;
    call.loss = loss.of(0);
    call.terms = terms.of(0);
    call.map = map.of(set);
    call.luminance = luminance.of(set);
    call.grad1 = grad1.of(set);
    call.grad2 = grad2.of(set);
    call.half[kImg1] = half1.of(set);
    call.half[kImg2] = half2.of(set);
    call.scratch = scratch.of(0);
    check(cuda::run(stream, call), name.c_str());
  };
  if (options.once) {
    launch(0);
    check(cudaStreamSynchronize(stream), name.c_str());
    std::printf("%s\n", name.c_str());
    return true;
  }
  const int launches =
      static_cast<int>(std::clamp<int64_t>(300'000'000 / pixels, 2, 64));
  const std::vector<double> ms = time(stream, launches, options.repeat, launch);
  std::printf(
      "{\"case\": \"%s\", \"ms\": %.5f, \"q1\": %.5f, \"q3\": %.5f, "
      "\"gigapixels_per_s\": %.2f}\n",
      name.c_str(), ms[ms.size() / 2], ms[ms.size() / 4], ms[ms.size() * 3 / 4],
      pixels / ms[ms.size() / 2] * 1e-6);
  std::fflush(stdout);
  return true;
}

}  // namespace
}  // namespace jax_fused_ssim

int main(int count, char** arguments) {
  using namespace jax_fused_ssim;
  Options options;
  for (int i = 1; i < count; ++i) {
    if (!std::strcmp(arguments[i], "--once")) {
      options.once = true;
    } else if (!std::strcmp(arguments[i], "--no-room")) {
      options.no_room = true;
    } else if (!std::strcmp(arguments[i], "--repeat") && i + 1 < count) {
      options.repeat = std::max(1, std::atoi(arguments[++i]));
    } else if (!std::strcmp(arguments[i], "--window") && i + 1 < count) {
      const int size = std::clamp(std::atoi(arguments[++i]), 2, kWindow);
      options.taps.assign(size, 1.0 / size);
    } else {
      options.words.push_back(arguments[i]);
    }
  }
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  bool any = false;
  for (const Size& size : kSizes)
    for (const Type& type : kTypes)
      for (const bool channels_last : {false, true})
        for (const bool same : {true, false})
          for (const Kind& kind : kKinds)
            any |= run(options, stream, size, kind, type, channels_last, same);
  check(cudaDeviceSynchronize(), "end");
  if (!any) std::fprintf(stderr, "no case has all of these words\n");
  return any ? 0 : 1;
}
