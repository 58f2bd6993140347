#include "compiler/tokenizer/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "compiler/bundle/writer.h"
#include "compiler/facts.h"
#include "compiler/tokenizer/read_json.h"
#include "compiler/tokenizer/tables.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "runtime/text/tokenizer.h"

namespace emoe {

// Reads a whole file; errors name it.
static absl::StatusOr<std::unique_ptr<llvm::MemoryBuffer>> readFile(const std::string &path) {
  constexpr uint64_t kLargest = 256 << 20;
  uint64_t size = 0;
  if (llvm::sys::fs::file_size(path, size)) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  if (size > kLargest) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": larger than 256 MiB, this is no tokenizer"));
  }
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    return absl::NotFoundError(absl::StrCat(path, ": ", buffer.getError().message()));
  }
  return std::move(*buffer);
}

static absl::string_view textOf(const llvm::MemoryBuffer &buffer) {
  return absl::string_view(buffer.getBufferStart(), buffer.getBufferSize());
}

static absl::Status inFile(const std::string &path, const absl::Status &status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// The token that heads every text (see the header); -1: none.
static absl::StatusOr<int32_t> decideFirstToken(const TokenizerModel &model, const std::string &tokenizerJsonPath,
                                                int32_t configured) {
  llvm::SmallString<256> path(llvm::sys::path::parent_path(tokenizerJsonPath));
  llvm::sys::path::append(path, "tokenizer_config.json");
  TokenizerConfig config;
  if (llvm::sys::fs::is_regular_file(path)) {
    auto buffer = readFile(std::string(path));
    if (!buffer.ok()) {
      return buffer.status();
    }
    absl::StatusOr<TokenizerConfig> read = readTokenizerConfig(textOf(**buffer));
    if (!read.ok()) {
      return inFile(std::string(path), read.status());
    }
    config = std::move(*read);
  }
  if (config.addFirst == false) {
    return -1;
  }
  if (config.addFirst == true) {
    for (const TokenizerModel::AddedToken &added : model.added) {
      if (config.first && !config.first->empty() && added.text == *config.first) {
        return added.id;
      }
    }
    int32_t first = model.hasTemplate ? model.firstToken : configured;
    return first >= 0 ? absl::StatusOr<int32_t>(first)
                      : absl::InvalidArgumentError(absl::StrCat(
                            std::string(path), ": add_bos_token is true, but no token is named that would be added"));
  }
  if (model.hasTemplate) {
    return model.firstToken;
  }
  return config.first && config.first->empty() ? -1 : configured;
}

absl::StatusOr<std::vector<uint8_t>> compileTokenizer(const std::string &tokenizerJsonPath,
                                                      const TokenizerFacts &facts) {
  auto named = [&](const absl::Status &status) { return inFile(tokenizerJsonPath, status); };
  auto buffer = readFile(tokenizerJsonPath);
  if (!buffer.ok()) {
    return buffer.status();
  }
  absl::StatusOr<TokenizerModel> model = readTokenizerJson(textOf(**buffer));
  if (!model.ok()) {
    return named(model.status());
  }
  int64_t last = static_cast<int64_t>(model->tokens.size()) - 1;
  if (facts.vocab > 0 && last >= facts.vocab) {
    return named(absl::InvalidArgumentError(
        absl::StrCat("token ", last, " is beyond the model's ", facts.vocab,
                     " rows: this is another model's tokenizer; give the right one with --tokenizer")));
  }
  if (facts.firstToken >= 0 && (facts.firstToken > last || !model->tokens[facts.firstToken].flags)) {
    return named(absl::InvalidArgumentError(
        absl::StrCat("has no token ", facts.firstToken, ", which the configuration calls the first token: this is "
                     "another model's tokenizer")));
  }
  absl::StatusOr<int32_t> first = decideFirstToken(*model, tokenizerJsonPath, facts.firstToken);
  if (!first.ok()) {
    return first.status();
  }
  model->firstToken = *first;
  absl::StatusOr<std::vector<uint8_t>> tables = writeTokenizerTables(*model);
  return tables.ok() ? std::move(tables) : named(tables.status());
}

int32_t firstTokenOf(const std::vector<uint8_t> &tables) {
  rt::Tokenizer tokenizer;
  return rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer).ok() ? tokenizer.first_token : -1;
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
