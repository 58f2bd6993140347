// Sets of code points, and the properties that tokenizers' patterns name. The data is unicode_data.inc.
#ifndef EMOE_COMPILER_TOKENIZER_UNICODE_H_
#define EMOE_COMPILER_TOKENIZER_UNICODE_H_

#include <cstdint>
#include <optional>

#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace emoe {

constexpr uint32_t kLastCodePoint = 0x10ffff;

// Sorted, disjoint, non-adjacent ranges, both ends included.
class CodeSet {
public:
  CodeSet() = default;
  CodeSet(uint32_t first, uint32_t last) : list{{first, last}} {}

  void add(uint32_t first, uint32_t last);
  void add(const CodeSet &other);
  CodeSet complement() const;
  CodeSet intersect(const CodeSet &other) const;
  bool contains(uint32_t code) const;
  bool disjoint(const CodeSet &other) const { return intersect(other).empty(); }
  bool empty() const { return list.empty(); }
  const std::vector<std::pair<uint32_t, uint32_t>> &ranges() const { return list; }
  bool operator==(const CodeSet &other) const { return list == other.list; }
  bool operator<(const CodeSet &other) const { return list < other.list; }

private:
  std::vector<std::pair<uint32_t, uint32_t>> list;
};

// A general category ("Lu"), a group of them ("L", "LC"), a long name of either ("Letter"), "Alphabetic", "White_Space",
// "Any", "ASCII", or "Han"; case, spaces, '-' and '_' do not matter. Nothing for an unknown name.
std::optional<CodeSet> propertySet(absl::string_view name);

const CodeSet &spaceSet();  // \s: White_Space
const CodeSet &digitSet();  // \d: Nd
const CodeSet &wordSet();   // \w: Alphabetic, M, Nd, Pc
CodeSet boundaryWordSet();  // \w of Rust's regex package: Alphabetic, M, Nd, Pc, and the joiners

struct CanonicalPair {
  uint32_t code, first, second;  // second is 0 for a singleton
  bool composes;                 // normal form C makes `code` of the pair
};
const std::vector<CanonicalPair> &canonicalPairs();  // sorted by code; without Hangul syllables

struct CombiningRun {
  uint32_t first, last;
  uint8_t combiningClass;
};
const std::vector<CombiningRun> &combiningRuns();  // sorted; all others are of class 0

// "14.0.0"
const char *unicodeVersion();

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_UNICODE_H_
