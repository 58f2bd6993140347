#include "tools/emoe-rt/read_speed.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/io/syscalls.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {
namespace {

constexpr size_t kBytes = size_t{256} << 20;
constexpr int kRounds = 7;

struct Probe {
  const char *memory = nullptr;
  uint32_t threads = 0;
  pthread_barrier_t barrier;
};
struct Part {
  Probe *probe;
  uint32_t index;
  uint64_t sum;
  uint64_t start, end;  // of the last round: nobody else is sure to be awake then
};

// Lines in order, one of four prefetched as the kernels do: on the machines measured, several streams are slower.
uint64_t ReadAll(const char *memory, size_t bytes) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  constexpr size_t kAtOnce = 4, kAhead = 64;
  const size_t lines = bytes / sizeof(Line) / kAtOnce * kAtOnce;
  const auto *at = reinterpret_cast<const Line *>(memory);
  Line sums[kAtOnce] = {};
  for (size_t i = 0; i < lines; i += kAtOnce) {
    __builtin_prefetch(at + i + kAhead, 0, 2);
    for (size_t j = 0; j < kAtOnce; ++j) sums[j] += at[i + j];
  }
  uint64_t total = 0;
  for (const Line &sum : sums) {
    for (int i = 0; i < 8; ++i) total += sum[i];
  }
  return total;
}

void *Read(void *context) {
  auto &part = *static_cast<Part *>(context);
  Probe &probe = *part.probe;
  const size_t bytes = kBytes / probe.threads / 4096 * 4096;
  for (int round = 0; round < kRounds; ++round) {
    pthread_barrier_wait(&probe.barrier);
    part.start = kClock.Now();
    part.sum += ReadAll(probe.memory + part.index * bytes, bytes);
    part.end = kClock.Now();
    pthread_barrier_wait(&probe.barrier);
  }
  return nullptr;
}

double Measure(uint32_t threads) {
  void *memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  madvise(memory, kBytes, MADV_HUGEPAGE);
  memset(memory, 1, kBytes);
  Probe probe;
  probe.memory = static_cast<const char *>(memory);
  probe.threads = threads;
  pthread_barrier_init(&probe.barrier, nullptr, threads + 1);
  Part parts[kMostThreads];
  pthread_t ids[kMostThreads];
  for (uint32_t i = 0; i < threads; ++i) {
    parts[i] = {&probe, i, 0, 0, 0};
    if (pthread_create(&ids[i], nullptr, Read, &parts[i]) != 0) return 0;
  }
  uint64_t least = UINT64_MAX;
  for (int round = 0; round < kRounds; ++round) {
    pthread_barrier_wait(&probe.barrier);
    pthread_barrier_wait(&probe.barrier);
    uint64_t start = UINT64_MAX, end = 0;
    for (uint32_t i = 0; i < threads; ++i) {
      if (parts[i].start < start) start = parts[i].start;
      if (parts[i].end > end) end = parts[i].end;
    }
    if (end - start < least) least = end - start;
  }
  volatile uint64_t sink = 0;
  for (uint32_t i = 0; i < threads; ++i) {
    pthread_join(ids[i], nullptr);
    sink = sink + parts[i].sum;
  }
  return static_cast<double>(kBytes / threads / 4096 * 4096 * threads) * 1e9 / static_cast<double>(least);
}

}  // namespace

double MeasureReadSpeed(uint32_t threads) {
  int ends[2];
  if (threads == 0 || threads > kMostThreads || pipe(ends) != 0) return 0;
  pid_t child = fork();
  if (child == 0) {
    double speed = Measure(threads);
    _exit(write(ends[1], &speed, sizeof(speed)) == sizeof(speed) ? 0 : 1);
  }
  close(ends[1]);
  double speed = 0;
  if (child < 0 || read(ends[0], &speed, sizeof(speed)) != sizeof(speed)) speed = 0;
  close(ends[0]);
  if (child > 0) waitpid(child, nullptr, 0);
  return speed;
}

}  // namespace emoe::rt
