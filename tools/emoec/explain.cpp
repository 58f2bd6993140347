#include "tools/emoec/explain.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/bundle/bundle.h"
#include "runtime/experts/cache_parameters.h"
#include "runtime/experts/predict.h"
#include "runtime/io/file.h"
#include "runtime/memory/budget.h"

namespace emoe {
namespace {

std::string str(const rt::Text &text) { return std::string(text.data, text.size); }

std::string mebibytes(double bytes) { return absl::StrFormat("%.2f MiB", bytes / (1 << 20)); }

// As --formats has it: bits or ternary, then the group.
std::string formatName(const rt::Layout &layout) {
  if (layout.bits >= 16) {
    const char *types[] = {"f32", "f16", "bf16"};
    return types[layout.float_type];
  }
  return absl::StrCat(layout.codebook == rt::kTernary ? "ternary" : absl::StrCat(layout.bits), "-", layout.group);
}

class Explanation {
public:
  Explanation(const rt::Bundle &bundle, const ExplainOptions &options) : b(bundle), options(options) {}

  absl::StatusOr<std::string> text() {
    rt::MemoryOptions memory;
    memory.budget = options.budget;
    memory.tokenizer = b.tokenizer.present;
    if (rt::Status status = rt::PlanMemory(b, memory, &plan); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(status.what, " ", status.detail, ", not ", options.budget));
    }
    facts();
    widths();
    reasons();
    predictors();
    cache();
    memoryNeeds();
    speed();
    return out;
  }

private:
  void line(const std::string &text) { absl::StrAppend(&out, text, "\n"); }

  void facts() {
    line(absl::StrFormat("%s: %d parameters, %d layers, %d mixture layers, made from %s by %s (%s)",
                         str(b.model.architecture), b.model.parameters, b.model.layers, b.moe_layers.size,
                         str(b.provenance.source), str(b.provenance.producer), str(b.provenance.options)));
    if (b.calibration.texts.size != 0) {
      line(absl::StrFormat("calibrated on %s: decisions from %d tokens, judged on %d others", str(b.calibration.texts),
                           b.calibration.fit_tokens, b.calibration.held_out_tokens));
    }
  }

  // One row a layer, one column for each format that occurs.
  void widths() {
    std::map<uint32_t, std::string> formats; // by record bytes
    for (const rt::MoeLayer &layer : b.moe_layers) {
      for (const rt::Record &record : layer.records) {
        const rt::Variant &variant = layer.variants[record.variant];
        std::string name = formatName(variant.layout), down = formatName(variant.down_layout);
        formats[variant.record_bytes] = name == down ? name : absl::StrCat(name, "/", down);
      }
    }
    line("\nwidths: how many experts have which format (bits-group), and the bytes of their records");
    std::string head = "  layer  top";
    for (const auto &[bytes, name] : formats) {
      absl::StrAppendFormat(&head, "%12s", name);
    }
    line(head + "        bytes");
    for (size_t l = 0; l < b.moe_layers.size; ++l) {
      const rt::MoeLayer &layer = b.moe_layers[l];
      std::map<uint32_t, size_t> count;
      uint64_t sum = 0;
      for (const rt::Record &record : layer.records) {
        uint32_t bytes = layer.variants[record.variant].record_bytes;
        ++count[bytes];
        sum += bytes;
      }
      std::string row = absl::StrFormat("  %5d  %3d", l, layer.top_k);
      for (const auto &[bytes, name] : formats) {
        absl::StrAppendFormat(&row, "%12d", count.count(bytes) ? count[bytes] : 0);
      }
      line(absl::StrFormat("%s %12s", row, mebibytes(static_cast<double>(sum))));
    }
    std::string sizes = "  a record";
    for (const auto &[bytes, name] : formats) {
      absl::StrAppendFormat(&sizes, "%12d", bytes);
    }
    line(sizes);
    line(absl::StrFormat("  experts %s of %d records, resident weights %s",
                         mebibytes(static_cast<double>(plan.record_bytes)), plan.records,
                         mebibytes(static_cast<double>(b.resident.length))));
    uint64_t values = 0;
    for (const rt::KvLayer &layer : b.kv_layers) {
      values += uint64_t{2} * layer.kv_heads * layer.head_dim;
    }
    line(absl::StrFormat("  keys and values of %d bits: %d bytes a position in %d attention layers", b.kv_bits,
                         values * b.kv_bits / 8, b.kv_layers.size));
  }

  // In the tolerance's unit.
  std::string loss(double value) const {
    return str(b.widths.measure) == "kl" ? absl::StrFormat("%.4f nats", value) : absl::StrFormat("%+.2f %%", value);
  }

