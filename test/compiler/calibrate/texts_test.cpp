#include "compiler/calibrate/texts.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

namespace emoe {
namespace {

std::vector<int32_t> ids(size_t count, int32_t first) {
  std::vector<int32_t> result(count);
  std::iota(result.begin(), result.end(), first);
  return result;
}

TEST(Texts, EveryFileIsInBothParts) {
  for (size_t files : {1, 2, 3, 4, 5, 8}) {
    std::vector<std::vector<int32_t>> all;
    for (size_t f = 0; f < files; ++f) {
      all.push_back(ids(8 * kWindow, 100000 * f));
    }
    auto texts = cutWindows(all, 1 << 20);
    ASSERT_TRUE(texts.ok()) << texts.status();
    EXPECT_EQ(texts->windows.size(), 8 * files);
    std::map<uint32_t, std::set<bool>> parts;
    for (const Window &window : texts->windows) {
      parts[window.file].insert(window.heldOut);
    }
    for (auto &[file, both] : parts) {
      EXPECT_EQ(both.size(), 2u) << file;
    }
    EXPECT_EQ(texts->fitTokens, 3 * texts->heldOutTokens);
  }
}

TEST(Texts, TakesEvenlyWhatTheLengthsAllow) {
  // Six windows of three files: the short one gives its only window, the others the rest, spread over their length.
  auto texts = cutWindows({ids(10 * kWindow, 0), ids(300, 1000000), ids(4 * kWindow + 1, 2000000)}, 5 * kWindow + 1);
  ASSERT_TRUE(texts.ok()) << texts.status();
  std::map<uint32_t, std::vector<int32_t>> firsts;
  uint64_t tokens = 0;
  for (const Window &window : texts->windows) {
    firsts[window.file].push_back(window.text[0]);
    tokens += window.text.size();
  }
  EXPECT_EQ(firsts[0], (std::vector<int32_t>{0, 3 * 512, 6 * 512}));
  EXPECT_EQ(firsts[1], (std::vector<int32_t>{1000000}));
  EXPECT_EQ(firsts[2], (std::vector<int32_t>{2000000, 2000000 + 2 * 512}));
  EXPECT_EQ(texts->fitTokens + texts->heldOutTokens, tokens);
  EXPECT_EQ(texts->windows[0].file, 0u);
  EXPECT_EQ(texts->windows[1].file, 1u);
}

TEST(Texts, HoldsSomethingOutOfAShortText) {
  auto texts = cutWindows({ids(kWindow + 20, 0)}, 1 << 20);
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_EQ(texts->fitTokens, kWindow);
  EXPECT_EQ(texts->heldOutTokens, 20u);
}

TEST(Texts, RefusesWhatIsTooShort) {
  for (size_t count : {size_t{0}, size_t{1}, size_t{kWindow}}) {
    auto texts = cutWindows({ids(count, 0)}, 1 << 20);
    EXPECT_EQ(texts.status().code(), absl::StatusCode::kInvalidArgument) << count;
    EXPECT_NE(texts.status().message().find("too short"), absl::string_view::npos);
  }
}

} // namespace
} // namespace emoe
