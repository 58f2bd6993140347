// The tables of the next-use policy: a linear prediction of how soon a record is used, from what layers chose last.
//
// What is predicted is the discounted sum of a record's uses, (1 - discount) * sum over n of discount^n * (used n tokens
// later), by ridge regression on the sets that layers chose: of this token, by layers before the target, and of the
// token before (or, once the target ran, of the latest token). A table exists for pairs of layers that are close in time.
#ifndef EMOE_COMPILER_PLAN_NEXT_USE_H_
#define EMOE_COMPILER_PLAN_NEXT_USE_H_

#include <cstdint>
#include <vector>

#include "compiler/plan/trace.h"
#include "runtime/experts/cache_parameters.h"

namespace emoe {

struct NextUseTables {
  uint8_t discount = 154; // of 256
  float scale = 0;
  std::vector<uint16_t> usual;
  std::vector<rt::NextUseBlock> blocks;
  std::vector<int8_t> rows;

  // Points the parameters at these tables, which must outlive them.
  void apply(rt::CacheParameters *parameters) const;
};

struct NextUseOptions {
  double discount = 0.6;
  double ridge = 100;          // as if each expert had been seen so often without any effect
  uint64_t mostBytes = 1 << 20; // of `rows`; with less than every layer needs there are no blocks, `usual` alone
  uint32_t mostColumns = 256;  // experts of all sources of a target, for this token and for the one before each
};

NextUseTables fitNextUse(const Trace &trace, const NextUseOptions &options = {});

} // namespace emoe

#endif // EMOE_COMPILER_PLAN_NEXT_USE_H_
