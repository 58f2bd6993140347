// Split patterns as trees. The language is what tokenizers use of Oniguruma's; the rest is refused by name.
#ifndef EMOE_COMPILER_TOKENIZER_REGEX_H_
#define EMOE_COMPILER_TOKENIZER_REGEX_H_

#include <memory>
#include <string>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compiler/tokenizer/unicode.h"

namespace emoe {

struct Regex {
  enum class Kind {
    Set,        // one character of `set`
    Concat,     // `parts` one after the other; none: the empty text
    Alternate,  // the first of `parts` that leads to a match of the whole
    Repeat,     // parts[0], `least` to `most` times
    Look        // the next character, which is not consumed, is of `set`; with `atEnd`, or there is none
  };
  enum class Greed { Greedy, Lazy, Possessive };
  static constexpr uint32_t kUnlimited = 0xffffffff;

  Kind kind = Kind::Concat;
  CodeSet set;
  std::vector<std::unique_ptr<Regex>> parts;
  uint32_t least = 0, most = 0;
  Greed greed = Greed::Greedy;
  bool atEnd = false;
};

// Accepts alternation, groups ( ) (?: ) (?i: ) (?-i: ) (?i), classes with ranges, escapes, [:space:], nesting and &&,
// . \s \S \d \D \w \W \h \H \p{..} \P{..} \p{^..} \n \r \t \f \v \a \e \xHH \x{H..} \uHHHH, quantifiers * + ? {m} {m,}
// {,n} {m,n}, each lazy with ?, and * + ? possessive with +; (?!x) (?=x) with x one character, and $ at the end.
// InvalidArgument: not a pattern; Unimplemented: a feature that is not supported. Both say where (byte) and what to do.
absl::StatusOr<std::unique_ptr<Regex>> parseRegex(absl::string_view pattern);

// The pattern that matches exactly `text` (valid UTF-8).
std::unique_ptr<Regex> literalRegex(absl::string_view text);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_REGEX_H_
