// Who computes what in a mixture layer: the chunk's (token, choice) pairs, grouped by expert.
#ifndef EMOE_RUNTIME_EXPERTS_GROUP_H_
#define EMOE_RUNTIME_EXPERTS_GROUP_H_

#include <stdint.h>

#include "runtime/status.h"

namespace emoe::rt {

// The pairs of one expert: entries [first, first + count) of the arrays below.
struct ExpertGroup {
  uint32_t expert, first, count;
};

// Pair p = token * top_k + choice goes to expert ids[p]. For each expert that occurs, in ascending order, one group;
// within a group pairs ascend. `tokens_of` and `pairs_of` (tokens * top_k each) get the token and the pair of every
// entry; `starts` is scratch for experts + 1 values; `groups` has room for min(experts, tokens * top_k).
// kBadBundle (detail = the id, detail2 = the token) if an id is not below `experts`: the kernel image is wrong.
Status GroupByExpert(const int32_t *ids, uint32_t tokens, uint32_t top_k, uint32_t experts, uint32_t *starts,
                     int32_t *tokens_of, int32_t *pairs_of, ExpertGroup *groups, uint32_t *group_count);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_GROUP_H_
