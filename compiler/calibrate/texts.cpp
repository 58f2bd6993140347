#include "compiler/calibrate/texts.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"
#include "runtime/text/tokenizer.h"

namespace emoe {
namespace {

absl::StatusOr<std::vector<int32_t>> encode(const rt::Tokenizer &tokenizer, llvm::StringRef text) {
  rt::EncodeOptions options;
  options.first_token = false;
  std::vector<uint64_t> scratch(rt::EncodeScratchBytes(tokenizer, text.data(), text.size()) / 8 + 1);
  std::vector<int32_t> ids(text.size() + 64);
  for (;;) {
    size_t count = 0;
    rt::Status status = rt::Encode(tokenizer, text.data(), text.size(), options, scratch.data(), scratch.size() * 8,
                                   ids.data(), ids.size(), &count);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(status.what, " (", status.detail, ")"));
    }
    bool fits = count <= ids.size();
    ids.resize(count);
    if (fits) {
      return ids;
    }
  }
}

} // namespace

absl::StatusOr<Texts> cutWindows(const std::vector<std::vector<int32_t>> &ids, uint64_t tokens) {
  // A last window of one token would predict nothing without a head.
  std::vector<uint64_t> have, take(ids.size(), 0);
  for (const std::vector<int32_t> &file : ids) {
    have.push_back(file.size() / kWindow + (file.size() % kWindow > 1 ? 1 : 0));
  }
  uint64_t windows = (tokens + kWindow - 1) / kWindow;
  for (bool any = true; any && windows > 0;) {
    any = false;
    for (size_t file = 0; file < ids.size() && windows > 0; ++file) {
      if (take[file] < have[file]) {
        ++take[file];
        --windows;
        any = true;
      }
    }
  }
  Texts texts;
  uint64_t most = take.empty() ? 0 : *std::max_element(take.begin(), take.end());
  bool any = false;
  for (uint64_t i = 0; i < most; ++i) {
    for (size_t file = 0; file < ids.size(); ++file) {
      if (i >= take[file]) {
        continue;
      }
      uint64_t begin = i * have[file] / take[file] * kWindow;
      uint64_t end = std::min<uint64_t>(begin + kWindow, ids[file].size());
      bool heldOut = (i + file) % 4 == 3;
      any |= heldOut;
      texts.windows.push_back({static_cast<uint32_t>(file), {ids[file].begin() + begin, ids[file].begin() + end}, heldOut});
    }
  }
  if (!any && texts.windows.size() > 1) {
    texts.windows.back().heldOut = true;
  }
  for (const Window &window : texts.windows) {
    (window.heldOut ? texts.heldOutTokens : texts.fitTokens) += window.text.size();
  }
  if (texts.fitTokens + texts.heldOutTokens < kFewestTokens || texts.heldOutTokens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the calibration texts are too short: ", texts.fitTokens + texts.heldOutTokens, " tokens in ",
                     texts.windows.size(), " windows; give at least two windows of ", kWindow,
                     " tokens, better 32768 tokens of the kinds of text that the model will see"));
  }
  return texts;
}

absl::StatusOr<Texts> readTexts(const std::vector<std::string> &files, const std::vector<uint8_t> &tables,
                                uint64_t tokens) {
  std::vector<uint64_t> aligned(tables.size() / 8 + 1);
  std::memcpy(aligned.data(), tables.data(), tables.size());
  rt::Tokenizer tokenizer;
  if (rt::Status status = rt::OpenTokenizer(aligned.data(), tables.size(), &tokenizer); !status.ok()) {
    return absl::InternalError(absl::StrCat("the runtime refuses the tokenizer: ", status.what));
  }
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::string> names;
  std::string bytes;
  for (const std::string &file : files) {
    auto buffer = llvm::MemoryBuffer::getFile(file, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!buffer) {
      std::string message = absl::StrCat("calibration text ", file, ": ", buffer.getError().message());
      return buffer.getError() == std::errc::no_such_file_or_directory ? absl::NotFoundError(message)
                                                                       : absl::UnavailableError(message);
    }
    llvm::StringRef text = (*buffer)->getBuffer();
    absl::StatusOr<std::vector<int32_t>> encoded = encode(tokenizer, text);
    if (!encoded.ok()) {
      return absl::Status(encoded.status().code(),
                          absl::StrCat("calibration text ", file, ": ", encoded.status().message()));
    }
    if (encoded->empty()) {
      return absl::InvalidArgumentError(absl::StrCat("calibration text ", file, " is empty"));
    }
    llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
        llvm::ArrayRef(reinterpret_cast<const uint8_t *>(text.data()), text.size()));
    absl::StrAppend(&bytes, absl::Hex(hash.high64, absl::kZeroPad16), absl::Hex(hash.low64, absl::kZeroPad16));
    ids.push_back(std::move(*encoded));
    names.push_back(llvm::sys::path::filename(file).str());
  }
  absl::StatusOr<Texts> texts = cutWindows(ids, tokens);
  if (texts.ok()) {
    texts->names = std::move(names);
    llvm::XXH128_hash_t hash =
        llvm::xxh3_128bits(llvm::ArrayRef(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()));
    texts->hash = absl::StrCat("xxh3:", absl::Hex(hash.high64, absl::kZeroPad16), absl::Hex(hash.low64, absl::kZeroPad16));
  }
  return texts;
}

} // namespace emoe
