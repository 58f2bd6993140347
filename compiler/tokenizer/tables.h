// What a tokenizer is, in the terms of the runtime, and the section that holds it.
#ifndef EMOE_COMPILER_TOKENIZER_TABLES_H_
#define EMOE_COMPILER_TOKENIZER_TABLES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/tokenizer/regex.h"
#include "runtime/text/tokenizer_tables.h"

namespace emoe {

struct TokenizerModel {
  struct Token {
    std::string bytes;  // what decoding gives
    uint8_t flags = 0;  // rt::kToken*; 0: no such id
    bool byteLevel = false;  // from the vocabulary, and merging or `ignoreMerges` can give it
  };
  struct AddedToken {
    std::string text;
    int32_t id;
    bool normalised;  // matched on normalised text
  };
  struct Merge {
    uint32_t left, right, id;
  };
  struct Split {
    std::unique_ptr<Regex> pattern;
    std::string where;  // for errors
    rt::SplitBehaviour behaviour;
    bool invert;
  };
  std::vector<Token> tokens;  // by id
  std::vector<AddedToken> added;
  int32_t byteIds[256];
  std::vector<Merge> merges;  // by rank
  std::vector<Split> splits;  // in order of application
  bool ignoreMerges = false, prefixSpace = false, nfc = false;
  bool hasTemplate = false;  // the file itself says what heads a text: `firstToken`, or -1, nothing
  int32_t firstToken = -1;
};

// InvalidArgument, Unimplemented: as compileTokenizer; the messages lack the file's name.
absl::StatusOr<std::vector<uint8_t>> writeTokenizerTables(const TokenizerModel &model);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_TABLES_H_
