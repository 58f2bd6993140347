// Text to tokens and back, by the bundle's tables.
#ifndef EMOE_TOOLS_EMOE_RT_VOCABULARY_H_
#define EMOE_TOOLS_EMOE_RT_VOCABULARY_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

class Vocabulary {
 public:
  // `section`: the checked tokenizer section, 64-aligned; it must outlive this.
  Status Open(const void *section, size_t bytes);

  // Token ids of a text, without the model's first token. kUsage if there are more than `capacity`.
  Status Encode(const char *text, size_t bytes, bool parse_special, int32_t *ids, size_t capacity, size_t *count);

  // The bytes of a token: not always whole characters. Empty for a special token.
  Text Decode(int32_t id) const;

 private:
  const void *section_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_VOCABULARY_H_
