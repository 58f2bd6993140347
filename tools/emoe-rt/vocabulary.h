// Text to tokens and back, by the bundle's tables.
#ifndef EMOE_TOOLS_EMOE_RT_VOCABULARY_H_
#define EMOE_TOOLS_EMOE_RT_VOCABULARY_H_

#include "runtime/bundle/bundle.h"
#include "runtime/text/tokenizer.h"

namespace emoe::rt {

// Ids of a text by the tokenizer section of a bundle. Tables and scratch have memory of their own, given back at the
// end: called before the session maps its arena, they need no share of the budget beside it. With a `budget` (bytes, 0:
// none), kBudget if they do not fit it. kUsage if there are more than `capacity` ids.
Status EncodeText(Provider &provider, const Section &section, uint64_t budget, const char *text, size_t bytes,
                  const EncodeOptions &options, int32_t *ids, size_t capacity, size_t *count);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_VOCABULARY_H_
