// A recursive-descent parser; nesting is bounded. Meanings follow Oniguruma (its RE document, syntax "Oniguruma").
#include "compiler/tokenizer/regex.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/text/utf8.h"

namespace emoe {
namespace {

using Node = std::unique_ptr<Regex>;

Node make(Regex::Kind kind) {
  Node node = std::make_unique<Regex>();
  node->kind = kind;
  return node;
}

Node makeSet(CodeSet set) {
  Node node = make(Regex::Kind::Set);
  node->set = std::move(set);
  return node;
}

CodeSet one(uint32_t code) { return CodeSet(code, code); }

// Oniguruma's \w outside of classes takes Latin-1's superscripts and fractions, too (its table for bytes does).
CodeSet word(bool inClass) {
  CodeSet set = wordSet();
  if (!inClass) {
    set.add(0xb2, 0xb3);
    set.add(0xb9, 0xb9);
    set.add(0xbc, 0xbe);
  }
  return set;
}

class Parser {
public:
  explicit Parser(absl::string_view pattern) : pattern(pattern) {}

  absl::StatusOr<Node> run() {
    Node node = alternation(0);
    if (status.ok() && !atEnd()) {
      fail("an unmatched )", "remove it or write \\)");
    }
    if (!status.ok()) {
      return status;
    }
    return node;
  }

private:
  static constexpr int kDeepest = 64;

  bool atEnd() const { return at >= pattern.size(); }
  bool next(absl::string_view text) const { return pattern.substr(at, text.size()) == text; }
  bool take(absl::string_view text) {
    if (!next(text)) {
      return false;
    }
    at += text.size();
    return true;
  }

  // Both return null, for the callers' convenience; the first error is kept.
  Node fail(absl::string_view what, absl::string_view remedy) {
    if (status.ok()) {
      status = absl::InvalidArgumentError(absl::StrCat("pattern, byte ", at, ": ", what, "; ", remedy));
    }
    return nullptr;
  }
  Node refuse(absl::string_view what, absl::string_view remedy = "rewrite the pattern without it") {
    if (status.ok()) {
      status = absl::UnimplementedError(absl::StrCat("pattern, byte ", at, ": ", what, " is not supported; ", remedy));
    }
    return nullptr;
  }

  Node alternation(int depth);
  Node concatenation(int depth);
  Node atom(int depth);
  Node group(int depth);
  Node look(int depth, bool negative);
  Node quantified(Node node);
  bool interval(uint32_t &least, uint32_t &most);
  bool characterClass(int depth, CodeSet &set);
  bool classItems(int depth, CodeSet &set);
  bool classItem(int depth, CodeSet &set, uint32_t &single);
  bool escape(bool inClass, CodeSet &set, uint32_t &single);
  bool property(bool negated, CodeSet &set);
  bool hexadecimal(size_t digits, uint32_t &code);
  uint32_t character();
  Node literal(uint32_t code);
  Node caselessClass(CodeSet set);