  void reasons() {
    const auto &w = b.widths;
    if (w.policy.size == 0) {
      line("  nobody chose between widths: give --calibration and --tolerance to emoec compile");
      return;
    }
    line(absl::StrFormat("  chosen by %s, rounding %s: %.3f stored bits a weight", str(w.policy), str(w.rounding),
                         8.0 * static_cast<double>(w.bytes) / static_cast<double>(w.weights)));
    line(absl::StrFormat("  loss (%s) on held-out text: asked at most %s, predicted %s, verified %s (+- %.2g), KL %.5f nats",
                         str(w.measure) == "kl" ? "divergence" : "perplexity", loss(w.tolerance), loss(w.predicted),
                         loss(w.verified), w.verified_error, w.divergence));
    if (w.uniform_format.size != 0) {
      line(absl::StrFormat("  one width for all within that loss: %s, %s, %.2f times these bytes", str(w.uniform_format),
                           loss(w.uniform_loss), static_cast<double>(w.uniform_bytes) / static_cast<double>(w.bytes)));
    }
    if (w.rival_format.size != 0) {
      line(absl::StrFormat("  one width for all in at most these bytes: %s, %s", str(w.rival_format), loss(w.rival_loss)));
    }
    if (w.random_divergence != 0) {
      line(absl::StrFormat("  these widths dealt out at random: %s, KL %.5f nats", loss(w.random_loss),
                           w.random_divergence));
    }
    if (w.notes.size != 0) {
      line("  " + str(w.notes));
    }
  }

  void predictors() {
    line("\npredictors: who says before the router what a layer will use (recall: share of the used experts that are among"
         "\nits first top-k; reading ahead pays above the break-even chance)");
    if (b.predictors.size == 0) {
      line("  none was chosen: the model was compiled without texts. The runtime looks ahead with the next layer's router"
           "\n  where the program has that step, and repeats the previous token's experts elsewhere.");
      return;
    }
    line("  layer  predictor       recall  (95 % interval)  at 2k  precision at 2k  break-even");
    for (size_t l = 0; l < b.predictors.size; ++l) {
      const rt::PredictorEntry &entry = b.predictors[l];
      const rt::PredictorQuality *quality = nullptr;
      for (const rt::PredictorQuality &q : entry.quality) {
        if (q.predictor == entry.predictor) {
          quality = &q;
        }
      }
      std::string name = rt::PredictorName(entry.predictor);
      line(quality == nullptr
               ? absl::StrFormat("  %5d  %-14s  a default: no text was there to judge it", l, name)
               : absl::StrFormat("  %5d  %-14s  %6.3f  (%.3f to %.3f)   %5.3f           %5.3f       %5.3f", l, name,
                                 quality->recall, quality->recall_low, quality->recall_high, quality->recall_2k,
                                 quality->precision_2k, entry.break_even));
    }
  }

  void cache() {
    line("\ncache: which record makes room, by the number of records that the budget has memory for");
    if (b.plan.choices.size == 0) {
      line(absl::StrCat("  ", b.plan.policy.size == 0 ? "lfu" : str(b.plan.policy),
                        ": a default, the model was compiled without texts or traces"));
      return;
    }
    const rt::CacheChoice *last = nullptr;
    for (const rt::CacheChoice &choice : b.plan.choices) {
      if (last != nullptr && last->policy == choice.policy && last->per_layer == choice.per_layer &&
          last->pinned == choice.pinned) {
        continue; // it differs in parameters only
      }
      last = &choice;
      line(absl::StrFormat("  from %5d  %s%s%s", choice.slots, rt::CachePolicyName(choice.policy),
                           choice.per_layer ? ", slots shared out to the layers" : "",
                           choice.pinned ? absl::StrCat(", ", choice.pinned, " records stay") : ""));
    }
    if (b.plan.hit_curve.size != 0) {
      line("  records      LRU     LFU  planned  Belady (the bound): hit rates on held-out text");
      for (const rt::HitPoint &point : b.plan.hit_curve) {
        line(absl::StrFormat("  %7d    %5.3f   %5.3f    %5.3f   %5.3f", point.slots, point.lru, point.lfu, point.planned,
                             point.belady));
      }
    }
    if (b.plan.recommended_slots != 0) {
      line(absl::StrFormat("  recommended: memory for %d records, %.1f points below the bound there",
                           b.plan.recommended_slots, 100 * b.plan.regret));
    }
  }

