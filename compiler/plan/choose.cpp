#include "compiler/plan/choose.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compiler/plan/trace_file.h"

namespace emoe {
namespace {

using rt::CacheParameters;
using rt::CachePolicy;

// Fewer judged tokens than these say too little for one number of slots alone.
constexpr uint64_t kFewTokens = 1024;

void append(const Trace &from, uint64_t first, uint64_t count, Trace &to) {
  Trace part = sliceTrace(from, first, count);
  uint64_t base = to.count();
  auto add = [](const auto &source, auto &target) { target.insert(target.end(), source.begin(), source.end()); };
  add(part.tokens, to.tokens);
  add(part.experts, to.experts);
  add(part.weights, to.weights);
  add(part.ahead, to.ahead);
  for (TraceDocument document : part.documents) {
    document.first += base;
    to.documents.push_back(document);
  }
}

Trace emptyOf(const Trace &trace) {
  Trace result;
  result.layers = trace.layers;
  result.domains = trace.domains;
  return result;
}

std::vector<uint64_t> domainTokens(const Trace &trace) {
  std::vector<uint64_t> tokens(std::max<size_t>(trace.domains.size(), 1));
  for (const TraceDocument &document : trace.documents) {
    tokens[document.domain] += document.tokens;
  }
  return tokens;
}

// The first tokens of each domain, `most` in all.
Trace limitTrace(const Trace &trace, uint64_t most) {
  if (trace.count() <= most) {
    return trace;
  }
  Trace result = emptyOf(trace);
  std::vector<uint64_t> left(domainTokens(trace).size(), 0);
  std::fill(left.begin(), left.end(), std::max<uint64_t>(1, most / left.size()));
  for (const TraceDocument &document : trace.documents) {
    uint64_t count = std::min(document.tokens, left[document.domain]);
    left[document.domain] -= count;
    if (count != 0) {
      append(trace, document.first, count, result);
    }
  }
  return result;
}

// Routing to judge by, and tables that were fitted to other routing.
struct Fold {
  NextUseTables tables;
  Trace judged;
};

CacheParameters of(CachePolicy policy, uint16_t halfLife = 64, bool perLayer = false) {
  CacheParameters parameters;
  parameters.policy = policy;
  parameters.half_life = halfLife;
  parameters.per_layer = perLayer;
  return parameters;
}

CacheParameters nextUseOf(uint16_t halfLife, uint8_t recent) {
  CacheParameters parameters = of(CachePolicy::kNextUse, halfLife);
  parameters.recent = recent;
  return parameters;
}

uint64_t hitsOf(const std::vector<Fold> &folds, uint32_t slots, CacheParameters parameters) {
  uint64_t hits = 0;
  for (const Fold &fold : folds) {
    fold.tables.apply(&parameters);
    hits += replay(fold.judged, slots, parameters).hits;
  }
  return hits;
}

// Remembers the best of what it is offered; of equals the first.
struct Best {
  CacheParameters parameters;
  uint64_t hits = 0;
  bool any = false;
  void offer(const CacheParameters &offered, uint64_t count) {
    if (!any || count > hits) {
      parameters = offered;
      hits = count;
      any = true;
    }
  }
};

// How next-use weighs the recent past, for all numbers of slots together: they hardly differ in it, and one answer from
// more routing is worth more than many from little.
CacheParameters searchJointly(const std::vector<Fold> &folds, const std::vector<uint32_t> &slots) {
  std::vector<uint32_t> some;
  for (size_t i : {slots.size() / 4, slots.size() / 2, slots.size() * 3 / 4}) {
    if (some.empty() || some.back() != slots[i]) {
      some.push_back(slots[i]);
    }
  }
  Best best;
  for (uint16_t halfLife : {16, 64, 256}) {
    for (uint8_t recent : {0, 50, 100}) {
      CacheParameters offered = nextUseOf(halfLife, recent);
      uint64_t hits = 0;
      for (uint32_t count : some) {
        hits += hitsOf(folds, count, offered);
      }
      best.offer(offered, hits);
    }
  }
  return best.parameters;
}

// For one number of slots. `margin`: share of all uses by which another policy must be better than next-use.
CacheParameters search(const std::vector<Fold> &folds, uint32_t slots, const CacheParameters &joint, double margin) {
  uint64_t uses = 0;
  for (const Fold &fold : folds) {
    uses += fold.judged.count() * fold.judged.row();
  }
  Best best;
  best.offer(joint, hitsOf(folds, slots, joint));
  auto vary = [&](auto field, std::initializer_list<int> values) {
    CacheParameters from = best.parameters;
    for (int value : values) {
      CacheParameters offered = from;
      field(offered, value);
      best.offer(offered, hitsOf(folds, slots, offered));
    }
  };
  if (margin == 0) {
    vary([](CacheParameters &p, int v) { p.recent = static_cast<uint8_t>(v); }, {25, 75, 100, 150});
    vary([](CacheParameters &p, int v) { p.distance_power = static_cast<uint8_t>(v); }, {1, 3, 4});
    vary([](CacheParameters &p, int v) { p.half_life = static_cast<uint16_t>(v); }, {32, 128, 256});
    vary([&](CacheParameters &p, int v) { p.pinned = slots / static_cast<uint32_t>(v); }, {4});
  }
  Best simple;
  auto offer = [&](const CacheParameters &offered) { simple.offer(offered, hitsOf(folds, slots, offered)); };
  const bool holdsToken = slots >= tokenCycle(folds[0].judged);
  if (holdsToken) {
    offer(of(CachePolicy::kLru));
    offer(of(CachePolicy::kLfu, 8, true));
    offer(of(CachePolicy::kLfu, 64, true));
  }
  for (uint16_t halfLife : {8, 64}) {
    offer(of(CachePolicy::kLfu, halfLife));
    offer(of(CachePolicy::kEdgeMoe, halfLife));
  }
  offer(of(CachePolicy::kLeastStale));
  return static_cast<double>(simple.hits) > static_cast<double>(best.hits) + margin * static_cast<double>(uses)
             ? simple.parameters
             : best.parameters;
}

rt::CacheChoice choiceOf(uint32_t slots, const CacheParameters &p) {
  rt::CacheChoice choice{};
  choice.slots = slots;
  choice.pinned = p.pinned;
  choice.half_life = p.half_life;
  choice.policy = p.policy;
  choice.distance_power = p.distance_power;
  choice.recent = p.recent;
  choice.per_layer = p.per_layer;
  return choice;
}

} // namespace

CacheParameters CachePlan::parameters(uint32_t slots) const {
  rt::Bundle bundle;
  bundle.plan.choices = {choices.data(), choices.size()};
  CacheParameters parameters;
  rt::ChooseCache(bundle, slots, nullptr, &parameters);
  tables.apply(&parameters);
  return parameters;
}

std::vector<uint32_t> planSlots(const Trace &trace) {
  std::vector<uint32_t> slots;
  const uint32_t keys = traceKeys(trace);
  for (int percent : {5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90}) {
    uint32_t count = std::max(1u, static_cast<uint32_t>(std::lround(keys * percent / 100.0)));
    if (slots.empty() || slots.back() < count) {
      slots.push_back(count);
    }
  }
  return slots;
}

CachePlan choosePlan(const Trace &fit, const Trace &heldOut, const PlanOptions &options) {
  CachePlan plan;
  if (fit.count() == 0 || heldOut.count() == 0) {
    return plan;
  }
  std::vector<Fold> folds;
  folds.push_back({fitNextUse(fit, options.nextUse), limitTrace(heldOut, options.mostTokens)});
  double margin = 0;
  if (folds[0].judged.count() < kFewTokens) {
    folds.push_back({fitNextUse(heldOut, options.nextUse), limitTrace(fit, options.mostTokens)});
    margin = 0.01;
  }
  std::vector<uint32_t> slots = options.slots.empty() ? planSlots(fit) : options.slots;
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  const CacheParameters joint = searchJointly(folds, slots);
  const Trace &judged = folds[0].judged;
  const double keys = traceKeys(fit);
  double knee = -1;
  for (uint32_t count : slots) {
    CacheParameters best = search(folds, count, joint, margin);
    plan.choices.push_back(choiceOf(std::min(count, traceKeys(fit)), best));
    folds[0].tables.apply(&best);
    rt::HitPoint point{};
    point.slots = plan.choices.back().slots;
    point.lru = static_cast<float>(replay(judged, count, of(CachePolicy::kLru)).rate());
    point.lfu = static_cast<float>(replay(judged, count, of(CachePolicy::kLfu)).rate());
    point.planned = static_cast<float>(replay(judged, count, best).rate());
    point.belady = static_cast<float>(replayBelady(judged, count).rate());
    plan.hitCurve.push_back(point);
    if (static_cast<double>(point.planned) - count / keys > knee) {
      knee = static_cast<double>(point.planned) - count / keys;
      plan.recommendedSlots = point.slots;
      plan.regret = point.belady - point.planned;
    }
    if (count >= traceKeys(fit)) {
      break; // everything stays
    }
  }
  Trace both = fit;
  append(heldOut, 0, heldOut.count(), both);
  plan.tables = fitNextUse(both, options.nextUse);
  return plan;
}

std::pair<Trace, Trace> splitTrace(const Trace &trace, double share) {
  std::pair<Trace, Trace> result{emptyOf(trace), emptyOf(trace)};
  std::vector<uint64_t> left = domainTokens(trace); // to be fitted
  for (uint64_t &tokens : left) {
    tokens -= static_cast<uint64_t>(std::llround(static_cast<double>(tokens) * share));
  }
  for (const TraceDocument &document : trace.documents) {
    uint64_t first = std::min(document.tokens, left[document.domain]);
    left[document.domain] -= first;
    if (first != 0) {
      append(trace, document.first, first, result.first);
    }
    if (first != document.tokens) {
      append(trace, document.first + first, document.tokens - first, result.second);
    }
  }
  return result;
}

std::string summary(const CachePlan &plan) {
  for (size_t i = 0; i < plan.choices.size(); ++i) {
    const rt::HitPoint &point = plan.hitCurve[i];
    if (point.slots == plan.recommendedSlots) {
      auto percent = [](float rate) { return std::lround(100 * rate); };
      return absl::StrCat("cache: ", rt::CachePolicyName(plan.choices[i].policy), "; with ", point.slots, " of ",
                          plan.tables.usual.size(), " experts in memory ", percent(point.planned),
                          " % of uses hit on held-out text (lru ", percent(point.lru), ", lfu ", percent(point.lfu),
                          ", the optimum ", percent(point.belady), ")");
    }
  }
  return "cache: nothing to plan for";
}

void storePlan(const CachePlan &plan, fb::PlanT &out) {
  if (plan.choices.empty()) {
    return;
  }
  out.choices.clear();
  out.hit_curve.clear();
  for (const rt::CacheChoice &c : plan.choices) {
    out.choices.emplace_back(c.slots, c.pinned, c.half_life, static_cast<fb::CachePolicy>(c.policy), c.distance_power,
                             c.recent, c.per_layer);
    if (c.slots <= plan.recommendedSlots) {
      out.policy = rt::CachePolicyName(c.policy);
    }
  }
  for (const rt::HitPoint &p : plan.hitCurve) {
    out.hit_curve.emplace_back(p.slots, p.lru, p.lfu, p.planned, p.belady);
  }
  out.recommended_slots = plan.recommendedSlots;
  out.regret = plan.regret;
  out.next_use = std::make_unique<fb::NextUseT>();
  out.next_use->discount = plan.tables.discount;
  out.next_use->scale = plan.tables.scale;
  out.next_use->usual = plan.tables.usual;
  for (const rt::NextUseBlock &b : plan.tables.blocks) {
    out.next_use->blocks.emplace_back(b.first, b.source, b.target, b.same_token);
  }
  out.next_use->rows = plan.tables.rows;
}

} // namespace emoe
