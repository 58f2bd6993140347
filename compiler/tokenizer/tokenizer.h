// tokenizer.json (of Hugging Face's tokenizers) -> the tables of schema/FORMAT.md, "tokenizer".
#ifndef EMOE_COMPILER_TOKENIZER_TOKENIZER_H_
#define EMOE_COMPILER_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace emoe {

// What the model says about its tokens.
struct TokenizerFacts {
  int32_t firstToken = -1;  // heads every document; -1: the tokenizer's own post-processor decides
  int64_t vocab = 0;        // rows of the model's embedding; 0: unknown. A larger token id is an error
};

// Byte-level BPE with the pre-tokenizers ByteLevel, Split, Digits and Sequences of them. InvalidArgument: damaged, or
// not this model's; Unimplemented: a feature that is not supported, by name and place; NotFound: no such file.
absl::StatusOr<std::vector<uint8_t>> compileTokenizer(const std::string &tokenizerJsonPath,
                                                      const TokenizerFacts &facts);

// A bundle that holds a tokenizer alone (`emoec tokenizer`). The first token comes from the config.json beside it, if
// there is one. The output is complete or absent.
absl::Status writeTokenizerBundle(const std::string &tokenizerJsonPath, const std::string &output);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_TOKENIZER_H_
