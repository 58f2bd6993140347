// Tokenizer tables and text. The first byte chooses: damaged tables (a patch of the good ones: 3 bytes of offset and a
// byte of value each, up to a zero offset) with the rest as text; bytes as a split pattern, whose automaton then cuts
// the rest; or bytes as a tokenizer.json.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

void run(const std::vector<uint8_t> &bytes, const std::string &text) {
  Tables tables(bytes);
  rt::Tokenizer tokenizer;
  if (!rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer).ok()) {
    return;
  }
  for (bool special : {false, true}) {
    rt::EncodeOptions options;
    options.parse_special = special;
    Encoded encoded = encode(tokenizer, text, options);
    for (int32_t id : encoded.ids) {
      if (id < 0 || static_cast<uint32_t>(id) >= tokenizer.vocab) {
        std::abort();
      }
    }
    decode(tokenizer, encoded.ids);
  }
}

// Up to a zero byte; what follows stays in `rest`.
std::string takeText(std::string &rest) {
  size_t end = std::min(rest.find('\0'), rest.size());
  std::string text = rest.substr(0, end);
  rest.erase(0, end + 1);
  return text;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::vector<uint8_t> good =
      *compileJson(tokenizerJson(splitJson(R"(\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"),
                                 {"h e", "l l", "he ll", "a a", "aa aa"}, R"({"type": "NFC"})"));
  if (size < 1) {
    return 0;
  }
  std::string rest(reinterpret_cast<const char *>(data) + 1, size - 1);
  if (data[0] % 4 < 2) {
    std::vector<uint8_t> bad = good;
    while (rest.size() >= 4) {
      uint8_t patch[4];
      std::memcpy(patch, rest.data(), 4);
      rest.erase(0, 4);
      size_t at = patch[0] | patch[1] << 8 | patch[2] << 16;
      if (at == 0) {
        break;
      }
      bad[at % bad.size()] = patch[3];
    }
    run(bad, rest);
  } else if (data[0] % 4 == 2) {
    std::string pattern = takeText(rest);
    bool valid;
    rt::RepairedBytes(reinterpret_cast<const uint8_t *>(pattern.data()), pattern.size(), &valid);
    if (valid && pattern.size() < 200) {
      absl::StatusOr<std::vector<uint8_t>> tables = compileJson(tokenizerJson(splitJson(pattern)));
      if (tables.ok()) {
        run(*tables, rest);
      }
    }
  } else {
    absl::StatusOr<std::vector<uint8_t>> tables = compileJson(takeText(rest));
    if (tables.ok()) {
      run(*tables, rest);
    }
  }
  return 0;
}
