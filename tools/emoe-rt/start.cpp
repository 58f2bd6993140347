#include "tools/emoe-rt/start.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/image/image.h"
#include "runtime/memory/usage.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/sandbox.h"

namespace emoe::rt {
namespace {

void OnInterrupt(int) {
  if (interrupted.exchange(true)) _exit(130);
}

// Reads to the end; what is read grows by halves, so it is touched as it is needed.
bool ReadDescriptor(int fd, char **text, size_t *bytes) {
  size_t capacity = 4096, used = 0;
  char *at = static_cast<char *>(malloc(capacity));
  while (at != nullptr) {
    ssize_t got = read(fd, at + used, capacity - used);
    if (got < 0 && errno == EINTR && !interrupted) continue;
    if (got < 0) break;
    if (got == 0) {
      *text = at;
      *bytes = used;
      return true;
    }
    used += static_cast<size_t>(got);
    if (used == capacity) {
      capacity += capacity / 2;
      char *larger = static_cast<char *>(realloc(at, capacity));
      if (larger == nullptr) break;
      at = larger;
    }
  }
  free(at);
  return false;
}

// Over the text that holds them: `ids` has room for bytes / 2 + 1.
bool ParseIds(const char *text, size_t bytes, int32_t *ids, size_t *count) {
  *count = 0;
  for (size_t at = 0; at < bytes;) {
    if (strchr(" \t\r\n,[]", text[at]) != nullptr && text[at] != 0) {
      ++at;
      continue;
    }
    int64_t value = 0;
    size_t start = at;
    while (at < bytes && text[at] >= '0' && text[at] <= '9' && value <= 0x7fffffff) value = value * 10 + (text[at++] - '0');
    if (at == start || value > 0x7fffffff) return false;
    ids[(*count)++] = static_cast<int32_t>(value);
  }
  return true;
}

}  // namespace

std::atomic<bool> interrupted{false};

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
}

Work::~Work() {
  Session::Destroy(session);
  CloseBundle(&bundle);
}

int Work::Failed(const Status &status) const {
  if (interrupted) return 130;
  return Fail(status, options.bundle, session);
}

int Work::Open() {
  Status status = provider.Open(options.bundle);
  if (!status.ok()) return Failed(status);
  status = OpenBundle(provider, &bundle);
  return status.ok() ? 0 : Failed(status);
}

uint32_t DefaultThreads() {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return count < 1 ? 1 : count > 64 ? 64 : static_cast<uint32_t>(count);
}

MemoryOptions Work::Memory(uint32_t context, bool all_logits, bool tokenizer) const {
  MemoryOptions memory;
  memory.budget = options.budget;
  memory.context = options.context != 0 ? options.context : context;
  memory.chunk = options.chunk;
  memory.source = static_cast<uint32_t>(source_count);
  memory.threads = options.threads != 0 ? options.threads : DefaultThreads();
  memory.all_logits = all_logits;
  memory.tokenizer = tokenizer;
  return memory;
}

int Work::ReadSequences(const int32_t **ids, size_t *count) {
  const bool has_source = bundle.has_model && bundle.HasSource();
  if (has_source && options.decoder_tokens == nullptr) {
    return Fail(2, "%s: the model has an encoder: --tokens FILE is its input, and --decoder-tokens FILE what the decoder "
                   "begins with", options.bundle);
  }
  if (!has_source && options.decoder_tokens != nullptr) {
    return Fail(2, "%s: the model has no encoder: leave --decoder-tokens out", options.bundle);
  }
  // Ids are looked at here, too: what a verb writes cannot be taken away again once it is in the sandbox.
  auto read = [&](const char *path) -> int {
    if (int code = ReadTokens(path, ids, count)) return code;
    for (size_t i = 0; bundle.has_model && i < *count; ++i) {
      const int32_t id = (*ids)[i];
      if (id < 0 || static_cast<uint32_t>(id) >= bundle.model.vocab) {
        return Fail(2, "%s: token %d is not in the vocabulary of %u", path, id, bundle.model.vocab);
      }
    }
    return 0;
  };
  if (int code = read(options.tokens)) return code;
  if (!has_source) return 0;
  source = *ids;
  source_count = *count;
  return read(options.decoder_tokens);
}

