// The calibration texts as windows of tokens, parted into those that are fitted to and those that are held out.
#ifndef EMOE_COMPILER_CALIBRATE_TEXTS_H_
#define EMOE_COMPILER_CALIBRATE_TEXTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace emoe {

// Tokens of text in a window; the model's first token, if it has one, heads it.
constexpr uint64_t kWindow = 512;
// Below this many tokens in all there is nothing to learn from and nothing to hold out.
constexpr uint64_t kFewestTokens = 64;

struct Window {
  uint32_t file = 0;
  std::vector<int32_t> text; // kWindow tokens; the last of a file may have fewer, but more than one
  bool heldOut = false;
};

struct Texts {
  std::vector<std::string> names; // of the files, without folders
  std::string hash;               // of all bytes, in order
  std::vector<Window> windows;    // files take turns
  uint64_t fitTokens = 0, heldOutTokens = 0;
};

// Encodes the files with compiled tokenizer tables. At most `tokens` tokens (rounded up to windows) are taken: as evenly
// as the files' lengths allow, and in each file from its beginning to its end. Window i of file f is held out if
// (i + f) % 4 == 3; if none is, the last one is. NotFound, Unavailable: a file cannot be read; InvalidArgument: a file
// is empty, or all together are too short.
absl::StatusOr<Texts> readTexts(const std::vector<std::string> &files, const std::vector<uint8_t> &tokenizer,
                                uint64_t tokens);

// The same from ids, one list a file; for readTexts and tests.
absl::StatusOr<Texts> cutWindows(const std::vector<std::vector<int32_t>> &ids, uint64_t tokens);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_TEXTS_H_
