// Tokenizes many texts for tokenizer_diff.py: compiles argv[1] (a tokenizer.json), then answers requests on stdin.
// Request: uint32 flags (1: parse special tokens), uint32 bytes, the text. Answer: uint32 count, the ids, uint32 bytes,
// the text that the ids decode to, streamed token by token. An argument behind the tokenizer repeats each encoding so
// often and prints MB/s at the end.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "compiler/tokenizer/tokenizer.h"
#include "runtime/text/tokenizer.h"

using namespace emoe;

namespace {

bool readWhole(void *out, size_t bytes) { return std::fread(out, 1, bytes, stdin) == bytes; }

void writeWords(const void *data, uint32_t count, size_t size) {
  std::fwrite(&count, 4, 1, stdout);
  std::fwrite(data, size, count, stdout);
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    return 2;
  }
  absl::StatusOr<std::vector<uint8_t>> tables = compileTokenizer(argv[1], {});
  if (!tables.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tables.status().message()).c_str());
    return 3;
  }
  int repeats = argc > 2 ? std::atoi(argv[2]) : 1;
  rt::Tokenizer tokenizer;
  rt::Status opened = rt::OpenTokenizer(tables->data(), tables->size(), &tokenizer);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s (%llu)\n", opened.what, static_cast<unsigned long long>(opened.detail));
    return 3;
  }
  std::fprintf(stderr, "%s: %zu bytes of tables, %u classes\n", argv[1], tables->size(), tokenizer.classes);
  uint32_t request[2];
  double seconds = 0, bytes = 0;
  while (readWhole(request, sizeof(request))) {
    std::string text(request[1], '\0');
    if (!readWhole(text.data(), text.size())) {
      return 4;
    }
    rt::EncodeOptions options;
    options.first_token = false;
    options.parse_special = request[0] & 1;
    std::vector<uint64_t> scratch(rt::EncodeScratchBytes(tokenizer, text.data(), text.size()) / 8 + 1);
    std::vector<int32_t> ids(2 * text.size() + 16);
    size_t count = 0;
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) {
      rt::Status status = rt::Encode(tokenizer, text.data(), text.size(), options, scratch.data(), scratch.size() * 8,
                                     ids.data(), ids.size(), &count);
      if (!status.ok() || count > ids.size()) {
        std::fprintf(stderr, "encode: %s, %zu ids\n", status.what, count);
        return 1;
      }
      bytes += text.size();
    }
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    writeWords(ids.data(), count, 4);
    std::string decoded;
    rt::Utf8Stream stream;
    std::vector<char> out(rt::Utf8Stream::OutputBytes(tokenizer.longest_token));
    for (size_t i = 0; i < count; ++i) {
      size_t size;
      const uint8_t *token = rt::TokenBytes(tokenizer, ids[i], &size);
      decoded.append(out.data(), stream.Push(token, size, out.data()));
    }
    decoded.append(out.data(), stream.Finish(out.data()));
    writeWords(decoded.data(), decoded.size(), 1);
    std::fflush(stdout);
  }
  if (repeats > 1) {
    std::fprintf(stderr, "%.1f MB/s\n", bytes / seconds / 1e6);
  }
  return 0;
}
