// emoec explain: what the compiler decided for a bundle, and why, in words and tables.
#ifndef EMOE_TOOLS_EMOEC_EXPLAIN_H_
#define EMOE_TOOLS_EMOEC_EXPLAIN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace emoe {

struct ExplainOptions {
  uint64_t budget = 0;     // bytes; 0: as much as is useful
  double storage = 500e6;  // bytes a second
  double computing = 0;    // seconds a token with all experts in memory, as emoe-rt bench measures it; 0: not known
};

// Text for people. The status codes are those of the runtime's refusals: DataLoss, Unimplemented, Unavailable.
absl::StatusOr<std::string> explainBundle(const std::string &path, const ExplainOptions &options);

} // namespace emoe

#endif // EMOE_TOOLS_EMOEC_EXPLAIN_H_
