#include "compiler/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

using namespace emoe;

namespace {

TEST(CodeSet, JoinsAndCuts) {
  CodeSet set(10, 20);
  set.add(30, 40);
  set.add(21, 25);
  EXPECT_EQ(set.ranges(), (std::vector<std::pair<uint32_t, uint32_t>>{{10, 25}, {30, 40}}));
  set.add(26, 29);
  EXPECT_EQ(set.ranges(), (std::vector<std::pair<uint32_t, uint32_t>>{{10, 40}}));
  set.add(0, 3);
  EXPECT_EQ(set.complement().ranges(), (std::vector<std::pair<uint32_t, uint32_t>>{{4, 9}, {41, kLastCodePoint}}));
  EXPECT_EQ(set.complement().complement(), set);
  EXPECT_EQ(set.intersect(CodeSet(2, 12)).ranges(), (std::vector<std::pair<uint32_t, uint32_t>>{{0 + 2, 3}, {10, 12}}));
  EXPECT_TRUE(set.contains(40));
  EXPECT_FALSE(set.contains(41));
  EXPECT_FALSE(set.contains(5));
  EXPECT_EQ(CodeSet().complement(), CodeSet(0, kLastCodePoint));
}

TEST(Unicode, CategoriesCoverEverythingOnce) {
  CodeSet all;
  uint64_t count = 0;
  for (const char *name : {"L", "M", "N", "P", "S", "Z", "C"}) {
    CodeSet set = *propertySet(name);
    EXPECT_TRUE(all.disjoint(set)) << name;
    all.add(set);
    for (auto [first, last] : set.ranges()) {
      count += last - first + 1;
    }
  }
  EXPECT_EQ(count, kLastCodePoint + 1u);
}

TEST(Unicode, KnownCharacters) {
  EXPECT_TRUE(propertySet("Lu")->contains('A'));
  EXPECT_TRUE(propertySet("Uppercase_Letter")->contains(0x410));
  EXPECT_TRUE(propertySet("Lo")->contains(0x6f22));
  EXPECT_TRUE(propertySet("Nl")->contains(0x2167));
  EXPECT_TRUE(propertySet("cs")->contains(0xd800));
  EXPECT_FALSE(propertySet("Cn")->contains(0x1f680));
  EXPECT_FALSE(propertySet("Klingon"));
  EXPECT_TRUE(spaceSet().contains(0x85) && spaceSet().contains(0x3000) && !spaceSet().contains(0x200b));
  EXPECT_TRUE(wordSet().contains('_') && !wordSet().contains(0xb2) && !wordSet().contains(0x200d));
  EXPECT_TRUE(boundaryWordSet().contains(0x200d) && !boundaryWordSet().contains(0xb2));
}

// With Python of the same Unicode version, every code point (else this is skipped).
TEST(Unicode, AgreesWithPython) {
  std::string python = std::getenv("EMOE_PYTHON") ? std::getenv("EMOE_PYTHON") : "python3";
  std::string command = python + " -c \"import sys,unicodedata as u\nif u.unidata_version != '" + unicodeVersion() +
                        "': sys.exit(77)\nsys.stdout.write(''.join(u.category(chr(c)) for c in range(0x110000)))\"";
  FILE *pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string categories(2 * (kLastCodePoint + 1), '\0');
  size_t bytes = std::fread(categories.data(), 1, categories.size(), pipe);
  int status = pclose(pipe);
  if (status != 0) {
    GTEST_SKIP() << "no Python with Unicode " << unicodeVersion();
  }
  ASSERT_EQ(bytes, categories.size());
  for (const char *name : {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
                           "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"}) {
    CodeSet expected;
    for (uint32_t code = 0; code <= kLastCodePoint; ++code) {
      if (categories.compare(2 * code, 2, name) == 0) {
        expected.add(code, code);
      }
    }
    EXPECT_EQ(*propertySet(name), expected) << name;
  }
}

} // namespace
