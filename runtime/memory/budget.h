// Where the memory budget goes: pure arithmetic over the bundle's numbers, checked against overflow.
//
// The budget is the whole process's anonymous memory. Everything but the expert slots has a size that follows from the
// bundle and the options; the slots get what remains.
#ifndef EMOE_RUNTIME_MEMORY_BUDGET_H_
#define EMOE_RUNTIME_MEMORY_BUDGET_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// What is set aside for libc, the program's data and the main thread's stack.
constexpr uint64_t kProcessBytes = 512 * 1024;
constexpr uint64_t kPageBytes = 4096;
// Slots below which an expert layer does not run: one is computed while the other is read.
constexpr uint64_t kFewestSlots = 2;
constexpr uint32_t kLongestContext = 1u << 20;
constexpr uint32_t kLargestChunk = 1u << 16;
constexpr uint32_t kMostThreads = 256;

// Stacks of the pool's threads and of the reader's: sanitizers need larger frames, and the C library refuses less than
// 128 KiB on aarch64.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EMOE_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define EMOE_SANITIZED
#endif
#endif
#if defined(EMOE_SANITIZED)
constexpr uint64_t kStackBytes = 1024 * 1024;
#elif defined(__aarch64__)
constexpr uint64_t kStackBytes = 192 * 1024;
#else
constexpr uint64_t kStackBytes = 64 * 1024;
#endif
constexpr uint32_t kReaderThreads = 2;

// Chunks that nobody asked for grow up to so many rows as long as all records stay in memory and the plan by a sixteenth at
// most: weights are read once for more rows (docs/kernels.md).
constexpr uint32_t kLongChunk = 256;

struct MemoryOptions {
  uint64_t budget = 0;    // bytes; 0: as much as is useful (all records resident)
  uint32_t context = 0;   // positions of the KV cache; 0: the bundle's default
  uint32_t chunk = 0;     // rows computed together; 0: the bundle's default, or more where that costs little
  uint32_t source = 0;    // tokens of the encoder's input at most, where there is an encoder; 0: the context
  uint32_t threads = 1;
  uint64_t expert_bytes = 0;   // for records at most, but kFewestSlots; 0: what the budget has room for
  uint64_t image_bytes = 0;    // of the chosen kernel image; 0: the bundle's largest
  uint64_t process_bytes = 0;  // anonymous memory of the process before the session, without the index
  bool all_logits = false;     // logits of every row of a chunk, not of its last one only
  bool tokenizer = false;      // the tokenizer's tables are loaded too
  bool page = true;            // paged tensors need not be in memory where not all records can be
};

// All in bytes unless said otherwise. `total` = everything below but floor and recommended.
struct MemoryPlan {
  uint64_t process = 0, index = 0, image = 0, resident = 0, tokenizer = 0, kv = 0, states = 0, activations = 0;
  uint64_t panels = 0;        // for panels of paged tensors; 0: they are resident
  uint64_t bookkeeping = 0, stacks = 0;
  uint64_t slot_bytes = 0;    // address space of one slot: the largest record
  uint64_t slots = 0;         // number of slots: the most records that fit
  uint64_t expert_bytes = 0;  // what the records in slots may take together
  uint64_t records = 0;       // number of records in the bundle; an encoder's, which never stay, do not count
  uint64_t record_bytes = 0;  // of all of them
  uint64_t total = 0;
  uint64_t floor = 0;        // smallest budget that works
  uint64_t recommended = 0;  // budget that keeps every record in memory
  uint64_t capacity = 0;     // positions of the KV cache: the context rounded up to EMOE_KV_BLOCK
  uint32_t context = 0, chunk = 0, logits_rows = 0, threads = 0;
  uint32_t source = 0;       // tokens of the encoder's input at most

  // How many records of mean size fit: what the bundle's plan counts in.
  uint64_t mean_slots() const { return record_bytes == 0 ? 0 : records * expert_bytes / record_bytes; }

  // What the session maps in one piece: all but process, index and image. Slots whose record is smaller than the largest
  // do not touch all of theirs.
  uint64_t arena() const {
    return resident + panels + tokenizer + kv + states + activations + bookkeeping + stacks + slots * slot_bytes;
  }
};

// kBudget with detail = the floor if the budget is below it; kUsage for options out of range, kBadBundle if the sizes
// overflow. On kBudget, `plan` is filled in with slots = 0.
Status PlanMemory(const Bundle &bundle, const MemoryOptions &options, MemoryPlan *plan);

// The largest chunk that PlanMemory chooses where `asked` is MemoryOptions::chunk.
inline uint32_t MostRows(const Bundle &bundle, uint32_t asked) {
  return asked != 0 ? asked : bundle.plan.chunk > kLongChunk ? bundle.plan.chunk : kLongChunk;
}

// Bytes of an arena slot's buffers: the largest of fixed + per_token * rows, rounded up to 64. Slots are numbered
// below the number of buffers; `rows` of a plan. False on overflow.
bool ArenaSlotBytes(const Bundle &bundle, uint32_t slot, const MemoryPlan &rows, uint64_t *bytes);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_MEMORY_BUDGET_H_
