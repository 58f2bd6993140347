// Tables of the tile kernels' speed, as Markdown, for each instruction set that this machine runs and each width of
// weights. Decode: one row, weights that no cache holds, beside a loop that only reads them. Prefill: a few rows, weights
// from memory and from the second-level cache, beside a loop of independent dot products. What is compared runs in turn;
// numbers are medians. docs/kernels.md has the commands and what they gave.
#include <cstring>
#include <random>

#include "compiler/codegen/pack.h"
#include "test/bench/hand_kernels.h"
#include "test/bench/measure.h"

using namespace emoe;
using namespace emoe::bench;

namespace {

constexpr const char *kUsage =
    R"(usage: tile_bench [--decode] [--prefill] [--generic] [--hand] [--targets A,B] [--widths 8,4,3,2,ternary]
                  [--rows 2,4,8,16] [--threads 1,2] [--mib N] [--runs N] [--save-temps DIR]
--decode, --prefill  which tables; both if neither is given
--generic, --hand    also the generic lowering, and hand-written kernels (for x86-64-v3 and x86-64-v4-vnni)
--mib                size of the weights that no cache holds, of each width: 256
--runs               measurements of which the median is taken: 9
)";
constexpr int64_t kColumns = bench::kHandColumns;
constexpr int64_t kCachedBytes = 384 << 10;  // of a second-level cache of 512 KiB and more

struct Width {
  std::string name;
  unsigned bits, group;
  Codebook codebook;
  bench::HandWidth hand;
};
const Width kWidths[] = {{"8", 8, 32, Codebook::Integer, bench::HandWidth::Bits8},
                         {"4", 4, 32, Codebook::Integer, bench::HandWidth::Bits4},
                         {"3", 3, 128, Codebook::Centred, bench::HandWidth::Bits3},
                         {"2", 2, 128, Codebook::Centred, bench::HandWidth::Bits2},
                         {"ternary", 2, 128, Codebook::Ternary, bench::HandWidth::Ternary}};

struct Options {
  bool decode = false, prefill = false, generic = false, hand = false;
  std::vector<std::string> targets, widths;
  std::vector<int> rows = {2, 4, 8, 16}, threads = {1, 2};
  uint64_t bytes = 256u << 20;
  int runs = 9;
  std::string saveTemps;
};

Options parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    auto value = [&] {
      if (i + 1 == argc) {
        fail(name + " needs a value");
      }
      return argv[++i];
    };
    if (name == "--decode") {
      options.decode = true;
    } else if (name == "--prefill") {
      options.prefill = true;
    } else if (name == "--generic") {
      options.generic = true;
    } else if (name == "--hand") {
      options.hand = true;
    } else if (name == "--targets") {
      options.targets = absl::StrSplit(value(), ',');
    } else if (name == "--widths") {
      options.widths = absl::StrSplit(value(), ',');
    } else if (name == "--rows") {
      options.rows = numbers(value());
    } else if (name == "--threads") {
      options.threads = numbers(value());
    } else if (name == "--mib") {
      options.bytes = static_cast<uint64_t>(numbers(value())[0]) << 20;
    } else if (name == "--runs") {
      options.runs = numbers(value())[0];
    } else if (name == "--save-temps") {
      options.saveTemps = value();
    } else {
      std::fputs(kUsage, stderr);
      std::exit(name == "--help" ? 0 : 1);
    }
  }
  if (!options.decode && !options.prefill) {
    options.decode = options.prefill = true;
  }
  return options;
}

// Packed weights of one width, repeated until no cache holds them.
struct Weights {
  const Width *width;
  LayoutAttr layout;
  uint8_t *bytes;
  int64_t panels, panelSize, cachedPanels;
};