  static constexpr uint32_t kNoSingle = 0xffffffff;
  absl::string_view pattern;
  size_t at = 0;
  bool caseless = false;
  uint32_t lastCaseless = 0;  // the lower-case letter before, if it was a caseless literal
  absl::Status status;
};

uint32_t Parser::character() {
  rt::Utf8Head head = rt::ReadUtf8(reinterpret_cast<const uint8_t *>(pattern.data()) + at, pattern.size() - at);
  at += head.length;
  return head.code;
}

Node Parser::alternation(int depth) {
  if (depth > kDeepest) {
    return refuse("nesting this deep");
  }
  bool outer = caseless;
  Node result = make(Regex::Kind::Alternate);
  do {
    Node part = concatenation(depth);
    if (!part) {
      return nullptr;
    }
    result->parts.push_back(std::move(part));
  } while (take("|"));
  caseless = outer;
  return result->parts.size() == 1 ? std::move(result->parts[0]) : std::move(result);
}

Node Parser::concatenation(int depth) {
  Node result = make(Regex::Kind::Concat);
  lastCaseless = 0;
  while (!atEnd() && !next("|") && !next(")")) {
    size_t before = at;
    uint32_t previous = lastCaseless;
    lastCaseless = 0;
    Node part = atom(depth);
    if (!part) {
      return nullptr;
    }
    // Oniguruma folds some letter pairs into one character (ss and sharp s, ligatures); our caseless literals do not.
    if (lastCaseless && previous) {
      std::string pair = {static_cast<char>(previous), static_cast<char>(lastCaseless)};
      for (const char *folded : {"ss", "st", "ff", "fi", "fl"}) {
        if (pair == folded) {
          at = before;
          return refuse(absl::StrCat("\"", pair, "\" without regard to case"), "write both cases as classes");
        }
      }
    }
    result->parts.push_back(std::move(part));
  }
  return result->parts.size() == 1 ? std::move(result->parts[0]) : std::move(result);
}

Node Parser::literal(uint32_t code) {
  if (!caseless) {
    return makeSet(one(code));
  }
  if (code > 0x7f) {
    return refuse("a character beyond ASCII under (?i)", "write its cases as a class");
  }
  Node node = caselessClass(one(code));
  uint32_t lower = code >= 'A' && code <= 'Z' ? code + 32 : code;
  lastCaseless = lower >= 'a' && lower <= 'z' ? lower : 0;
  return node;
}

// Case folding of ASCII letters: the other case, and the long s and the kelvin sign, which fold to s and k.
Node Parser::caselessClass(CodeSet set) {
  CodeSet cased;
  for (const char *name : {"lc", "nl", "mn", "so"}) {
    cased.add(*propertySet(name));
  }
  if (!set.intersect(CodeSet(0x80, kLastCodePoint)).disjoint(cased)) {
    return refuse("a class with letters beyond ASCII under (?i)", "write both cases in the class, outside of (?i)");
  }
  for (uint32_t lower = 'a'; lower <= 'z'; ++lower) {
    if (set.contains(lower) || set.contains(lower - 32)) {
      set.add(lower, lower);
      set.add(lower - 32, lower - 32);
      if (lower == 's' || lower == 'k') {
        set.add(one(lower == 's' ? 0x17f : 0x212a));
      }
    }
  }
  return makeSet(std::move(set));
}

Node Parser::atom(int depth) {
  if (next("(")) {
    return group(depth);
  }
  if (next("[")) {
    CodeSet set;
    if (!characterClass(depth, set)) {
      return nullptr;
    }
    Node node = caseless ? caselessClass(std::move(set)) : makeSet(std::move(set));
    return node ? quantified(std::move(node)) : nullptr;
  }
  if (next("*") || next("+") || next("?")) {
    return fail("nothing to repeat", "escape the quantifier with a backslash");
  }
  if (next("^")) {
    return refuse("^");
  }
  if (take("$")) {  // the end of the text, or before a line feed
    Node node = make(Regex::Kind::Look);
    node->set = one('\n');
    node->atEnd = true;
    return node;
  }
  Node node;
  if (take(".")) {
    node = makeSet(one('\n').complement());
  } else if (next("\\")) {
    CodeSet set;
    uint32_t single = kNoSingle;
    if (!escape(false, set, single)) {
      return nullptr;
    }
    node = single != kNoSingle ? literal(single) : caseless ? caselessClass(std::move(set)) : makeSet(std::move(set));
  } else {
    node = literal(character());
  }
  return node ? quantified(std::move(node)) : nullptr;
}

Node Parser::group(int depth) {
  if (take("(?=")) {
    return look(depth, false);
  }
  if (take("(?!")) {
    return look(depth, true);
  }
  if (next("(?<=") || next("(?<!")) {
    return refuse("looking behind");
  }
  if (next("(?>")) {
    return refuse("an atomic group", "possessive quantifiers on classes are");
  }
  bool outer = caseless;
  if (take("(?:")) {
  } else if (take("(?i:")) {
    caseless = true;
  } else if (take("(?-i:")) {
    caseless = false;
  } else if (take("(?i)")) {  // for the rest of the group around it, alternatives included
    caseless = true;
    return alternation(depth + 1);
  } else if (next("(?")) {
    return refuse(absl::StrCat("the group ", pattern.substr(at, 4)));
  } else {
    take("(");
  }
  Node node = alternation(depth + 1);
  caseless = outer;
  if (!node) {
    return nullptr;
  }
  if (!take(")")) {
    return fail("a group without its )", "close it");
  }
  lastCaseless = 0;
  return quantified(std::move(node));
}

Node Parser::look(int depth, bool negative) {
  Node inside = alternation(depth + 1);
  if (!inside) {
    return nullptr;
  }
  if (!take(")")) {
    return fail("a look-ahead without its )", "close it");
  }
  // Alternatives of single characters are one class.
  CodeSet set;
  if (inside->kind == Regex::Kind::Set) {
    set = inside->set;
  } else if (inside->kind == Regex::Kind::Alternate &&
             std::all_of(inside->parts.begin(), inside->parts.end(),
                         [](const Node &part) { return part->kind == Regex::Kind::Set; })) {
    for (const Node &part : inside->parts) {
      set.add(part->set);
    }
  } else {
    return refuse("looking ahead at more than one character");
  }
  Node node = make(Regex::Kind::Look);
  node->set = negative ? set.complement() : set;
  node->atEnd = negative;
  return node;
}

// {m} {m,} {,n} {m,n} at `at`; false (and nothing taken) if there is something else, which is then literal.
bool Parser::interval(uint32_t &least, uint32_t &most) {
  size_t from = at + 1;
  auto number = [&](uint32_t &value) {
    size_t begin = from;
    value = 0;
    while (from < pattern.size() && pattern[from] >= '0' && pattern[from] <= '9' && from - begin < 5) {
      value = value * 10 + (pattern[from++] - '0');
    }
    return from > begin;
  };
  bool hasLeast = number(least), hasMost = false;
  if (from < pattern.size() && pattern[from] == ',') {
    ++from;
    hasMost = number(most);
    if (!hasMost) {
      most = Regex::kUnlimited;
    }
  } else {
    most = least;
  }
  if ((!hasLeast && !hasMost) || from >= pattern.size() || pattern[from] != '}') {
    return false;
  }
  at = from + 1;
  return true;
}

Node Parser::quantified(Node node) {
  uint32_t least = 0, most = Regex::kUnlimited;
  bool braces = false;
  if (take("*")) {
  } else if (take("+")) {
    least = 1;
  } else if (take("?")) {
    most = 1;
  } else if (next("{") && interval(least, most)) {
    braces = true;
  } else {
    return node;
  }
  lastCaseless = 0;
  if (most < least) {
    return fail("a repeat whose most is below its least", "swap them");
  }
  Node result = make(Regex::Kind::Repeat);
  if (braces && (next("?") || next("+"))) {
    // Oniguruma reads {m,n}+ as a repeat of the repeat, and {n}? as an option.
    if (next("+") || least == most) {
      return refuse("a quantifier behind {}", "put the repeat into a group");
    }
  }
  if (take("?")) {
    result->greed = Regex::Greed::Lazy;
  } else if (!braces && take("+")) {
    result->greed = Regex::Greed::Possessive;
  }
  if (next("*") || next("+") || next("?")) {
    return refuse("a repeat of a repeat", "put the inner one into a group");
  }
  result->least = least;
  result->most = most;
  result->parts.push_back(std::move(node));
  return result;
}

bool Parser::hexadecimal(size_t digits, uint32_t &code) {
  code = 0;
  for (size_t i = 0; i < digits; ++i, ++at) {
    char c = at < pattern.size() ? pattern[at] : ' ';
    uint32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 16;
    if (digit > 15) {
      fail("not a hexadecimal number", "give all digits");
      return false;
    }
    code = code << 4 | digit;
  }
  if (code > kLastCodePoint) {
    fail("a code point above 10FFFF", "correct it");
    return false;
  }
  return true;
}

bool Parser::property(bool negated, CodeSet &set) {
  size_t close = pattern.find('}', at);
  if (!take("{") || close == absl::string_view::npos) {
    fail("a property without {name}", "write \\p{L}");
    return false;
  }
  absl::string_view name = pattern.substr(at, close - at);
  if (!name.empty() && name[0] == '^') {
    negated = !negated;
    name.remove_prefix(1);
  }
  std::optional<CodeSet> found = propertySet(name);
  if (!found) {
    refuse(absl::StrCat("the property ", name), "use general categories such as \\p{L}, or ranges");
    return false;
  }
  at = close + 1;
  set = negated ? found->complement() : *found;
  return true;
}

// A backslash and what follows: a set, or a single character in `single`.
bool Parser::escape(bool inClass, CodeSet &set, uint32_t &single) {
  ++at;
  if (atEnd()) {
    fail("a backslash at the end", "write \\\\");
    return false;
  }
  size_t start = at;
  uint32_t c = character();
  CodeSet hex('0', '9');
  hex.add('A', 'F');
  hex.add('a', 'f');
  switch (c) {
  case 's': set = spaceSet(); return true;
  case 'S': set = spaceSet().complement(); return true;
  case 'd': set = digitSet(); return true;
  case 'D': set = digitSet().complement(); return true;
  case 'w': set = word(inClass); return true;
  case 'W': set = word(inClass).complement(); return true;
  case 'h': set = hex; return true;
  case 'H': set = hex.complement(); return true;
  case 'p': return property(false, set);
  case 'P': return property(true, set);
  case 'n': single = '\n'; return true;
  case 'r': single = '\r'; return true;
  case 't': single = '\t'; return true;
  case 'f': single = '\f'; return true;
  case 'v': single = '\v'; return true;
  case 'a': single = '\a'; return true;
  case 'e': single = 0x1b; return true;
  case 'u': return hexadecimal(4, single);
  case 'x':
    if (take("{")) {
      size_t close = pattern.find('}', at);
      if (close == absl::string_view::npos || close == at || close - at > 8) {
        fail("\\x{ without its number", "write \\x{H..}");
        return false;
      }
      return hexadecimal(close - at, single) && take("}");
    }
    if (!hexadecimal(2, single)) {
      return false;
    }
    if (single > 0x7f) {
      refuse("\\xHH of a byte beyond ASCII", "write \\x{H..} for a character");
      return false;
    }
    return true;
  default:
    break;
  }
  bool letterOrDigit = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
  if (letterOrDigit) {
    at = start;
    refuse(absl::StrCat("\\", std::string(1, static_cast<char>(c)), inClass ? " in a class" : ""));
    return false;
  }
  single = c;
  return true;
}

// [...] or [^...], the bracket not yet taken.
bool Parser::characterClass(int depth, CodeSet &set) {
  if (depth > kDeepest) {
    refuse("nesting this deep");
    return false;
  }
  take("[");
  bool negated = take("^");
  if (next("]")) {
    fail("an empty class", "write \\] for the bracket itself");
    return false;
  }
  if (!classItems(depth, set)) {
    return false;
  }
  while (take("&&")) {
    CodeSet other;
    if (!classItems(depth, other)) {
      return false;
    }
    set = set.intersect(other);
  }
  if (!take("]")) {
    fail("a class without its ]", "close it");
    return false;
  }
  if (negated) {
    set = set.complement();
  }
  return true;
}

bool Parser::classItems(int depth, CodeSet &set) {
  while (!atEnd() && !next("]") && !next("&&")) {
    CodeSet item;
    uint32_t first = kNoSingle;
    if (!classItem(depth, item, first)) {
      return false;
    }
    if (first == kNoSingle) {
      set.add(item);
      continue;
    }
    uint32_t last = first;
    if (next("-") && !next("-]") && !next("-&&")) {
      take("-");
      CodeSet unused;
      last = kNoSingle;
      if (next("[") || !classItem(depth, unused, last) || last == kNoSingle) {
        fail("a range that ends in a class", "write \\- for the sign itself");
        return false;
      }
      if (last < first) {
        fail("a range whose end is before its begin", "swap them");
        return false;
      }
    }
    set.add(first, last);
  }
  return true;
}

bool Parser::classItem(int depth, CodeSet &set, uint32_t &single) {
  if (next("[:")) {
    for (auto [name, property] : {std::pair("[:space:]", &spaceSet()), {"[:digit:]", &digitSet()}}) {
      if (take(name)) {
        set = *property;
        return true;
      }
    }
    refuse(absl::StrCat("the class ", pattern.substr(at, 12)), "use \\p{..}");
    return false;
  }
  if (next("[")) {
    return characterClass(depth + 1, set);
  }
  if (next("\\")) {
    return escape(true, set, single);
  }
  single = character();
  return true;
}

} // namespace

absl::StatusOr<Node> parseRegex(absl::string_view pattern) {
  const uint8_t *bytes = reinterpret_cast<const uint8_t *>(pattern.data());
  bool valid;
  rt::RepairedBytes(bytes, pattern.size(), &valid);
  if (!valid) {
    return absl::InvalidArgumentError("pattern: not UTF-8; save the file as UTF-8");
  }
  return Parser(pattern).run();
}

Node literalRegex(absl::string_view text) {
  Node result = make(Regex::Kind::Concat);
  const uint8_t *bytes = reinterpret_cast<const uint8_t *>(text.data());
  for (size_t at = 0; at < text.size();) {
    uint32_t length;
    result->parts.push_back(makeSet(one(rt::ReadValidUtf8(bytes + at, &length))));
    at += length;
  }
  return result;
}

} // namespace emoe
