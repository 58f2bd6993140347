// From the bytes of the index section to the tables of a Bundle: form only. What the numbers mean is check.h's.
#ifndef EMOE_RUNTIME_BUNDLE_INDEX_H_
#define EMOE_RUNTIME_BUNDLE_INDEX_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// `*memory` (from malloc) holds the index, `bytes` long. It is grown to hold the tables too, whose sizes follow from
// lists that are present in the bytes, and becomes bundle->memory, still owned by the caller through *memory.
// Every list is within its limit (schema/limits.h); no value is checked.
Status ReadIndex(void **memory, size_t bytes, Bundle *bundle);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_INDEX_H_