Weights makeWeights(mlir::MLIRContext &context, const Width &width, uint64_t bytes) {
  Weights made;
  made.width = &width;
  made.layout = LayoutAttr::get(&context, width.bits, FloatType::F16, width.group, ZeroPoint::Symmetric, width.codebook, 16);
  made.panelSize = static_cast<int64_t>(panelBytes(made.layout, kColumns));
  made.panels = static_cast<int64_t>(bytes) / made.panelSize;
  made.cachedPanels = std::max<int64_t>(2, kCachedBytes / made.panelSize / 2 * 2);
  made.bytes = bigMemory(bytes + (1 << 20));
  std::mt19937 random(7);
  constexpr int64_t kDifferent = 8;
  std::vector<uint8_t> codes(16 * kColumns);
  std::vector<float> scales(16 * scalesPerRow(made.layout, kColumns));
  const int levels = gridOf(made.layout).levels;
  for (int64_t panel = 0; panel < made.panels; ++panel) {
    uint8_t *out = made.bytes + panel * made.panelSize;
    if (panel >= kDifferent) {
      std::memcpy(out, out - kDifferent * made.panelSize, made.panelSize);
      continue;
    }
    for (uint8_t &code : codes) {
      code = static_cast<uint8_t>(random() % levels);
    }
    for (float &scale : scales) {
      scale = 0.001f * static_cast<float>(random() % 100 + 1);
    }
    if (absl::Status status = packCodes(made.layout, codes.data(), scales.data(), 16, kColumns, out); !status.ok()) {
      fail(status.ToString());
    }
  }
  return made;
}

std::vector<uint8_t> makeRows(int64_t count) {
  const int64_t rowBytes = static_cast<int64_t>(q8RowBytes(kColumns));
  std::vector<uint8_t> rows(count * rowBytes + 64);
  std::mt19937 random(11);
  for (int64_t r = 0; r < count; ++r) {
    uint8_t *row = &rows[r * rowBytes];
    for (int64_t g = 0; g < kColumns / 32; ++g) {
      int32_t sum = 0;
      for (int64_t c = 32 * g; c < 32 * g + 32; ++c) {
        const int q = static_cast<int>(random() % 255) - 127;
        row[c] = static_cast<uint8_t>(q), sum += q;
      }
      const float scale = 0.01f * static_cast<float>(random() % 100 + 1);
      std::memcpy(row + kColumns + 4 * g, &scale, 4);
      std::memcpy(row + kColumns + kColumns / 8 + 4 * g, &sum, 4);
    }
  }
  return rows;
}

using Call = std::function<void(int64_t firstPanel, int64_t lastPanel, const uint8_t *rows, int64_t tokens, float *out)>;
struct Kernel {
  const Target *target;
  const Weights *weights;
  const char *lowering;
  Call call;
};

Call generated(const Weights &weights, const Target &target, bool generic, const Options &options,
               mlir::MLIRContext &context) {
  KernelSpec spec;
  spec.family = KernelFamily::Linear;
  spec.layout = weights.layout, spec.k = kColumns, spec.n = 16 * weights.panels, spec.quantizedActivations = true;
  ImageOptions imageOptions;
  imageOptions.genericTiles = generic;
  if (!options.saveTemps.empty()) {
    imageOptions.saveTemps = options.saveTemps + "/" + weights.width->name + (generic ? "-generic" : "");
  }
  emoe_kernel_fn kernel = loadKernel(spec, target, context, imageOptions);
  return [kernel, &weights](int64_t first, int64_t last, const uint8_t *rows, int64_t tokens, float *out) {
    emoe_kernel_args args = {};
    args.operand[0] = const_cast<uint8_t *>(rows), args.operand[1] = weights.bytes, args.operand[2] = out;
    args.tokens = tokens;
    kernel(&args, first, last);
  };
}

Call handWritten(const Weights &weights, bench::HandKernel kernel) {
  return [&weights, kernel](int64_t first, int64_t last, const uint8_t *rows, int64_t tokens, float *out) {
    kernel({weights.bytes, first, last, rows, tokens, out,
            static_cast<int64_t>(f32RowBytes(16 * weights.panels) / 4)});
  };
}