int Work::Check(uint32_t context, bool all_logits, bool tokenizer) {
  if (!bundle.has_model) {
    return Fail(6, "%s: it holds a tokenizer only; compile the model with emoec compile", options.bundle);
  }
  if (tokenizer && !bundle.tokenizer.present) {
    return Fail(6, "%s: it holds no tokenizer; compile the model with --tokenizer tokenizer.json", options.bundle);
  }
  uint32_t image = 0;
  Status status = ChooseImage(bundle, options.isa, &image);
  if (!status.ok()) return Failed(status);
  MemoryOptions memory = Memory(context, all_logits, tokenizer);
  memory.image_bytes = bundle.images[image].bytes;
  MemoryPlan plan;
  status = PlanMemory(bundle, memory, &plan);
  return status.ok() ? 0 : Failed(status);
}

int Work::MakeSession(uint32_t context, bool all_logits, bool tokenizer, SessionOptions *base) {
  if (int code = Check(context, all_logits, tokenizer)) return code;
  SessionOptions o = base != nullptr ? *base : SessionOptions();
  o.memory = Memory(context, all_logits, tokenizer);
  o.io = options.io;
  o.direct = options.direct;
  o.io_timeout_ms = options.io_timeout * 1000;
  o.isa = options.isa;
  o.policy = options.policy;
  o.predictor = options.predictor;
  o.prefetch = !options.no_prefetch;
  o.prefetch_bytes = options.prefetch_bytes;
  o.device = options.device;
  o.loading = options.loading;
  o.stop = &interrupted;
  uint64_t all = 0, largest = 0;
  for (const MoeLayer &layer : bundle.moe_layers) {
    for (const Record &record : layer.records) {
      uint64_t bytes = layer.variants[record.variant].record_bytes;
      all += bytes;
      if (bytes > largest) largest = bytes;
    }
  }
  o.memory.expert_bytes = options.slots * largest;
  if (options.slots_share > 0) {
    o.memory.expert_bytes = static_cast<uint64_t>(static_cast<double>(all) * static_cast<double>(options.slots_share) / 100);
  }
  if (options.budget == 0 && !options.budget_max) {
    // All experts in memory, unless that is most of what the machine has left.
    MemoryPlan plan;
    Status status = PlanMemory(bundle, o.memory, &plan);
    if (!status.ok()) return Failed(status);
    uint64_t available = AvailableBytes() / 4 * 3;
    if (available != 0 && (plan.recommended > available || plan.total > available)) {
      o.memory.budget = available > plan.floor + plan.floor / 8 ? available : plan.floor + plan.floor / 8;
    }
  }
#if defined(EMOE_SANITIZED)
  constexpr bool kSandbox = false;  // the sanitizers' own work at the end needs more
#else
  constexpr bool kSandbox = true;
#endif
  if (kSandbox && options.sandbox) RestrictFiles(options.bundle);
  Status status = Session::Create(bundle, provider, o, &session);
  if (!status.ok()) return Failed(status);
  if (kSandbox && options.sandbox) RestrictCalls();
  return 0;
}

bool ReadWhole(const char *path, char **text, size_t *bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool read = ReadDescriptor(fd, text, bytes);
  int error = errno;
  close(fd);
  errno = error;
  return read;
}

bool ReadStandardInput(char **text, size_t *bytes) { return ReadDescriptor(STDIN_FILENO, text, bytes); }

int ReadTokens(const char *path, const int32_t **ids, size_t *count) {
  char *text = nullptr;
  size_t bytes = 0;
  if (!ReadWhole(path, &text, &bytes)) {
    return Fail(4, "%s: cannot read the tokens: %s; check the path", path, strerror(errno));
  }
  auto *numbers = static_cast<int32_t *>(malloc((bytes / 2 + 1) * sizeof(int32_t)));
  if (numbers == nullptr) return Fail(5, "no memory for the token ids");
  if (!ParseIds(text, bytes, numbers, count) || *count == 0 || *count > kLongestContext) {
    return Fail(2, "%s: it must hold 1 to %u token ids, plain numbers between spaces", path, kLongestContext);
  }
  free(text);
  *ids = numbers;
  return 0;
}

double PerSecond(uint64_t tokens, uint64_t nanoseconds) {
  return nanoseconds == 0 ? 0 : static_cast<double>(tokens) * 1e9 / static_cast<double>(nanoseconds);
}

}  // namespace emoe::rt
