// Patterns -> automata over character classes that find what a backtracking matcher would find: of all matches that
// begin at a place, the one whose first alternatives and longest greedy repeats come first.
//
// A state of the automaton is the ordered list of places in the pattern where a backtracking matcher could be, best
// first, cut behind the first that has matched: what ranks lower can no longer win. So the last acceptance on the way
// is the match. A look-ahead waits for one more character, and then accepts up to before it. The alphabet is not bytes
// but classes of code points that no pattern of the tokenizer tells apart: some 20 instead of 256, which keeps the
// tables of all real tokenizers at a few kilobytes, plus one map from code points to classes.
#ifndef EMOE_COMPILER_TOKENIZER_AUTOMATON_H_
#define EMOE_COMPILER_TOKENIZER_AUTOMATON_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/tokenizer/regex.h"

namespace emoe {

// A partition of all code points: sets are unions of classes.
struct ClassMap {
  std::vector<uint8_t> classOf;           // [0x110000]
  std::vector<uint32_t> representatives;  // a code point of each class
  size_t size() const { return representatives.size(); }
};
// Unimplemented if more than 256 classes are needed.
absl::StatusOr<ClassMap> partitionCodePoints(const std::vector<CodeSet> &sets);

// The sets that decide what `pattern` matches.
void collectSets(const Regex &pattern, std::vector<CodeSet> &sets);

// State 0 is dead, state 1 the start; minimal.
struct Automaton {
  std::vector<uint16_t> transitions;  // [states][classes]
  std::vector<uint8_t> accepts;       // [states], rt::kAccept* flags
};

// `classes` must refine the pattern's sets. Unimplemented, with the reason: a look-ahead that is not at the end, a
// possessive repeat that is not the same as the greedy one, a repeat of what may be empty, a pattern that matches the
// empty text, one that may search long before it gives up, one that is too large.
absl::StatusOr<Automaton> buildAutomaton(const Regex &pattern, const ClassMap &classes);

} // namespace emoe

#endif // EMOE_COMPILER_TOKENIZER_AUTOMATON_H_
