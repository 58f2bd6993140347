#include "tools/emoe-rt/vocabulary.h"

namespace emoe::rt {

Status Vocabulary::Open(const void *section, size_t bytes) {
  section_ = section;
  bytes_ = bytes;
  return Error(StatusCode::kUnsupported, "this build of emoe-rt has no tokenizer yet: use logits --tokens");
}

Status Vocabulary::Encode(const char *, size_t, bool, int32_t *, size_t, size_t *count) {
  *count = 0;
  return Error(StatusCode::kUnsupported, "this build of emoe-rt has no tokenizer yet: use logits --tokens");
}

Text Vocabulary::Decode(int32_t) const { return {}; }

}  // namespace emoe::rt
