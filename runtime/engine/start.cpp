// Starting and ending a session.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "runtime/engine/session.h"
#include "runtime/bundle/check.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/bundle/predictors.h"
#include "runtime/memory/usage.h"

namespace emoe::rt {
namespace {

// Large pages, where the system has them, for memory that is read from end to end: fewer addresses to look up. What the
// plan does not count in full must not have them.
void AskForLargePages(void *memory, uint64_t bytes) {
#ifdef MADV_HUGEPAGE
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

Status NoRoom(const char *what) { return Error(StatusCode::kInternal, what); }

// Reads part of a section into `out`, and all of it once for its checksum.
Status ReadPart(Provider &provider, const Section &section, uint64_t offset, uint64_t bytes, char *out) {
  char piece[16 * 1024];
  uint32_t crc = 0;
  for (uint64_t at = 0; at < section.length;) {
    uint64_t left = section.length - at;
    uint64_t size = left < sizeof(piece) ? left : sizeof(piece);
    RT_RETURN_IF_ERROR(provider.Read(section.offset + at, piece, size));
    crc = Crc32c(piece, size, crc);
    uint64_t from = at > offset ? at : offset;
    uint64_t to = at + size < offset + bytes ? at + size : offset + bytes;
    if (from < to) memcpy(out + (from - offset), piece + (from - at), to - from);
    at += size;
  }
  if (crc != section.crc) {
    return Error(StatusCode::kBadBundle, "the kernels are damaged: checksum", crc, section.crc);
  }
  return OkStatus();
}

}  // namespace

Status Session::Create(const Bundle &bundle, Provider &provider, const SessionOptions &options, Session **out) {
  SessionOptions own = options;
  uint32_t image = 0;
  if (own.kernels == nullptr) {
    RT_RETURN_IF_ERROR(ChooseImage(bundle, own.isa, &image));
    own.memory.image_bytes = bundle.images[image].bytes;
  }
  if (own.memory.process_bytes == 0) {
    uint64_t process = AnonymousBytes();
    own.memory.process_bytes = process > bundle.bytes_held ? process - bundle.bytes_held : 0;
  }
  MemoryPlan plan;
  RT_RETURN_IF_ERROR(PlanMemory(bundle, own.memory, &plan));

  // The image comes first: its bytes on the way are given back before the arena is touched.
  Session loader;
  loader.bundle_ = &bundle;
  loader.plan_ = plan;
  if (own.kernels == nullptr) RT_RETURN_IF_ERROR(loader.LoadKernels(provider, own, image));

  Arena arena;
  Status status = arena.Map(plan.arena());
  if (!status.ok()) {
    if (own.kernels == nullptr) UnloadImage(&loader.image_);
    return status;
  }
  auto *session = new (arena.Take(sizeof(Session), alignof(Session))) Session;
  arena.MoveTo(&session->arena_);
  session->bundle_ = &bundle;
  session->plan_ = plan;
  session->image_ = loader.image_;
  session->isa_ = loader.isa_;
  status = session->Start(provider, own);
  if (!status.ok()) {
    Destroy(session);
    return status;
  }
  *out = session;
  return OkStatus();
}

Status Session::LoadKernels(Provider &provider, const SessionOptions &, uint32_t index) {
  const Image &image = bundle_->images[index];
  void *elf = mmap(nullptr, image.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (elf == MAP_FAILED) {
    return Error(StatusCode::kBudget, "the system refuses to map the memory (bytes)", image.bytes);
  }
  Status status = ReadPart(provider, bundle_->kernels, image.offset, image.bytes, static_cast<char *>(elf));
  if (status.ok()) status = LoadImage(elf, image.bytes, image, &image_);
  munmap(elf, image.bytes);
  if (status.ok() && image_.bytes > plan_.image) {
    uint64_t bytes = image_.bytes;
    UnloadImage(&image_);
    return Error(StatusCode::kBadBundle, "the kernel image takes more memory than its file says: bytes", bytes);
  }
  isa_ = image.isa;
  return status;
}

// Buffers of one slot share its memory.
Status Session::PlaceBuffers() {
  size_t count = bundle_->buffers.size;
  buffers_ = arena_.TakeArray<char *>(count);
  char **slots = arena_.TakeArray<char *>(count);
  if (buffers_ == nullptr || slots == nullptr) return NoRoom("the arena has no room for the buffers' table");
  for (size_t slot = 0; slot < count; ++slot) {
    uint64_t bytes = 0;
    ArenaSlotBytes(*bundle_, static_cast<uint32_t>(slot), plan_, &bytes);
    slots[slot] = static_cast<char *>(arena_.Take(bytes, 64));
    if (slots[slot] == nullptr) return NoRoom("the arena has no room for the activations");
  }
  for (size_t i = 0; i < count; ++i) buffers_[i] = slots[bundle_->buffers[i].slot];
  size_t layers = bundle_->kv_layers.size;
  keys_ = arena_.TakeArray<char *>(layers);
  values_ = arena_.TakeArray<char *>(layers);
  if (keys_ == nullptr || values_ == nullptr) return NoRoom("the arena has no room for the cache's table");
  for (size_t i = 0; i < layers; ++i) {
    const KvLayer &layer = bundle_->kv_layers[i];
    uint64_t bytes = uint64_t{layer.kv_heads} * layer.head_dim * plan_.capacity * bundle_->kv_bits / 8;
    keys_[i] = static_cast<char *>(arena_.Take(bytes, 64));
    values_[i] = static_cast<char *>(arena_.Take(bytes, 64));
    if (keys_[i] == nullptr || values_[i] == nullptr) return NoRoom("the arena has no room for keys and values");
    if (i + 1 == layers) AskForLargePages(keys_[0], static_cast<uint64_t>(values_[i] + bytes - keys_[0]));
  }
  states_ = arena_.TakeArray<char *>(bundle_->states.size);
  if (states_ == nullptr) return NoRoom("the arena has no room for the states' table");
  for (size_t i = 0; i < bundle_->states.size; ++i) {
    states_[i] = static_cast<char *>(arena_.Take(bundle_->states[i], 64));
    if (states_[i] == nullptr) return NoRoom("the arena has no room for the recurrent states");
  }
  ClearStates();
  return OkStatus();
}

Status Session::StartPredictor(Provider &provider, const SessionOptions &options) {
  const Section &section = bundle_->tables;
  void *tables = arena_.Take(section.length, 64);
  size_t count = bundle_->moe_layers.size;
  auto *layers = arena_.TakeArray<LayerPredictor>(count);
  uint32_t most = 0;
  for (const MoeLayer &layer : bundle_->moe_layers) {
    uint32_t ranked = RankedExperts(layer.experts, layer.top_k);
    if (ranked > most) most = ranked;
  }
  ranked_ = arena_.TakeArray<int32_t>(most);
  if (tables == nullptr || layers == nullptr || ranked_ == nullptr) {
    return NoRoom("the arena has no room for the predictor's tables");
  }
  if (section.present) RT_RETURN_IF_ERROR(ReadSection(provider, section, tables));
  RT_RETURN_IF_ERROR(ReadPredictors(*bundle_, tables, layers));
  Span<LayerPredictor> span{layers, count};
  void *memory = arena_.Take(Predictor::BytesNeeded(span), 8);
  if (memory == nullptr) return NoRoom("the arena has no room for the predictor");
  predictor_.Init(span, memory);
  predicting_ = plan_.slots < plan_.records || options.predictor != nullptr;
  if (options.predictor == nullptr) return OkStatus();
  PredictorKind kind;
  if (!ParsePredictor(options.predictor, strlen(options.predictor), &kind)) {
    return Error(StatusCode::kUsage,
                 "there is no such predictor: use none, static, previous-token, table or look-ahead");
  }
  predictor_.Force(kind);
  return OkStatus();
}

Status Session::Start(Provider &provider, const SessionOptions &options) {
  stop_ = options.stop;
  trace_ = options.trace;
  trace_user_ = options.trace_user;
  route_ = options.route;
  route_user_ = options.route_user;
  watch_step_ = options.watch_step;
  watch_user_ = options.watch_user;
  clock_ = options.clock;
  look_ahead_ = options.look_ahead;
  look_ahead_user_ = options.look_ahead_user;
  tap_ = options.tap;
  tap_user_ = options.tap_user;
  CacheParameters cache;
  if (!ChooseCache(*bundle_, plan_.mean_slots(), options.policy, &cache)) {
    return Error(StatusCode::kUsage, "there is no such cache policy: use lfu, lru, edgemoe, least-stale or next-use");
  }

  if (options.kernels != nullptr) {
    kernels_ = options.kernels;
  } else {
    size_t count = bundle_->kernel_table.size;
    auto *table = arena_.TakeArray<emoe_kernel_fn>(count);
    if (table == nullptr) return NoRoom("the arena has no room for the kernels' table");
    for (size_t i = 0; i < count; ++i) table[i] = image_.kernel(static_cast<uint32_t>(i));
    kernels_ = table;
  }

  // Pages that reads and the budget's arithmetic count in whole pages come first.
  auto *slots = static_cast<char *>(arena_.Take(plan_.slots * plan_.slot_bytes, kPageBytes));
  auto *panels = static_cast<char *>(arena_.Take(plan_.panels, kPageBytes));
  Section resident = bundle_->resident;
  if (plan_.panels != 0) {
    resident.length = BytesBeforePaged(*bundle_);
    resident.crc = bundle_->panel_crcs[0];
    panels_.Init(*bundle_, PlanPanels(*bundle_, plan_.chunk), panels, &runner_);
  }
  resident_ = static_cast<char *>(arena_.Take(resident.length, kPageBytes));
  if (slots == nullptr || panels == nullptr || resident_ == nullptr) {
    return NoRoom("the arena has no room for the weights");
  }
  AskForLargePages(resident_, resident.length);
  if (plan_.expert_bytes == plan_.slots * plan_.slot_bytes) AskForLargePages(slots, plan_.expert_bytes);
  RT_RETURN_IF_ERROR(ReadSection(provider, resident, resident_));
  if (options.memory.tokenizer && bundle_->tokenizer.present) {
    tokenizer_ = arena_.Take(bundle_->tokenizer.length, 64);
    if (tokenizer_ == nullptr) return NoRoom("the arena has no room for the tokenizer");
    RT_RETURN_IF_ERROR(ReadSection(provider, bundle_->tokenizer, tokenizer_));
  }
  RT_RETURN_IF_ERROR(PlaceBuffers());
  RT_RETURN_IF_ERROR(StartPredictor(provider, options));
  uint64_t counts = 0;
  for (const MoeLayer &layer : bundle_->moe_layers) {
    counts += 2 * uint64_t{layer.experts};
    counts_ |= layer.capacity != 0;
  }
  taken_ = arena_.TakeArray<uint32_t>(counts);
  if (taken_ == nullptr) return NoRoom("the arena has no room for the experts' counts");
  taken_count_ = counts;
  has_source_ = bundle_->HasSource();
  Reset();
  sampler_memory_ = arena_.Take(uint64_t{bundle_->model.vocab} * 8, 8);
  if (sampler_memory_ == nullptr) return NoRoom("the arena has no room for the sampler");

  RT_RETURN_IF_ERROR(pool_.Start(plan_.threads, &arena_));
  ReaderOptions reader;
  reader.io = options.io;
  reader.direct = options.direct;
  reader.timeout_ms = options.io_timeout_ms;
  reader.calls = options.calls;
  reader.probe_offset = bundle_->resident.offset / kPageBytes * kPageBytes;
  if (options.reader != nullptr) {
    reader_ = options.reader;
  } else {
    RT_RETURN_IF_ERROR(MakeReader(provider, reader, &arena_, &reader_));
  }
  if (options.device.bytes_per_second != 0) {
    RT_RETURN_IF_ERROR(MakeDeviceReader(reader_, options.device, *options.clock, &arena_, &reader_));
  }
  ExpertOptions experts;
  experts.chunk = plan_.chunk;
  experts.source = plan_.source;
  experts.slot_count = static_cast<uint32_t>(plan_.slots);
  experts.slot_bytes = plan_.slot_bytes;
  experts.expert_bytes = plan_.expert_bytes;
  experts.slots = slots;
  experts.cache = cache;
  experts.loading = options.loading;
  experts.prefetch = options.prefetch;
  experts.prefetch_bytes = options.prefetch_bytes;
  experts.clock = options.clock;
  experts.watch = options.watch;
  experts.watch_user = options.watch_user;
  return runner_.Init(*bundle_, kernels_, experts, &predictor_, reader_, &pool_, &arena_);
}

void Session::Destroy(Session *session) {
  if (session == nullptr) return;
  session->runner_.Stop();
  session->pool_.Stop();
  if (session->reader_ != nullptr) session->reader_->Close();
  if (session->image_.base != nullptr) UnloadImage(&session->image_);
  Arena arena;
  session->arena_.MoveTo(&arena);
  arena.Unmap();
}

}  // namespace emoe::rt