// All kernels of a width must give the same bits.
void compare(const Kernel &kernel, const Kernel &reference, const std::vector<uint8_t> &rows) {
  constexpr int64_t kTokens = 15, kPanels = 4;
  const int64_t stride = static_cast<int64_t>(f32RowBytes(16 * kernel.weights->panels) / 4);
  std::vector<float> got(kTokens * stride), want(kTokens * stride);
  kernel.call(0, kPanels, rows.data(), kTokens, got.data());
  reference.call(0, kPanels, rows.data(), kTokens, want.data());
  for (int64_t t = 0; t < kTokens; ++t) {
    if (std::memcmp(&got[t * stride], &want[t * stride], 4 * 16 * kPanels) != 0) {
      fail("the " + std::string(kernel.lowering) + " kernel of " + kernel.weights->width->name + " bits for " +
           kernel.target->name + " computes something else than the " + reference.lowering + " one for " +
           reference.target->name);
    }
  }
}

class Bench {
public:
  Bench(const Options &options, std::vector<Kernel> kernels)
      : options(options), kernels(std::move(kernels)), rows(makeRows(kMostRows)) {
    int64_t widest = 0;
    for (const Kernel &kernel : this->kernels) {
      widest = std::max(widest, kernel.weights->panels);
    }
    out.resize(kMostRows * f32RowBytes(16 * widest) / 4);
  }

  void decode() {
    Table table;
    table.caption = "Decode: GB/s of packed weights, one row of " + std::to_string(kColumns) +
                    " columns, and their share of what a loop reads that only adds.";
    table.columns = "| target | weights | lowering |";
    Table::Row probe{"- | - | reading loop", {}, {}};
    for (int threads : options.threads) {
      table.columns += " " + std::to_string(threads) + (threads == 1 ? " thread |" : " threads |");
      probe.cells.push_back([this, threads] {
        const uint64_t pages = kernels[0].weights->panels * kernels[0].weights->panelSize >> 12;
        const double seconds = together(threads, [&](int index) {
          auto [first, last] = share(static_cast<int64_t>(pages), index, threads);
          sink += readAll(kernels[0].weights->bytes + (first << 12), (last - first) << 12);
        });
        return static_cast<double>(pages << 12) / seconds / 1e9;
      });
    }
    table.rows.push_back(probe);
    for (const Kernel &kernel : kernels) {
      Table::Row row{head(kernel), {}, {}};
      for (int threads : options.threads) {
        row.cells.push_back([this, &kernel, threads] {
          const double bytes = static_cast<double>(kernel.weights->panels * kernel.weights->panelSize);
          return bytes / seconds(kernel, kernel.weights->panels, 1, 1, threads) / 1e9;
        });
      }
      table.rows.push_back(row);
    }
    table.text = [](double value, double best) { return percentOf("%.1f (%.0f %%)", value, best); };
    table.measure(options.runs);
    table.print();
  }

  void prefill(const Target &target, int threads, const bench::DotPeak &peak) {
    Table table;
    table.caption = "Prefill on " + std::string(target.name) + ", " + std::to_string(threads) +
                    (threads == 1 ? " thread" : " threads") +
                    ": GOP/s (two for each weight and row), and their share of independent dot products.";
    table.columns = "| weights | lowering |";
    Table::Row best{"- | dot products", {}, {}};
    auto addColumns = [&](const char *place) {
      for (int count : options.rows) {
        table.columns += " " + std::string(place) + ", " + std::to_string(count) + " rows |";
        best.cells.push_back([threads, peak] {
          constexpr int64_t kRounds = 200000;
          const double seconds = together(threads, [&](int) { peak.run(kRounds); });
          return static_cast<double>(threads * kRounds * peak.operations) / seconds / 1e9;
        });
      }
    };
    addColumns("memory");
    addColumns("cache");
    table.rows.push_back(best);
    for (const Kernel &kernel : kernels) {
      if (kernel.target != &target) {
        continue;
      }
      Table::Row row{kernel.weights->width->name + " | " + kernel.lowering, {}, {}};
      for (bool cached : {false, true}) {
        for (int count : options.rows) {
          row.cells.push_back([this, &kernel, threads, count, cached] {
            const Weights &weights = *kernel.weights;
            // Enough for some milliseconds; every thread has a cache of its own.
            const int64_t panels = cached ? weights.cachedPanels * threads : weights.panels / 4;
            const int64_t passes = cached ? std::max<int64_t>(1, 4096 / weights.cachedPanels) : 1;
            const double operations = 2.0 * 16 * kColumns * static_cast<double>(panels * passes * count);
            return operations / seconds(kernel, panels, count, passes, threads) / 1e9;
          });
        }
      }
      table.rows.push_back(row);
    }
    table.text = [](double value, double best) { return percentOf("%.0f (%.0f %%)", value, best); };
    if (table.rows.size() > 1) {
      table.measure(options.runs);
      table.print();
    }
  }

private:
  static constexpr int64_t kMostRows = 128;

