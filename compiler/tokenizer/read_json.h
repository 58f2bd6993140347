// tokenizer.json -> TokenizerModel. What is not understood is refused by name: a tokenizer that is nearly right gives
// a model that is quietly wrong.
#ifndef EMOE_COMPILER_TOKENIZER_READ_JSON_H_
#define EMOE_COMPILER_TOKENIZER_READ_JSON_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compiler/tokenizer/tables.h"

namespace emoe {

// `text` is the file's content. Errors lack the file's name.
absl::StatusOr<TokenizerModel> readTokenizerJson(absl::string_view text);

// What tokenizer_config.json says about the token that heads a text.
struct TokenizerConfig {
  std::optional<bool> addFirst;      // add_bos_token
  std::optional<std::string> first;  // bos_token; empty: the file says that there is none
};
absl::StatusOr<TokenizerConfig> readTokenizerConfig(absl::string_view text);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_READ_JSON_H_
