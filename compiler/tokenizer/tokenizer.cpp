#include "compiler/tokenizer/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "compiler/bundle/writer.h"
#include "compiler/facts.h"
#include "compiler/tokenizer/read_json.h"
#include "compiler/tokenizer/tables.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

namespace emoe {

absl::StatusOr<std::vector<uint8_t>> compileTokenizer(const std::string &tokenizerJsonPath,
                                                      const TokenizerFacts &facts) {
  auto named = [&](const absl::Status &status) {
    return absl::Status(status.code(), absl::StrCat(tokenizerJsonPath, ": ", status.message()));
  };
  constexpr uint64_t kLargest = 256 << 20;
  uint64_t size = 0;
  if (llvm::sys::fs::file_size(tokenizerJsonPath, size)) {
    return named(absl::NotFoundError("cannot be read"));
  }
  if (size > kLargest) {
    return named(absl::InvalidArgumentError("larger than 256 MiB, this is no tokenizer"));
  }
  auto buffer = llvm::MemoryBuffer::getFile(tokenizerJsonPath);
  if (!buffer) {
    return named(absl::NotFoundError(buffer.getError().message()));
  }
  llvm::StringRef text = (*buffer)->getBuffer();
  absl::StatusOr<TokenizerModel> model = readTokenizerJson(absl::string_view(text.data(), text.size()));
  if (!model.ok()) {
    return named(model.status());
  }
  int64_t last = static_cast<int64_t>(model->tokens.size()) - 1;
  if (facts.vocab > 0 && last >= facts.vocab) {
    return named(absl::InvalidArgumentError(
        absl::StrCat("token ", last, " is beyond the model's ", facts.vocab,
                     " rows: this is another model's tokenizer; give the right one with --tokenizer")));
  }
  if (facts.firstToken >= 0) {
    if (facts.firstToken > last || !model->tokens[facts.firstToken].flags) {
      return named(absl::InvalidArgumentError(
          absl::StrCat("has no token ", facts.firstToken, ", which the configuration calls the first token: this is "
                       "another model's tokenizer")));
    }
    model->firstToken = facts.firstToken;
  }
  absl::StatusOr<std::vector<uint8_t>> tables = writeTokenizerTables(*model);
  return tables.ok() ? std::move(tables) : named(tables.status());
}

absl::Status writeTokenizerBundle(const std::string &tokenizerJsonPath, const std::string &output) {
  ModelFiles files = findModelFiles(tokenizerJsonPath);
  absl::StatusOr<ModelFacts> modelFacts = readModelFacts(files.config, files.generationConfig);
  if (!modelFacts.ok()) {
    return modelFacts.status();
  }
  TokenizerFacts facts;
  facts.firstToken = modelFacts->firstToken;
  absl::StatusOr<std::vector<uint8_t>> tables = compileTokenizer(tokenizerJsonPath, facts);
  if (!tables.ok()) {
    return tables.status();
  }
  BundleContents contents;
  contents.tokenizer = std::move(*tables);
  return writeBundle(contents, output);
}

} // namespace emoe
