// Which cache policy, with which numbers, for how many slots: chosen by replaying held-out routing.
#ifndef EMOE_COMPILER_PLAN_CHOOSE_H_
#define EMOE_COMPILER_PLAN_CHOOSE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "compiler/plan/next_use.h"
#include "compiler/plan/replay.h"
#include "compiler/plan/trace.h"
#include "schema/bundle_generated.h"

namespace emoe {

struct CachePlan {
  std::vector<rt::CacheChoice> choices;    // ascending by slots
  std::vector<rt::HitPoint> hitCurve;      // the same slots, on the held-out routing
  uint32_t recommendedSlots = 0;           // from here on further slots bring less than those before did
  float regret = 0;                        // there: Belady's hit rate above the plan's
  NextUseTables tables;

  // What the runtime would do with so many slots. The plan outlives the result.
  rt::CacheParameters parameters(uint32_t slots) const;
};

struct PlanOptions {
  std::vector<uint32_t> slots; // to choose for; empty: planSlots(traces)
  NextUseOptions nextUse;
  uint64_t mostTokens = 3072; // of the held-out trace that are replayed
};

// From 5 to 90 % of the records.
std::vector<uint32_t> planSlots(const Trace &trace);

// Tables are fitted to `fit`, policy and numbers are chosen on `heldOut` (never a global LRU with fewer slots than one
// token uses), and with little routing the other way round, too; the tables of the result are fitted to both. Without routing
// of either kind the plan is empty.
CachePlan choosePlan(const Trace &fit, const Trace &heldOut, const PlanOptions &options = {});

// The last `share` of each domain's tokens is held out.
std::pair<Trace, Trace> splitTrace(const Trace &trace, double share);

// One line for people.
std::string summary(const CachePlan &plan);

// Writes the plan into a bundle's; an empty one changes nothing.
void storePlan(const CachePlan &plan, fb::PlanT &out);

} // namespace emoe

#endif // EMOE_COMPILER_PLAN_CHOOSE_H_
