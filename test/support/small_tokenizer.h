// Small tokenizers for tests: a JSON text to change, and the model behind it.
#ifndef EMOE_TEST_SUPPORT_SMALL_TOKENIZER_H_
#define EMOE_TEST_SUPPORT_SMALL_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/tokenizer.h"

namespace emoe::test {

// A tokenizer.json: all bytes in order (ids 0 .. 255), then one token for each merge, then
//   <|end|> special, <|pad|> special strips both sides, "tool" a single word, "  " normalised.
// `preTokenizer` is JSON; `merges` are pairs such as "h e" (spaces of tokens as in the file's alphabet: Ġ).
std::string tokenizerJson(const std::string &preTokenizer, const std::vector<std::string> &merges = {},
                          const std::string &normalizer = "null", bool ignoreMerges = false);

// GPT-2's pre-tokenizer, and a Split by `regex` followed by ByteLevel.
std::string byteLevelJson();
std::string splitJson(const std::string &regex, const std::string &behaviour = "Isolated", bool invert = false);

// The tables of a JSON text.
absl::StatusOr<std::vector<uint8_t>> compileJson(const std::string &json);

// Tables in memory of exactly their size, aligned, so that sanitizers see every byte read too much.
class Tables {
public:
  explicit Tables(const std::vector<uint8_t> &bytes);
  ~Tables();
  Tables(const Tables &) = delete;
  uint8_t *data() { return memory; }
  size_t size() const { return bytes; }

private:
  uint8_t *memory;
  size_t bytes;
};

struct Encoded {
  rt::Status status;
  std::vector<int32_t> ids;
};
// Encodes with exactly the scratch that is asked for.
Encoded encode(const rt::Tokenizer &tokenizer, const std::string &text, rt::EncodeOptions options = {});

// The text of ids, streamed token by token.
std::string decode(const rt::Tokenizer &tokenizer, const std::vector<int32_t> &ids);

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_SMALL_TOKENIZER_H_
