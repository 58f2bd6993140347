// inspect, verify, plan, version: what a bundle is and needs.
#include "runtime/image/image.h"
#include "schema/format.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/verbs.h"

namespace emoe::rt {
namespace {

unsigned long long N(uint64_t n) { return n; }
int Length(const Text &text) { return static_cast<int>(text.size < 1500 ? text.size : 1500); }

void Progress(uint64_t done, void *user) { ShowProgress("verify", done, *static_cast<uint64_t *>(user)); }

}  // namespace

int InspectVerb(const Options &options) {
  Work work(options);
  if (int code = work.Open()) return code;
  const Bundle &b = work.bundle;
  if (!b.has_model) {
    Print(options.json ? "{\"tokenizer_bytes\": %llu}\n" : "a tokenizer of %llu bytes, no model\n",
          N(b.tokenizer.length));
    return 0;
  }
  uint64_t records = 0;
  for (const MoeLayer &layer : b.moe_layers) records += layer.records.size;
  if (options.json) {
    Print("{\"architecture\": ");
    PrintJsonString(b.model.architecture.data, b.model.architecture.size);
    Print(", \"parameters\": %llu, \"vocab\": %u, \"hidden\": %u, \"layers\": %u, \"context\": %u, \"moe_layers\": %zu, "
          "\"records\": %llu, \"kv_bits\": %u, \"tensors\": %zu, \"kernels\": %zu, \"steps\": %zu, \"index_bytes\": %llu, "
          "\"resident_bytes\": %llu, \"expert_bytes\": %llu, \"kernel_bytes\": %llu, \"tokenizer_bytes\": %llu, "
          "\"isas\": [",
          N(b.model.parameters), b.model.vocab, b.model.hidden, b.model.layers, b.model.context, b.moe_layers.size,
          N(records), b.kv_bits, b.tensors.size, b.kernel_table.size, b.steps.size, N(b.index.length), N(b.resident.length),
          N(b.experts.length), N(b.kernels.length), N(b.tokenizer.length));
    for (size_t i = 0; i < b.images.size; ++i) {
      if (i != 0) Print(", ");
      PrintJsonString(b.images[i].isa.data, b.images[i].isa.size);
    }
    Print("]}\n");
    return 0;
  }
  Print("%.*s, %llu parameters, from %.*s by %.*s\n", Length(b.model.architecture), b.model.architecture.data,
        N(b.model.parameters), Length(b.provenance.source), b.provenance.source.data, Length(b.provenance.producer),
        b.provenance.producer.data);
  Print("vocabulary %u, hidden size %u, layers %u, context %u, first token %d\n", b.model.vocab, b.model.hidden,
        b.model.layers, b.model.context, b.model.first_token);
  Print("resident %llu bytes in %zu tensors, experts %llu bytes in %llu records, kernels %llu bytes, tokenizer %llu "
        "bytes\n", N(b.resident.length), b.tensors.size, N(b.experts.length), N(records), N(b.kernels.length),
        N(b.tokenizer.length));
  Print("program: %zu steps, %zu kernels, %zu buffers; keys and values of %u bits in %zu attention layers\n", b.steps.size,
        b.kernel_table.size, b.buffers.size, b.kv_bits, b.kv_layers.size);
  for (size_t i = 0; i < b.moe_layers.size; ++i) {
    const MoeLayer &layer = b.moe_layers[i];
    Print("mixture layer %zu: %u experts, top %u", i, layer.experts, layer.top_k);
    for (const Variant &variant : layer.variants) {
      Print("; %u bits, records of %u bytes in %zu chunks", variant.layout.bits, variant.record_bytes,
            variant.chunk_ends.size);
    }
    Print("\n");
  }
  uint32_t chosen = 0;
  bool runs = ChooseImage(b, nullptr, &chosen).ok();
  for (size_t i = 0; i < b.images.size; ++i) {
    Print("kernels for %.*s: %llu bytes%s\n", Length(b.images[i].isa), b.images[i].isa.data, N(b.images[i].bytes),
          runs && i == chosen ? " (used here)" : "");
  }
  return 0;
}

int VerifyVerb(const Options &options) {
  Work work(options);
  if (int code = work.Open()) return code;
  uint64_t total = work.provider.size();
  Status status = VerifyBundle(work.provider, work.bundle, Progress, &total);
  ShowProgress("", 0, 0);
  if (!status.ok()) return work.Failed(status);
  Print(options.json ? "{\"bytes\": %llu, \"ok\": true}\n" : "all %llu bytes are as they were written\n", N(total));
  return 0;
}

int PlanVerb(const Options &options) {
  Work work(options);
  if (int code = work.Open()) return code;
  if (!work.bundle.has_model) return Fail(6, "%s: it holds a tokenizer only", options.bundle);
  MemoryOptions memory;
  memory.budget = options.budget;
  memory.context = options.context;
  memory.chunk = options.chunk;
  memory.threads = options.threads != 0 ? options.threads : DefaultThreads();
  memory.tokenizer = true;
  uint32_t image = 0;
  if (ChooseImage(work.bundle, nullptr, &image).ok()) memory.image_bytes = work.bundle.images[image].bytes;
  MemoryPlan p;
  Status status = PlanMemory(work.bundle, memory, &p);
  if (!status.ok()) return work.Failed(status);
  if (options.json) {
    Print("{\"floor\": %llu, \"recommended\": %llu, \"records\": %llu, \"record_bytes\": %llu, \"slots\": %llu, "
          "\"expert_bytes\": %llu, \"total\": %llu, \"process\": %llu, \"index\": %llu, \"image\": %llu, \"resident\": %llu, "
          "\"panels\": %llu, \"tokenizer\": %llu, \"kv\": %llu, \"states\": %llu, \"activations\": %llu, \"bookkeeping\": %llu, \"stacks\": %llu, "
          "\"context\": %u, \"chunk\": %u, \"threads\": %u}\n",
          N(p.floor), N(p.recommended), N(p.records), N(p.slot_bytes), N(p.mean_slots()), N(p.expert_bytes), N(p.total), N(p.process),
          N(p.index), N(p.image), N(p.resident), N(p.panels), N(p.tokenizer), N(p.kv), N(p.states), N(p.activations), N(p.bookkeeping),
          N(p.stacks), p.context, p.chunk, p.threads);
    return 0;
  }
  Print("floor        %12llu bytes: the smallest --memory-budget that works\n"
        "recommended  %12llu bytes: all %llu records stay in memory\n", N(p.floor), N(p.recommended), N(p.records));
  Print("of %llu bytes, with context %u, chunk %u, %u threads:\n", N(p.total), p.context, p.chunk, p.threads);
  const struct {
    const char *name;
    uint64_t bytes;
  } parts[] = {{"process", p.process}, {"index", p.index}, {"kernels", p.image}, {"resident", p.resident},
               {"panels", p.panels},                {"tokenizer", p.tokenizer}, {"KV cache", p.kv}, {"states", p.states},
               {"activations", p.activations},
               {"tables", p.bookkeeping}, {"stacks", p.stacks}};
  for (const auto &part : parts) Print("  %-11s%12llu\n", part.name, N(part.bytes));
  Print("  %-11s%12llu (%llu of %llu records)\n", "experts", N(p.expert_bytes), N(p.mean_slots()), N(p.records));
  return 0;
}

int VersionVerb(const Options &options) {
  Print(options.json ? "{\"version\": \"%s\", \"format\": \"%d.%d\"}\n" : "emoe-rt %s, bundle format %d.%d\n",
        EMOE_VERSION, EMOE_FORMAT_MAJOR, EMOE_FORMAT_MINOR);
  return 0;
}

}  // namespace emoe::rt
