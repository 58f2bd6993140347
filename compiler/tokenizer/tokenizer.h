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
  int32_t firstToken = -1;  // bos_token_id of its configuration; -1: none
  int64_t vocab = 0;        // rows of the model's embedding; 0: unknown. A larger token id is an error
};

// What heads every text is decided by add_bos_token of the tokenizer_config.json beside the file, else by the file's own
// template, else by a bos_token there that is null (nothing does), else by the configuration's first token: real
// configurations name one even where no tokenizer puts it before a text.
//
// Byte-level BPE with the pre-tokenizers ByteLevel, Split, Digits and Sequences of them. InvalidArgument: damaged, or
// not this model's; Unimplemented: a feature that is not supported, by name and place; NotFound: no such file.
absl::StatusOr<std::vector<uint8_t>> compileTokenizer(const std::string &tokenizerJsonPath,
                                                      const TokenizerFacts &facts);

// The token that heads a text by compileTokenizer's tables; -1: none.
int32_t firstTokenOf(const std::vector<uint8_t> &tables);

// A bundle that holds a tokenizer alone (`emoec tokenizer`). The first token comes from the config.json beside it, if
// there is one. The output is complete or absent.
absl::Status writeTokenizerBundle(const std::string &tokenizerJsonPath, const std::string &output);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_TOKENIZER_H_
