// Byte pair encoding of one piece: the adjacent pair of lowest rank is merged, the leftmost first among equals, until
// no pair has a rank.
#ifndef EMOE_RUNTIME_TEXT_MERGE_H_
#define EMOE_RUNTIME_TEXT_MERGE_H_

#include "runtime/text/tokenizer_tables.h"

namespace emoe::rt {

// Where ids go: counted all, written while there is room.
struct TokenSink {
  int32_t *ids;
  size_t capacity, count;
  void Put(uint32_t id) {
    if (count < capacity) ids[count] = static_cast<int32_t>(id);
    ++count;
  }
};

// Bytes of working memory for a piece of `bytes`: three numbers a symbol and two heap entries.
constexpr uint64_t MergeScratchBytes(uint64_t bytes) { return 28 * bytes + 16; }

// `scratch`, aligned to 8, holds MergeScratchBytes(bytes). O(n log n) steps.
void MergePiece(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes, void *scratch, TokenSink *sink);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_MERGE_H_
