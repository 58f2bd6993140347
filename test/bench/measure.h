// What the measurements share: threads that work at once, memory, the loop that only reads, tables of medians.
#ifndef EMOE_TEST_BENCH_MEASURE_H_
#define EMOE_TEST_BENCH_MEASURE_H_

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "compiler/codegen/image.h"
#include "mlir/IR/MLIRContext.h"
#include "runtime/image/image.h"
#include "schema/kernel_abi.h"

namespace emoe::bench {

[[noreturn]] inline void fail(const std::string &what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

inline std::vector<int> numbers(const char *text) {
  std::vector<int> list;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    int value = 0;
    if (!absl::SimpleAtoi(part, &value) || value < 1) {
      fail(std::string("not a list of positive numbers: ") + text);
    }
    list.push_back(value);
  }
  return list;
}

// Seconds that body(0) .. body(threads - 1) take on as many threads at once: the most CPU time of a thread, which is the
// time that passes where nothing else runs.
inline double together(int threads, const std::function<void(int)> &body) {
  std::atomic<int> present{0};
  std::vector<double> seconds(threads);
  auto work = [&](int index) {
    auto now = [] {
      timespec time;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
      return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    };
    present.fetch_add(1);
    while (present.load() != threads) {
      std::this_thread::yield();
    }
    const double start = now();
    body(index);
    seconds[index] = now() - start;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back(work, i);
  }
  work(0);
  for (std::thread &thread : others) {
    thread.join();
  }
  return *std::max_element(seconds.begin(), seconds.end());
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline uint8_t *bigMemory(uint64_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fail("no memory for " + std::to_string(bytes >> 20) + " MiB");
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  return static_cast<uint8_t *>(memory);
}

// Sums whole lines with many independent chains and prefetches as the kernels do, so that loads alone are measured.
inline uint64_t readAll(const uint8_t *bytes, uint64_t count) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  Line sums[4] = {};
  const Line *lines = reinterpret_cast<const Line *>(bytes);
  for (uint64_t i = 0; i + 4 <= count / sizeof(Line); i += 4) {
    for (uint64_t j = 0; j < 4; ++j) {
      __builtin_prefetch(lines + i + j + 96);
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

// Rows of measurements that are taken in turn, `runs` times after a first that touches pages and wakes the CPU.
struct Table {
  struct Row {
    std::string head;
    std::vector<std::function<double()>> cells;
    std::vector<std::vector<double>> rates;
  };
  std::string caption, columns;  // Markdown: "| target | ... |"
  std::vector<Row> rows;
  // How a cell is written, from the medians of its row and of the first row, which is what others are compared with.
  std::function<std::string(double value, double best)> text;

  void measure(int runs) {
    for (int run = -1; run < runs; ++run) {
      for (Row &row : rows) {
        row.rates.resize(row.cells.size());
        for (size_t i = 0; i < row.cells.size(); ++i) {
          const double rate = row.cells[i]();
          if (run >= 0) {
            row.rates[i].push_back(rate);
          }
        }
      }
    }
  }
  void print() const {
    std::string rule = columns;
    for (char &c : rule) {
      c = c == '|' ? '|' : '-';
    }
    std::printf("\n%s\n\n%s\n%s\n", caption.c_str(), columns.c_str(), rule.c_str());
    for (const Row &row : rows) {
      std::printf("| %s |", row.head.c_str());
      for (size_t i = 0; i < row.cells.size(); ++i) {
        std::printf(" %s |", text(median(row.rates[i]), median(rows[0].rates[i])).c_str());
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }
};

inline std::string percentOf(const char *format, double value, double best) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value, 100 * value / best);
  return text;
}

// The part of `count` that belongs to member `index` of `size`.
inline std::pair<int64_t, int64_t> share(int64_t count, int64_t index, int64_t size) {
  return {count * index / size, count * (index + 1) / size};
}

// The kernel of one specification, in memory until the program ends.
inline emoe_kernel_fn loadKernel(const KernelSpec &spec, const Target &target, mlir::MLIRContext &context,
                                 const ImageOptions &options) {
  absl::StatusOr<KernelImage> image = compileImage({spec}, target, context, options);
  if (!image.ok()) {
    fail(image.status().ToString());
  }
  auto *kept = new KernelImage(*std::move(image));
  rt::Image entry = {};
  entry.entries = {kept->entries.data(), kept->entries.size()};
  entry.bytes = kept->elf.size(), entry.machine = target.machine, entry.features = target.cpuFeatures;
  rt::LoadedImage loaded;
  if (rt::Status status = rt::LoadImage(kept->elf.data(), kept->elf.size(), entry, &loaded); !status.ok()) {
    fail("the image for " + target.name + " does not load: " + status.what);
  }
  return loaded.kernel(0);
}

// The targets whose kernels this CPU can run, and the twin of AVX-VNNI's if it can run that only.
inline std::vector<const Target *> runningTargets() {
  std::vector<const Target *> targets;
  for (const Target &target : allTargets()) {
    if (target.machine == rt::CpuMachine() && (target.cpuFeatures & ~rt::CpuFeatures()) == 0) {
      targets.push_back(&target);
    }
  }
  if ((rt::CpuFeatures() & EMOE_CPU_AVX512_VNNI) && !(rt::CpuFeatures() & EMOE_CPU_AVX_VNNI)) {
    targets.push_back(&avxVnniTwin());
  }
  return targets;
}

} // namespace emoe::bench

#endif // EMOE_TEST_BENCH_MEASURE_H_