  void memoryNeeds() {
    line(absl::StrFormat("\nmemory (context %d, chunk %d): floor %s, all experts in memory %s", plan.context, plan.chunk,
                         mebibytes(static_cast<double>(plan.floor)), mebibytes(static_cast<double>(plan.recommended))));
    if (b.plan.recommended_slots != 0 && plan.records != 0) {
      double mean = static_cast<double>(plan.record_bytes) / static_cast<double>(plan.records);
      double bytes = static_cast<double>(plan.total - plan.expert_bytes) + b.plan.recommended_slots * mean;
      line(absl::StrCat("  recommended budget ", mebibytes(std::max(bytes, static_cast<double>(plan.floor)))));
    }
    line(absl::StrFormat("  with %s: %d of %d records", mebibytes(static_cast<double>(plan.total)), plan.mean_slots(),
                         plan.records));
  }

  // Between the points of the curve, which begins with no records and no hits and ends with all of both.
  double hitRate(double slots) const {
    double lastSlots = 0, lastRate = 0;
    for (const rt::HitPoint &point : b.plan.hit_curve) {
      if (slots <= point.slots) {
        double share = (slots - lastSlots) / (point.slots - lastSlots);
        return lastRate + share * (point.planned - lastRate);
      }
      lastSlots = point.slots;
      lastRate = point.planned;
    }
    double left = static_cast<double>(plan.records) - lastSlots;
    return left <= 0 ? lastRate : lastRate + (1 - lastRate) * std::min(1.0, (slots - lastSlots) / left);
  }

  // Bytes of the experts that a token uses, each with its probability where it is known.
  double bytesUsed() const {
    double sum = 0;
    size_t key = 0, keys = b.plan.next_use.usual.size;
    for (const rt::MoeLayer &layer : b.moe_layers) {
      for (const rt::Record &record : layer.records) {
        double chance = key < keys ? b.plan.next_use.usual[key] / 65535.0 : 1.0 * layer.top_k / layer.experts;
        sum += chance * layer.variants[record.variant].record_bytes;
        ++key;
      }
    }
    return sum;
  }

  void speed() {
    bool all = plan.expert_bytes >= plan.record_bytes;
    double used = bytesUsed(), hits = all ? 1 : hitRate(static_cast<double>(plan.mean_slots()));
    double read = used * (1 - hits), reading = read / options.storage;
    line(absl::StrFormat("\nspeed of generating with that memory, storage of %.0f MB/s:", options.storage / 1e6));
    line(absl::StrFormat("  a token uses experts of %s; %.0f %% are in memory%s; %s are read in %.2f ms", mebibytes(used),
                         100 * hits, b.plan.hit_curve.size == 0 && !all ? " (as if all were used alike: hit rates need texts)" : "",
                         mebibytes(read), 1e3 * reading));
    if (options.computing == 0) {
      line(reading > 0 ? absl::StrFormat("  at most %.1f tokens/s; give --compute-us of emoe-rt bench to count computing too",
                                         1 / reading)
                       : std::string("  nothing is read: emoe-rt bench says how fast this processor computes"));
      return;
    }
    line(absl::StrFormat("  with %.2f ms of computing: %.1f tokens/s if reading and computing never overlap, %.1f if they "
                         "always do",
                         1e3 * options.computing, 1 / (options.computing + reading),
                         1 / std::max(options.computing, reading)));
  }

  const rt::Bundle &b;
  const ExplainOptions &options;
  rt::MemoryPlan plan;
  std::string out;
};

absl::Status refusal(const std::string &path, const rt::Status &status) {
  std::string text = absl::StrFormat("%s: %s (%d, %d)", path, status.what, status.detail, status.detail2);
  switch (status.code) {
  case rt::StatusCode::kBadBundle:
    return absl::DataLossError(text);
  case rt::StatusCode::kUnsupported:
    return absl::UnimplementedError(text);
  default:
    return absl::UnavailableError(text);
  }
}

} // namespace

absl::StatusOr<std::string> explainBundle(const std::string &path, const ExplainOptions &options) {
  rt::FileProvider provider;
  rt::Bundle bundle;
  if (rt::Status status = provider.Open(path.c_str()); !status.ok()) {
    return refusal(path, status);
  }
  if (rt::Status status = rt::OpenBundle(provider, &bundle); !status.ok()) {
    return refusal(path, status);
  }
  absl::StatusOr<std::string> text =
      bundle.has_model ? Explanation(bundle, options).text()
                       : absl::StatusOr<std::string>(absl::UnimplementedError(path + ": it holds a tokenizer only"));
  rt::CloseBundle(&bundle);
  return text;
}

} // namespace emoe
