// Decode bandwidth of the tile kernels: one token, one thread, a weight matrix that no cache holds, beside a loop that only
// reads it. Usage: tile_bench [MiB, default 256]. Prints GB/s of packed weights, the best and the median of the runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "compiler/codegen/image.h"
#include "compiler/codegen/pack.h"
#include "mlir/IR/MLIRContext.h"
#include "runtime/image/image.h"
#include "schema/kernel_abi.h"

using namespace emoe;

namespace {

constexpr int kRuns = 9;
constexpr int64_t kColumns = 2048;

template <typename Body> void report(const char *name, const char *what, uint64_t bytes, Body &&body) {
  std::vector<double> rates;
  for (int i = 0; i <= kRuns; ++i) {
    auto start = std::chrono::steady_clock::now();
    body();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) {  // the first run touches the pages
      rates.push_back(static_cast<double>(bytes) / seconds / 1e9);
    }
  }
  std::sort(rates.begin(), rates.end());
  std::printf("%-16s %-8s best %6.2f  median %6.2f GB/s\n", name, what, rates.back(), rates[rates.size() / 2]);
}

// Sums whole lines with many independent chains, so that the loads alone are measured.
uint64_t readAll(const uint8_t *bytes, uint64_t count) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  Line sums[4] = {};
  const Line *lines = reinterpret_cast<const Line *>(bytes);
  for (uint64_t i = 0; i + 4 <= count / sizeof(Line); i += 4) {
    for (int j = 0; j < 4; ++j) {
      sums[j] += lines[i + j];
    }
  }
  uint64_t total = 0;
  for (const Line &sum : sums) {
    for (int j = 0; j < 8; ++j) {
      total += sum[j];
    }
  }
  return total;
}

} // namespace

int main(int argc, char **argv) {
  const uint64_t wanted = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 256) << 20;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<EmoeDialect>();
  auto *memory = static_cast<uint8_t *>(
      mmap(nullptr, 2 * wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "tile_bench: no memory for %llu MiB\n", static_cast<unsigned long long>(wanted >> 19));
    return 1;
  }
  madvise(memory, 2 * wanted, MADV_HUGEPAGE);
  std::memset(memory, 0, 2 * wanted);
  volatile uint64_t sink = 0;
  report("read", "loop", wanted, [&] { sink = sink + readAll(memory, wanted); });
  for (const Target &target : allTargets()) {
    if (target.machine != rt::CpuMachine() || (target.cpuFeatures & ~rt::CpuFeatures())) {
      continue;
    }
    struct Kind {
      const char *name;
      unsigned bits, group;
      Codebook codebook;
    };
    for (Kind kind : {Kind{"4 bit", 4, 32, Codebook::Integer}, {"8 bit", 8, 32, Codebook::Integer},
                      {"3 bit", 3, 128, Codebook::Centred}, {"2 bit", 2, 128, Codebook::Centred},
                      {"ternary", 2, 128, Codebook::Ternary}}) {
      KernelSpec spec;
      spec.family = KernelFamily::Linear;
      spec.layout = LayoutAttr::get(&context, kind.bits, FloatType::F16, kind.group, ZeroPoint::Symmetric, kind.codebook, 16);
      spec.k = kColumns, spec.quantizedActivations = true;
      const int64_t panels = static_cast<int64_t>(wanted / panelBytes(spec.layout, kColumns));
      spec.n = 16 * panels;
      absl::StatusOr<KernelImage> image = compileImage({spec}, target, context, {});
      if (!image.ok()) {
        std::fprintf(stderr, "tile_bench: %s\n", image.status().ToString().c_str());
        return 1;
      }
      rt::Image entry = {};
      entry.entries = {image->entries.data(), image->entries.size()};
      entry.bytes = image->elf.size(), entry.machine = target.machine, entry.features = target.cpuFeatures;
      rt::LoadedImage loaded;
      if (rt::Status status = rt::LoadImage(image->elf.data(), image->elf.size(), entry, &loaded); !status.ok()) {
        std::fprintf(stderr, "tile_bench: the image for %s does not load: %s\n", target.name.c_str(), status.what);
        return 1;
      }
      auto *x = static_cast<uint8_t *>(std::aligned_alloc(64, q8RowBytes(kColumns)));
      auto *y = static_cast<uint8_t *>(std::aligned_alloc(64, f32RowBytes(spec.n)));
      std::memset(x, 0, q8RowBytes(kColumns));
      emoe_kernel_args args = {};
      args.operand[0] = x, args.operand[1] = memory, args.operand[2] = y, args.tokens = 1;
      report(target.name.c_str(), kind.name, panels * panelBytes(spec.layout, kColumns),
             [&] { loaded.kernel(0)(&args, 0, panels); });
      std::free(x);
      std::free(y);
      rt::UnloadImage(&loaded);
    }
  }
  return 0;
}
