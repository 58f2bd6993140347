// Attention of one token, as Markdown: microseconds a layer by context, beside the projections and experts that a layer of
// the same model reads. The caches of several layers lie in memory, so none is cached. The shape is OLMoE-1B-7B's.
// Usage: attention_bench [--targets A,B] [--threads 1,2] [--contexts 512,4096] [--runs N]
#include <cstring>
#include <random>

#include "compiler/codegen/pack.h"
#include "test/bench/measure.h"

using namespace emoe;
using namespace emoe::bench;

namespace {

constexpr int64_t kHeads = 16, kHeadDim = 128, kLayers = 8;
// Projections 2048 x 2048 (q, k, v, o) and 8 experts of three 2048 x 1024 matrices, 4.5 bits a weight.
constexpr double kLayerBytes = (4.0 * 2048 * 2048 + 8 * 3.0 * 2048 * 1024) * 4.5 / 8;

} // namespace

int main(int argc, char **argv) {
  std::vector<std::string> targets;
  std::vector<int> threads = {1, 2}, contexts = {512, 4096};
  int times = 9;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--targets") {
      targets = absl::StrSplit(argv[i + 1], ',');
    } else if (name == "--threads") {
      threads = numbers(argv[i + 1]);
    } else if (name == "--contexts") {
      contexts = numbers(argv[i + 1]);
    } else if (name == "--runs") {
      times = numbers(argv[i + 1])[0];
    } else {
      fail("unknown option " + name);
    }
  }
  int64_t capacity = 16;
  for (int context : contexts) {
    capacity = std::max<int64_t>(capacity, (context + 15) / 16 * 16);
  }
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<EmoeDialect>();
  const uint64_t cacheBytes = 4 * kHeads * kHeadDim * capacity;
  uint8_t *caches = bigMemory(2 * kLayers * cacheBytes);
  std::mt19937 random(3);
  for (uint64_t i = 0; i < 2 * kLayers * cacheBytes; i += 4) {
    const float value = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    std::memcpy(caches + i, &value, 4);
  }
  alignas(64) static float query[kHeads * kHeadDim], out[kHeads * kHeadDim];
  for (float &value : query) {
    value = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
  }
  std::atomic<uint64_t> sink{0};
  Table table;
  table.caption = "Attention of one token: microseconds a layer.";
  table.columns = "| target | positions |";
  for (int count : threads) {
    table.columns += " " + std::to_string(count) + (count == 1 ? " thread |" : " threads |");
  }
  // Seconds of a layer; the reading loop's are those of the layer's weights.
  Table::Row reading{"weights of a layer, only read | -", {}, {}};
  for (int count : threads) {
    reading.cells.push_back([&, count] {
      return together(count, [&](int index) {
        auto [first, last] = share(static_cast<int64_t>(kLayerBytes) >> 12, index, count);
        sink += readAll(caches + (first << 12), (last - first) << 12);
      });
    });
  }
  table.rows.push_back(reading);
  for (const Target *running : runningTargets()) {
    const Target &target = *running;
    if (!targets.empty() && std::find(targets.begin(), targets.end(), target.name) == targets.end()) {
      continue;
    }
    KernelSpec spec;
    spec.family = KernelFamily::Attention;
    spec.heads = spec.kvHeads = kHeads, spec.headDim = kHeadDim, spec.scale = 0.08838834764831845f;
    emoe_kernel_fn kernel = loadKernel(spec, target, context, {});
    for (int positions : contexts) {
      Table::Row row{target.name + " | " + std::to_string(positions), {}, {}};
      for (int count : threads) {
        row.cells.push_back([&, kernel, positions, count] {
          return together(count, [&](int index) {
                   auto [first, last] = share(kHeads, index, count);
                   for (int64_t layer = 0; layer < kLayers; ++layer) {
                     emoe_kernel_args args = {};
                     args.operand[0] = query, args.operand[1] = caches + 2 * layer * cacheBytes;
                     args.operand[2] = caches + (2 * layer + 1) * cacheBytes, args.operand[3] = out;
                     args.tokens = 1, args.position = positions - 1, args.capacity = capacity;
                     kernel(&args, first, last);
                   }
                 }) /
                 kLayers;
        });
      }
      table.rows.push_back(row);
    }
  }
  table.measure(times);
  table.text = [](double seconds, double) {
    char text[64];
    std::snprintf(text, sizeof(text), "%.0f us", 1e6 * seconds);
    return std::string(text);
  };
  table.print();
  return 0;
}
