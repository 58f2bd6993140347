#include "runtime/memory/budget.h"

#include <unistd.h>

#include <initializer_list>

#include "runtime/bundle/check.h"
#include "runtime/experts/cache.h"
#include "runtime/memory/panels.h"
#include "schema/kernel_abi.h"

namespace emoe::rt {
namespace {

// Sums and products that remember an overflow instead of wrapping.
class Checked {
 public:
  uint64_t Add(uint64_t a, uint64_t b) {
    uint64_t result = 0;
    overflow_ |= __builtin_add_overflow(a, b, &result);
    return result;
  }
  uint64_t Mul(uint64_t a, uint64_t b) {
    uint64_t result = 0;
    overflow_ |= __builtin_mul_overflow(a, b, &result);
    return result;
  }
  uint64_t RoundUp(uint64_t a, uint64_t unit) { return Add(a, unit - 1) / unit * unit; }
  bool overflow() const { return overflow_; }

 private:
  bool overflow_ = false;
};

struct RecordSizes {
  uint64_t count = 0, sum = 0, smallest = ~uint64_t{0}, largest = 0;
};

RecordSizes SizesOf(const Bundle &bundle, Checked &checked) {
  RecordSizes sizes;
  bool all = true;  // the encoder's too, if it alone has experts
  for (const MoeLayer &layer : bundle.moe_layers) all &= layer.source;
  for (const MoeLayer &layer : bundle.moe_layers) {
    for (const Record &record : layer.records) {
      uint64_t bytes = layer.variants[record.variant].record_bytes;
      if (all || !layer.source) {
        ++sizes.count;
        sizes.sum = checked.Add(sizes.sum, bytes);
      }
      if (bytes < sizes.smallest) sizes.smallest = bytes;
      if (bytes > sizes.largest) sizes.largest = bytes;
    }
  }
  return sizes;
}

// The predictor's tables and state: per layer its entry, ids and two rankings of at most twice top_k.
uint64_t PredictorBytes(const Bundle &bundle, uint64_t most_experts, Checked &checked) {
  uint64_t sum = checked.Add(bundle.tables.length, checked.Mul(most_experts, 16));
  for (const MoeLayer &layer : bundle.moe_layers) sum = checked.Add(sum, 384 + checked.Mul(layer.top_k, 20));
  return sum;
}

// Tables of the expert runner and the cache, the sampler's candidates, and what rounding takes. An upper bound of
// what the session takes from the arena beside the parts that have their own entries.
uint64_t Bookkeeping(const Bundle &bundle, const MemoryPlan &plan, Checked &checked) {
  uint64_t most_experts = 0, most_pairs = 0, counts = 0;
  for (const MoeLayer &layer : bundle.moe_layers) {
    if (layer.experts > most_experts) most_experts = layer.experts;
    uint64_t pairs = checked.Mul(layer.top_k, layer.source ? plan.source : plan.chunk);
    if (pairs > most_pairs) most_pairs = pairs;
    counts = checked.Add(counts, checked.Mul(layer.experts, 8));
  }
  uint64_t sum = checked.Add(64 * 1024, counts);
  sum = checked.Add(sum, ExpertCache::BytesNeeded(bundle.moe_layers, 0));
  sum = checked.Add(sum, checked.Mul(most_experts, 128));
  sum = checked.Add(sum, checked.Mul(most_pairs, 16));
  sum = checked.Add(sum, checked.Mul(bundle.moe_layers.size, 32));
  sum = checked.Add(sum, checked.Mul(bundle.buffers.size, 32));
  sum = checked.Add(sum, checked.Mul(bundle.kv_layers.size, 32));
  sum = checked.Add(sum, checked.Mul(bundle.states.size, 16));
  sum = checked.Add(sum, checked.Mul(bundle.kernel_table.size, 8));
  sum = checked.Add(sum, checked.Mul(bundle.model.vocab, 8));
  sum = checked.Add(sum, PredictorBytes(bundle, most_experts, checked));
  return checked.RoundUp(sum, kPageBytes);
}

constexpr uint64_t kSlotOverhead = 64;  // the cache's tables of one slot

}  // namespace

bool ArenaSlotBytes(const Bundle &bundle, uint32_t slot, const MemoryPlan &plan, uint64_t *bytes) {
  Checked checked;
  uint64_t largest = 0;
  for (const Buffer &buffer : bundle.buffers) {
    if (buffer.slot != slot) continue;
    uint64_t rows = buffer.rows == Rows::kWanted ? plan.logits_rows : buffer.rows == Rows::kSource ? plan.source : plan.chunk;
    uint64_t size = checked.Add(buffer.fixed, checked.Mul(buffer.per_token, rows));
    if (size > largest) largest = size;
  }
  *bytes = checked.RoundUp(largest, 64);
  return !checked.overflow();
}

namespace {

// The plan for chunks of so many rows.
Status PlanChunk(const Bundle &bundle, const MemoryOptions &options, uint32_t chunk, MemoryPlan *plan) {
  MemoryPlan p;
  p.context = options.context != 0 ? options.context : bundle.plan.context;
  p.chunk = chunk;
  p.threads = options.threads;
  if (p.context == 0 || p.context > kLongestContext) {
    return Error(StatusCode::kUsage, "the context must be 1 to 1048576 positions, not", p.context);
  }
  if (bundle.model.positions != 0 && p.context > bundle.model.positions) {
    return Error(StatusCode::kUsage, "the model has embeddings for fewer positions than the text or --ctx asks for: it has, asked for",
                 bundle.model.positions, p.context);
  }
  if (p.chunk == 0 || p.chunk > kLargestChunk) {
    return Error(StatusCode::kUsage, "the prefill chunk must be 1 to 65536 tokens, not", p.chunk);
  }
  if (p.threads == 0 || p.threads > kMostThreads) {
    return Error(StatusCode::kUsage, "the number of threads must be 1 to 256, not", p.threads);
  }
  if (p.chunk > p.context) p.chunk = p.context;
  if (bundle.HasSource()) {
    p.source = options.source != 0 ? options.source : p.context;
    if (p.source > p.context) {
      return Error(StatusCode::kUsage, "the encoder's input does not fit the context: raise --ctx to", p.source, p.context);
    }
  }
  p.logits_rows = options.all_logits ? p.chunk : 1;
  p.capacity = (static_cast<uint64_t>(p.context) + EMOE_KV_BLOCK - 1) / EMOE_KV_BLOCK * EMOE_KV_BLOCK;

  Checked checked;
  p.process = options.process_bytes > kProcessBytes
                  ? checked.RoundUp(checked.Add(options.process_bytes, kProcessBytes / 4), kPageBytes)
                  : kProcessBytes;
  p.index = checked.RoundUp(bundle.bytes_held, kPageBytes);
  uint64_t image = options.image_bytes;
  for (const Image &candidate : bundle.images) {
    if (options.image_bytes == 0 && candidate.bytes > image) image = candidate.bytes;
  }
  // Segments may lie further apart in memory than in the file.
  p.image = image == 0 ? 0 : checked.Add(checked.RoundUp(image, kPageBytes), 64 * 1024);
  p.resident = checked.RoundUp(bundle.resident.length, kPageBytes);
  if (options.tokenizer) p.tokenizer = checked.RoundUp(bundle.tokenizer.length, kPageBytes);
  for (const KvLayer &layer : bundle.kv_layers) {
    uint64_t floats = checked.Mul(checked.Mul(layer.kv_heads, layer.head_dim), p.capacity);
    p.kv = checked.Add(p.kv, checked.RoundUp(checked.Mul(floats, 2 * bundle.kv_bits / 8), kPageBytes));
  }
  for (uint64_t bytes : bundle.states) p.states = checked.Add(p.states, bytes);
  p.states = checked.RoundUp(p.states, kPageBytes);
  for (uint32_t slot = 0; slot < bundle.buffers.size; ++slot) {
    uint64_t bytes = 0;
    if (!ArenaSlotBytes(bundle, slot, p, &bytes)) {
      return Error(StatusCode::kBadBundle, "the activation buffers overflow 64 bits: slot", slot);
    }
    p.activations = checked.Add(p.activations, bytes);
  }
  p.activations = checked.RoundUp(p.activations, kPageBytes);
  p.stacks = (p.threads - 1 + kReaderThreads) * kStackBytes;
  RecordSizes sizes = SizesOf(bundle, checked);
  p.records = sizes.count;
  p.record_bytes = sizes.sum;
  p.slot_bytes = sizes.largest;
  p.bookkeeping = Bookkeeping(bundle, p, checked);

  // Without its paged tensors the resident section may leave more to the experts.
  const uint64_t head = checked.RoundUp(BytesBeforePaged(bundle), kPageBytes);
  const uint64_t panels = checked.RoundUp(PlanPanels(bundle, p.chunk).bytes(), kPageBytes);
  const uint64_t saved = options.page && panels != 0 && head + panels < p.resident ? p.resident - head - panels : 0;

  uint64_t fixed = p.process;
  for (uint64_t part : {p.index, p.image, p.resident, p.tokenizer, p.kv, p.states, p.activations, p.stacks, p.bookkeeping}) {
    fixed = checked.Add(fixed, part);
  }
  uint64_t fewest = p.records < kFewestSlots ? p.records : kFewestSlots;
  // Where the system's pages are larger than ours, a record that is smaller than its slot may hold one in part.
  uint64_t overhead = kSlotOverhead;
  const auto system_page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (sizes.smallest != sizes.largest && system_page > kPageBytes) overhead += system_page;
  auto tables = [&](uint64_t slots) { return checked.RoundUp(checked.Mul(slots, overhead), kPageBytes); };
  // As many slots as the smallest records could fill, as far as there is room for their tables.
  auto slots_in = [&](uint64_t bytes) {
    uint64_t slots = p.records == 0 ? 0 : bytes / checked.Add(sizes.smallest, overhead);
    return slots < p.records ? slots : p.records;
  };
  uint64_t least = checked.Mul(fewest, p.slot_bytes);
  if (p.record_bytes < least) p.record_bytes = least;  // where the encoder's records are larger
  p.floor = checked.Add(checked.Add(fixed - saved, least), tables(fewest));
  p.recommended = checked.Add(checked.Add(fixed, p.record_bytes), tables(p.records));
  if (checked.overflow()) {
    return Error(StatusCode::kBadBundle, "the memory that this bundle asks for overflows 64 bits");
  }
  uint64_t budget = options.budget == 0 ? p.recommended : options.budget;
  if (saved != 0 && budget < p.recommended) {
    fixed -= saved;
    p.resident = head;
    p.panels = panels;
  }
  if (budget < p.floor) {
    *plan = p;
    return Error(StatusCode::kBudget, "the memory budget is too small; bytes needed:", p.floor, budget);
  }
  // Every part is a whole number of pages, so a budget's last fraction of a page is of no use.
  budget = budget / kPageBytes * kPageBytes;
  p.slots = slots_in(budget - fixed);
  uint64_t most_tables = (budget - fixed - least) / kPageBytes * kPageBytes;
  if (p.slots > most_tables / overhead) p.slots = most_tables / overhead;
  uint64_t slot_tables = tables(p.slots);
  p.expert_bytes = budget - fixed - slot_tables;
  uint64_t asked = options.expert_bytes == 0 ? UINT64_MAX : options.expert_bytes > least ? options.expert_bytes : least;
  for (uint64_t most : {p.record_bytes, p.slots * p.slot_bytes, asked / kPageBytes * kPageBytes}) {
    if (p.expert_bytes > most) p.expert_bytes = most;
  }
  p.bookkeeping += slot_tables;
  p.total = fixed + slot_tables + p.expert_bytes;
  *plan = p;
  return OkStatus();
}

bool HoldsAll(const MemoryPlan &plan) { return plan.slots == plan.records && plan.expert_bytes == plan.record_bytes; }

}  // namespace

Status PlanMemory(const Bundle &bundle, const MemoryOptions &options, MemoryPlan *plan) {
  RT_RETURN_IF_ERROR(PlanChunk(bundle, options, options.chunk != 0 ? options.chunk : bundle.plan.chunk, plan));
  if (options.chunk != 0) return OkStatus();
  const uint64_t most = plan->total + plan->total / 16;
  MemoryPlan longer;
  for (uint32_t chunk = plan->chunk; chunk <= kLongChunk / 2 && chunk * 2 <= plan->context;) {
    chunk *= 2;
    if (!PlanChunk(bundle, options, chunk, &longer).ok() || !HoldsAll(longer) || longer.total > most) break;
    if ((longer.panels != 0) != (plan->panels != 0)) break;
    longer.floor = plan->floor;  // what less memory is enough for has short chunks
    longer.recommended = plan->recommended;
    *plan = longer;
  }
  return OkStatus();
}

}  // namespace emoe::rt
