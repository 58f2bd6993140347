#include "runtime/experts/group.h"

namespace emoe::rt {

Status GroupByExpert(const int32_t *ids, uint32_t tokens, uint32_t top_k, uint32_t experts, uint32_t *starts,
                     int32_t *tokens_of, int32_t *pairs_of, ExpertGroup *groups, uint32_t *group_count) {
  uint32_t pairs = tokens * top_k;
  for (uint32_t expert = 0; expert <= experts; ++expert) starts[expert] = 0;
  for (uint32_t pair = 0; pair < pairs; ++pair) {
    if (static_cast<uint32_t>(ids[pair]) >= experts) {
      return Error(StatusCode::kBadBundle, "the router chose an expert that does not exist: number",
                   static_cast<uint32_t>(ids[pair]), pair / top_k);
    }
    ++starts[ids[pair] + 1];
  }
  uint32_t count = 0;
  for (uint32_t expert = 0; expert < experts; ++expert) {
    if (starts[expert + 1] != 0) groups[count++] = {expert, starts[expert], starts[expert + 1]};
    starts[expert + 1] += starts[expert];
  }
  for (uint32_t pair = 0; pair < pairs; ++pair) {
    uint32_t at = starts[ids[pair]]++;
    tokens_of[at] = static_cast<int32_t>(pair / top_k);
    pairs_of[at] = static_cast<int32_t>(pair);
  }
  *group_count = count;
  return OkStatus();
}

}  // namespace emoe::rt
