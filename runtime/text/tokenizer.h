// Byte-level BPE from the tables that compiler/tokenizer writes (schema/FORMAT.md, "tokenizer"): text to token ids and
// back. No regex, no JSON, no recursion, no allocation. Everything is thread-compatible; an open Tokenizer is immutable
// and may be shared by threads.
#ifndef EMOE_RUNTIME_TEXT_TOKENIZER_H_
#define EMOE_RUNTIME_TEXT_TOKENIZER_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"
#include "runtime/text/tokenizer_tables.h"
#include "runtime/text/utf8.h"

namespace emoe::rt {

// Checks the tables wholly, so that Encode and Decode cannot leave them whatever they hold, and fills `out`, which
// borrows them: they must outlive it. `tables` must be aligned to 8 (a section read into an arena is).
// kBadBundle: damaged tables; `detail` is the offset. kUnsupported: a later version.
Status OpenTokenizer(const void *tables, size_t bytes, Tokenizer *out);

struct EncodeOptions {
  bool first_token = true;     // prepend the model's first token, if it has one (--no-bos: false)
  bool parse_special = false;  // special tokens in the text are those tokens; false: they are plain text
};

// Longest text that Encode takes, and the most ids that `bytes` of text can give, whatever the tables (valid UTF-8 that
// is in normal form gives at most bytes + 1).
constexpr uint64_t kLongestText = 64u << 20;
constexpr uint64_t MostTokens(uint64_t bytes) { return 14 * bytes + 3; }

// Memory that Encode needs for exactly this text. With m = RepairedBytes(text): 28 m + 24, and m more if the text is
// not UTF-8. Tokenizers that prepend a space need m + 40 more; those that normalise need 87 m + 64 in all (and m more)
// for texts that have anything to normalise.
uint64_t EncodeScratchBytes(const Tokenizer &tokenizer, const void *text, size_t bytes);

// Text to ids. Invalid UTF-8 is replaced by U+FFFD first. Takes O(n log n) time.
// ids may be null to count. `*count` gets the number of ids of the whole text; only the first `capacity` are written.
// `scratch` (aligned to 8) must hold EncodeScratchBytes of the same text.
// kUsage: the text is longer than kLongestText, or the scratch is too small (`detail`: bytes needed).
// kBadBundle: damaged tables that would take quadratic time.
Status Encode(const Tokenizer &tokenizer, const void *text, size_t bytes, const EncodeOptions &options, void *scratch,
              size_t scratch_bytes, int32_t *ids, size_t capacity, size_t *count);

// The bytes of a token (not always complete UTF-8: feed them to a Utf8Stream), null with *bytes = 0 for an id that
// names no token. Borrowed from the tables.
const uint8_t *TokenBytes(const Tokenizer &tokenizer, int32_t id, size_t *bytes);

// Whether `id` is a special token (end of text, turn markers, ...), which people do not want to see in text.
bool IsSpecial(const Tokenizer &tokenizer, int32_t id);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_TOKENIZER_H_