  static std::string head(const Kernel &kernel) {
    return kernel.target->name + " | " + kernel.weights->width->name + " | " + kernel.lowering;
  }
  double seconds(const Kernel &kernel, int64_t panels, int64_t tokens, int64_t passes, int threads) {
    return together(threads, [&](int index) {
      auto [first, last] = share(panels, index, threads);
      for (int64_t pass = 0; pass < passes; ++pass) {
        kernel.call(first, last, rows.data(), tokens, out.data());
      }
    });
  }

  const Options &options;
  std::vector<Kernel> kernels;
  std::vector<uint8_t> rows;
  std::vector<float> out;
  std::atomic<uint64_t> sink{0};
};

// What there is to compare a target's kernels with; null members where nothing is written.
bench::HandKernel handKernel([[maybe_unused]] const Target &target, [[maybe_unused]] bench::HandWidth width) {
#if defined(__x86_64__)
  if (target.cpuFeatures & EMOE_CPU_AVX2) {
    return target.cpuFeatures & EMOE_CPU_AVX512_VNNI ? bench::handAvx512(width) : bench::handAvx2(width);
  }
#endif
  return nullptr;
}
bench::DotPeak handPeak([[maybe_unused]] const Target &target) {
#if defined(__x86_64__)
  if (target.cpuFeatures & EMOE_CPU_AVX2) {
    return target.cpuFeatures & EMOE_CPU_AVX512_VNNI ? bench::peakAvx512() : bench::peakAvx2();
  }
#endif
  return {nullptr, 0};
}

bool wanted(const std::vector<std::string> &names, const std::string &name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

} // namespace

int main(int argc, char **argv) {
  const Options options = parse(argc, argv);
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<EmoeDialect>();
  std::vector<Weights> weights;
  weights.reserve(std::size(kWidths));
  for (const Width &width : kWidths) {
    if (wanted(options.widths, width.name)) {
      weights.push_back(makeWeights(context, width, options.bytes));
    }
  }
  std::vector<Kernel> kernels;
  std::vector<const Target *> targets;
  const std::vector<uint8_t> rows = makeRows(15);
  for (const Target *running : runningTargets()) {
    const Target &target = *running;
    if (!wanted(options.targets, target.name)) {
      continue;
    }
    targets.push_back(&target);
    for (const Weights &each : weights) {
      const size_t first = kernels.size();
      kernels.push_back({&target, &each, "fast", generated(each, target, false, options, context)});
      if (options.generic) {
        kernels.push_back({&target, &each, "generic", generated(each, target, true, options, context)});
      }
      if (bench::HandKernel kernel = options.hand ? handKernel(target, each.width->hand) : nullptr) {
        kernels.push_back({&target, &each, "hand-written", handWritten(each, kernel)});
      }
      for (size_t i = first + 1; i < kernels.size(); ++i) {
        compare(kernels[i], kernels[first], rows);
      }
    }
  }
  if (kernels.empty()) {
    fail("no kernel is left to measure; see --help");
  }
  Bench bench(options, kernels);
  if (options.decode) {
    bench.decode();
  }
  for (const Target *target : targets) {
    for (int threads : options.threads) {
      if (options.prefill && handPeak(*target).run) {
        bench.prefill(*target, threads, handPeak(*target));
      }
    }
  }
  return 0;
}
