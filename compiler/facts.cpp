#include "compiler/facts.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

namespace emoe {

ModelFiles findModelFiles(const std::string &modelPath) {
  llvm::StringRef folder = llvm::sys::path::parent_path(modelPath);
  auto find = [&](std::initializer_list<const char *> names) -> std::string {
    for (llvm::StringRef where : {"", ".."}) {
      for (const char *name : names) {
        llvm::SmallString<256> path(folder);
        llvm::sys::path::append(path, where, name);
        if (llvm::sys::fs::is_regular_file(path)) {
          return std::string(path);
        }
      }
    }
    return "";
  };
  return {find({"config.json", "genai_config.json"}), find({"generation_config.json"}),
          find({"genai_config.json"}), find({"tokenizer.json"})};
}

static absl::StatusOr<llvm::json::Object> readObject(const std::string &path) {
  constexpr uint64_t kLargest = 16 << 20;
  uint64_t size = 0;
  if (llvm::sys::fs::file_size(path, size)) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  if (size > kLargest) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": larger than 16 MiB, this is no configuration"));
  }
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    return absl::NotFoundError(absl::StrCat(path, ": ", buffer.getError().message()));
  }
  llvm::Expected<llvm::json::Value> value = llvm::json::parse((*buffer)->getBuffer());
  if (!value) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not JSON: ", llvm::toString(value.takeError())));
  }
  llvm::json::Object *object = value->getAsObject();
  if (!object) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": must be a JSON object"));
  }
  return std::move(*object);
}

// A token id field that may be null, a number, or (stop tokens) a list of numbers.
static absl::Status readTokens(const std::string &path, const llvm::json::Object &object, llvm::StringRef key,
                               std::vector<int32_t> &tokens) {
  const llvm::json::Value *value = object.get(key);
  if (!value || value->kind() == llvm::json::Value::Null) {
    return absl::OkStatus();
  }
  auto add = [&](const llvm::json::Value &item) {
    std::optional<int64_t> id = item.getAsInteger();
    if (!id || *id < 0 || *id > INT32_MAX) {
      return false;
    }
    tokens.push_back(static_cast<int32_t>(*id));
    return true;
  };
  tokens.clear();
  bool good = true;
  if (const llvm::json::Array *list = value->getAsArray()) {
    for (const llvm::json::Value &item : *list) {
      good = good && add(item);
    }
  } else {
    good = add(*value);
  }
  return good ? absl::OkStatus()
              : absl::InvalidArgumentError(
                    absl::StrCat(path, ": ", key.str(), " must be a token id, a list of token ids or null"));
}

// The first provider of ONNX Runtime that the model was made for.
static std::string providerOf(const llvm::json::Object &genai) {
  const llvm::json::Object *object = &genai;
  for (const char *key : {"model", "decoder", "session_options"}) {
    object = object ? object->getObject(key) : nullptr;
  }
  const llvm::json::Array *providers = object ? object->getArray("provider_options") : nullptr;
  for (const llvm::json::Value &provider : providers ? *providers : llvm::json::Array()) {
    if (const llvm::json::Object *named = provider.getAsObject(); named && !named->empty()) {
      return llvm::StringRef(named->begin()->first).str();
    }
  }
  return "";
}

absl::StatusOr<ModelFacts> readModelFacts(const std::string &config, const std::string &generationConfig,
                                          const std::string &genaiConfig) {
  ModelFacts facts;
  auto readFrom = [&](const std::string &path, const llvm::json::Object &object) -> absl::Status {
    std::vector<int32_t> first;
    if (absl::Status status = readTokens(path, object, "bos_token_id", first); !status.ok()) {
      return status;
    }
    if (!first.empty()) {
      facts.firstToken = first[0];
    }
    return readTokens(path, object, "eos_token_id", facts.stopTokens);
  };
  if (!config.empty()) {
    absl::StatusOr<llvm::json::Object> object = readObject(config);
    if (!object.ok()) {
      return object.status();
    }
    // genai_config.json keeps its facts one level down; multimodal configurations keep the decoder's in text_config.
    const llvm::json::Object *model = object->getObject("model");
    const llvm::json::Object *text = object->getObject("text_config");
    const llvm::json::Object &facts_ = model ? *model : text ? *text : *object;
    for (const char *key : {"model_type", "type"}) {
      if (auto architecture = facts_.getString(key)) {
        facts.architecture = architecture->str();
      }
    }
    for (const char *key : {"max_position_embeddings", "context_length"}) {
      if (auto context = facts_.getInteger(key); context && *context > 0) {
        facts.context = *context;
      }
    }
    for (const llvm::json::Object *source : {static_cast<const llvm::json::Object *>(&*object), &facts_}) {
      if (absl::Status status = readFrom(config, *source); !status.ok()) {
        return status;
      }
    }
  }
  if (!genaiConfig.empty()) {
    absl::StatusOr<llvm::json::Object> object = readObject(genaiConfig);
    if (!object.ok()) {
      return object.status();
    }
    facts.device = providerOf(*object);
  }
  if (!generationConfig.empty()) {
    absl::StatusOr<llvm::json::Object> object = readObject(generationConfig);
    if (!object.ok()) {
      return object.status();
    }
    if (absl::Status status = readFrom(generationConfig, *object); !status.ok()) {
      return status;
    }
  }
  return facts;
}

} // namespace emoe
