#include "compiler/tokenizer/unicode.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

#include "compiler/tokenizer/unicode_data.inc"

namespace emoe {

void CodeSet::add(uint32_t first, uint32_t last) {
  // The first range that ends at or behind first - 1 is the first that can join.
  auto begin = std::lower_bound(list.begin(), list.end(), first,
                                [](const auto &range, uint32_t code) { return range.second + 1 < code; });
  auto end = begin;
  for (; end != list.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  list.insert(list.erase(begin, end), {first, last});
}

void CodeSet::add(const CodeSet &other) {
  for (auto [first, last] : other.list) {
    add(first, last);
  }
}

CodeSet CodeSet::complement() const {
  CodeSet result;
  uint32_t next = 0;
  for (auto [first, last] : list) {
    if (first > next) {
      result.list.emplace_back(next, first - 1);
    }
    next = last + 1;
  }
  if (next <= kLastCodePoint) {
    result.list.emplace_back(next, kLastCodePoint);
  }
  return result;
}

CodeSet CodeSet::intersect(const CodeSet &other) const {
  CodeSet result;
  for (size_t i = 0, j = 0; i < list.size() && j < other.list.size();) {
    uint32_t first = std::max(list[i].first, other.list[j].first);
    uint32_t last = std::min(list[i].second, other.list[j].second);
    if (first <= last) {
      result.list.emplace_back(first, last);
    }
    list[i].second < other.list[j].second ? ++i : ++j;
  }
  return result;
}

bool CodeSet::contains(uint32_t code) const {
  auto range = std::lower_bound(list.begin(), list.end(), code,
                                [](const auto &range, uint32_t code) { return range.second < code; });
  return range != list.end() && range->first <= code;
}

namespace {

constexpr const char *kCategoryNames[] = {"lu", "ll", "lt", "lm", "lo", "mn", "mc", "me", "nd", "nl",
                                          "no", "pc", "pd", "ps", "pe", "pi", "pf", "po", "sm", "sc",
                                          "sk", "so", "zs", "zl", "zp", "cc", "cf", "cs", "co", "cn"};
constexpr std::pair<const char *, const char *> kLongNames[] = {
    {"letter", "l"},          {"casedletter", "lc"},       {"uppercaseletter", "lu"},   {"lowercaseletter", "ll"},
    {"titlecaseletter", "lt"}, {"modifierletter", "lm"},   {"otherletter", "lo"},       {"mark", "m"},
    {"nonspacingmark", "mn"}, {"spacingmark", "mc"},       {"enclosingmark", "me"},     {"number", "n"},
    {"decimalnumber", "nd"},  {"letternumber", "nl"},      {"othernumber", "no"},       {"punctuation", "p"},
    {"connectorpunctuation", "pc"}, {"dashpunctuation", "pd"}, {"openpunctuation", "ps"}, {"closepunctuation", "pe"},
    {"initialpunctuation", "pi"}, {"finalpunctuation", "pf"}, {"otherpunctuation", "po"}, {"symbol", "s"},
    {"mathsymbol", "sm"},     {"currencysymbol", "sc"},    {"modifiersymbol", "sk"},    {"othersymbol", "so"},
    {"separator", "z"},       {"spaceseparator", "zs"},    {"lineseparator", "zl"},     {"paragraphseparator", "zp"},
    {"other", "c"},           {"control", "cc"},           {"format", "cf"},            {"privateuse", "co"},
    {"unassigned", "cn"}};

// A number in base 36 at `*at`, which moves behind it.
uint32_t readNumber(const char **at) {
  uint32_t value = 0;
  for (;; ++*at) {
    char c = **at;
    if (c >= '0' && c <= '9') {
      value = value * 36 + (c - '0');
    } else if (c >= 'a' && c <= 'z') {
      value = value * 36 + (c - 'a' + 10);
    } else {
      return value;
    }
  }
}

std::vector<uint32_t> readNumbers(const char *text) {
  std::vector<uint32_t> numbers;
  while (*text) {
    numbers.push_back(readNumber(&text));
    text += *text == ' ';
  }
  return numbers;
}

const std::map<std::string, CodeSet> &categories() {
  static const std::map<std::string, CodeSet> sets = [] {
    constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%";
    std::map<std::string, CodeSet> sets;
    uint32_t code = 0;
    for (const char *at = kCategories; *at;) {
      std::string name = kCategoryNames[kLetters.find(*at++)];
      uint32_t length = std::max(readNumber(&at), 1u);
      for (const std::string &set : {name, name.substr(0, 1)}) {
        sets[set].add(code, code + length - 1);
      }
      if (name == "lu" || name == "ll" || name == "lt") {
        sets["lc"].add(code, code + length - 1);
      }
      code += length;
    }
    return sets;
  }();
  return sets;
}

const CodeSet &category(const char *name) { return categories().at(name); }

CodeSet unionOf(std::initializer_list<const char *> names) {
  CodeSet result;
  for (const char *name : names) {
    result.add(category(name));
  }
  return result;
}

// Letters, letter numbers, and what Other_Alphabetic adds beside marks: circled and squared Latin letters.
CodeSet alphabetic() {
  CodeSet result = unionOf({"l", "nl"});
  result.add(0x24b6, 0x24e9);
  result.add(0x1f130, 0x1f149);
  result.add(0x1f150, 0x1f169);
  result.add(0x1f170, 0x1f189);
  return result;
}

// Script=Han of Unicode 14 (assigned code points).
CodeSet han() {
  CodeSet result;
  for (auto [first, last] : std::initializer_list<std::pair<uint32_t, uint32_t>>{
           {0x2e80, 0x2e99},   {0x2e9b, 0x2ef3},   {0x2f00, 0x2fd5},   {0x3005, 0x3005},   {0x3007, 0x3007},
           {0x3021, 0x3029},   {0x3038, 0x303b},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfa6d},
           {0xfa70, 0xfad9},   {0x16fe2, 0x16fe3}, {0x16ff0, 0x16ff1}, {0x20000, 0x2a6df}, {0x2a700, 0x2b738},
           {0x2b740, 0x2b81d}, {0x2b820, 0x2cea1}, {0x2ceb0, 0x2ebe0}, {0x2f800, 0x2fa1d}, {0x30000, 0x3134a}}) {
    result.add(first, last);
  }
  return result;
}

} // namespace

std::optional<CodeSet> propertySet(absl::string_view name) {
  std::string key;
  for (char c : name) {
    if (c != ' ' && c != '_' && c != '-') {
      key += c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
    }
  }
  for (auto [longName, shortName] : kLongNames) {
    if (key == longName) {
      key = shortName;
    }
  }
  if (auto set = categories().find(key); set != categories().end()) {
    return set->second;
  }
  if (key == "any") {
    return CodeSet(0, kLastCodePoint);
  }
  if (key == "ascii") {
    return CodeSet(0, 0x7f);
  }
  if (key == "whitespace" || key == "space") {
    return spaceSet();
  }
  if (key == "han") {
    return han();
  }
  return std::nullopt;
}

const CodeSet &spaceSet() {
  static const CodeSet set = [] {
    CodeSet set = category("z");
    set.add(0x09, 0x0d);
    set.add(0x85, 0x85);
    return set;
  }();
  return set;
}

const CodeSet &digitSet() { return category("nd"); }

const CodeSet &wordSet() {
  static const CodeSet set = [] {
    CodeSet set = alphabetic();
    set.add(unionOf({"m", "nd", "pc"}));
    return set;
  }();
  return set;
}

CodeSet boundaryWordSet() {
  CodeSet set = wordSet();
  set.add(0x200c, 0x200d);
  return set;
}

const std::vector<CanonicalPair> &canonicalPairs() {
  static const std::vector<CanonicalPair> pairs = [] {
    std::vector<uint32_t> numbers = readNumbers(kDecompositionData);
    std::vector<CanonicalPair> pairs;
    uint32_t code = 0;
    for (size_t i = 0; i + 3 < numbers.size(); i += 4) {
      code += numbers[i];
      pairs.push_back({code, numbers[i + 1], numbers[i + 2], numbers[i + 3] == 0});
    }
    return pairs;
  }();
  return pairs;
}

const std::vector<CombiningRun> &combiningRuns() {
  static const std::vector<CombiningRun> runs = [] {
    std::vector<uint32_t> numbers = readNumbers(kCombiningData);
    std::vector<CombiningRun> runs;
    uint32_t first = 0;
    for (size_t i = 0; i + 2 < numbers.size(); i += 3) {
      first += numbers[i];
      runs.push_back({first, first + numbers[i + 1] - 1, static_cast<uint8_t>(numbers[i + 2])});
    }
    return runs;
  }();
  return runs;
}

const char *unicodeVersion() { return kUnicodeVersion; }

} // namespace emoe
