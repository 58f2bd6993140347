#include "compiler/tokenizer/read_json.h"

#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "llvm/Support/JSON.h"
#include "runtime/text/utf8.h"

namespace emoe {
namespace {

using llvm::StringRef;
using llvm::json::Array;
using llvm::json::Object;
using llvm::json::Value;

// GPT-2's alphabet: a printable character for each byte, so that tokens can stand in a text file.
struct ByteAlphabet {
  std::unordered_map<uint32_t, uint8_t> byteOf;  // by code point
  uint32_t charOf[256];

  ByteAlphabet() {
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      charOf[byte] = printable ? byte : next++;
      byteOf[charOf[byte]] = byte;
    }
  }

  // The bytes that `text` stands for; nothing if it has a character outside the alphabet.
  std::optional<std::string> decode(StringRef text) const {
    std::string bytes;
    const uint8_t *from = text.bytes_begin();
    for (size_t at = 0; at < text.size();) {
      uint32_t length;
      auto found = byteOf.find(rt::ReadValidUtf8(from + at, &length));
      if (found == byteOf.end()) {
        return std::nullopt;
      }
      bytes += static_cast<char>(found->second);
      at += length;
    }
    return bytes;
  }

  std::string encode(uint8_t byte) const {
    uint8_t text[4];
    return std::string(reinterpret_cast<char *>(text), rt::WriteUtf8(charOf[byte], text));
  }
};

const ByteAlphabet &alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

// GPT-2's pattern, as the ByteLevel pre-tokenizer has it.
constexpr const char *kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::Status damaged(const std::string &where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, " ", what));
}
absl::Status refused(const std::string &where, absl::string_view what, absl::string_view remedy) {
  return absl::UnimplementedError(absl::StrCat(where, ": ", what, " is not supported; ", remedy));
}

bool isAbsent(const Value *value) { return !value || value->kind() == Value::Null; }

#define RETURN_IF_ERROR(expr)                                                                                           \
  do {                                                                                                                  \
    if (absl::Status status_ = (expr); !status_.ok())                                                                   \
      return status_;                                                                                                   \
  } while (0)

class Reader {
public:
  explicit Reader(const Object &root) : root(root) {}
  absl::StatusOr<TokenizerModel> run();

private:
  absl::Status readModel();
  absl::Status readVocabulary(const Object &vocab);
  absl::Status readMerges(const Array &merges);
  absl::Status readAddedTokens();
  absl::Status readNormaliser(const Value *value, const std::string &where);
  absl::Status readPreTokenizer(const Value *value, const std::string &where);
  absl::Status readByteLevel(const Object &object, const std::string &where);
  absl::Status readSplit(const Object &object, const std::string &where);
  absl::Status readPostProcessor(const Value *value, const std::string &where);
  absl::Status readTemplate(const Object &object, const std::string &where);
  absl::Status readDecoder(const Value *value, const std::string &where);
  absl::Status addSplit(absl::StatusOr<std::unique_ptr<Regex>> pattern, const std::string &where,
                        rt::SplitBehaviour behaviour, bool invert);

  static absl::StatusOr<bool> flag(const Object &object, StringRef key, bool otherwise, const std::string &where) {
    const Value *value = object.get(key);
    if (isAbsent(value)) {
      return otherwise;
    }
    if (auto boolean = value->getAsBoolean()) {
      return *boolean;
    }
    return damaged(where, absl::StrCat("has a ", key.str(), " that is neither true nor false"));
  }

  const Object &root;
  TokenizerModel result;
  std::unordered_map<std::string, uint32_t> ids;
  bool sawByteLevel = false;
};

absl::Status Reader::readVocabulary(const Object &vocab) {
  int64_t largest = -1;
  for (const auto &[text, value] : vocab) {
    std::optional<int64_t> id = value.getAsInteger();
    if (!id || *id < 0 || *id >= rt::kMaxTokens) {
      return damaged("model.vocab", absl::StrCat("gives \"", text.str(), "\" no id between 0 and ",
                                                 rt::kMaxTokens - 1));
    }
    largest = std::max(largest, *id);
    ids[text.str()] = *id;
  }
  if (largest < 0) {
    return damaged("model.vocab", "is empty");
  }
  result.tokens.resize(largest + 1);
  for (const auto &[text, id] : ids) {
    TokenizerModel::Token &token = result.tokens[id];
    if (token.flags) {
      return damaged("model.vocab", absl::StrCat("has two tokens with id ", id));
    }
    if (text.size() > rt::kMaxTokenBytes) {
      return refused("model.vocab", absl::StrCat("a token of ", text.size(), " bytes"), "shorten it");
    }
    std::optional<std::string> bytes = alphabet().decode(text);
    token.flags = rt::kTokenExists;
    token.byteLevel = bytes && !bytes->empty();
    token.bytes = bytes ? *bytes : text;
  }
  size_t missing = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    auto found = ids.find(alphabet().encode(byte));
    result.byteIds[byte] = found == ids.end() ? -1 : static_cast<int32_t>(found->second);
    // These never occur in UTF-8.
    bool occurs = !(byte == 0xc0 || byte == 0xc1 || byte >= 0xf5);
    missing += occurs && found == ids.end();
  }
  if (missing == 244 || missing > 200) {
    return refused("model.vocab", "a vocabulary that is not of bytes", "use a byte-level BPE tokenizer");
  }
  const Object &model = *root.getObject("model");
  if (missing > 0 && !isAbsent(model.get("unk_token"))) {
    return refused("model.unk_token", absl::StrCat("an unknown token (", missing, " bytes have no token)"),
                   "use a tokenizer whose vocabulary has all bytes");
  }
  return absl::OkStatus();
}

absl::Status Reader::readMerges(const Array &merges) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    std::string where = absl::StrCat("model.merges[", rank, "]");
    StringRef left, right;
    if (auto text = merges[rank].getAsString()) {
      if (text->starts_with("#version")) {
        continue;
      }
      std::tie(left, right) = text->split(' ');
      if (right.contains(' ') || left.empty() || right.empty()) {
        return damaged(where, "is not two tokens with a space between them");
      }
    } else if (const Array *pair = merges[rank].getAsArray();
               pair && pair->size() == 2 && (*pair)[0].getAsString() && (*pair)[1].getAsString()) {
      left = *(*pair)[0].getAsString();
      right = *(*pair)[1].getAsString();
    } else {
      return damaged(where, "is neither \"a b\" nor [\"a\", \"b\"]");
    }
    uint32_t found[3];
    std::string texts[3] = {left.str(), right.str(), left.str() + right.str()};
    for (int i = 0; i < 3; ++i) {
      auto id = ids.find(texts[i]);
      if (id == ids.end()) {
        return damaged(where, absl::StrCat("needs the token \"", texts[i], "\", which is not in model.vocab"));
      }
      found[i] = id->second;
    }
    result.merges.push_back({found[0], found[1], found[2]});
  }
  return absl::OkStatus();
}

absl::Status Reader::readModel() {
  const Object *model = root.getObject("model");
  if (!model) {
    return damaged("model", "is missing: this is no tokenizer.json");
  }
  StringRef type = model->getString("type").value_or("BPE");
  if (type != "BPE") {
    return refused("model.type", type.str(), "only byte-level BPE is");
  }
  for (StringRef key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const Value *value = model->get(key); !isAbsent(value) && value->getAsString() != std::optional<StringRef>("")) {
      return refused(absl::StrCat("model.", key.str()), "a non-empty value", "only byte-level BPE is");
    }
  }
  if (const Value *dropout = model->get("dropout"); !isAbsent(dropout) && dropout->getAsNumber() != std::optional(0.0)) {
    return refused("model.dropout", "random dropping of merges", "set it to null");
  }
  absl::StatusOr<bool> fallback = flag(*model, "byte_fallback", false, "model");
  if (!fallback.ok() || *fallback) {
    return fallback.ok() ? refused("model.byte_fallback", "falling back to byte tokens", "only byte-level BPE is")
                         : fallback.status();
  }
  absl::StatusOr<bool> ignoreMerges = flag(*model, "ignore_merges", false, "model");
  if (!ignoreMerges.ok()) {
    return ignoreMerges.status();
  }
  result.ignoreMerges = *ignoreMerges;
  const Object *vocab = model->getObject("vocab");
  const Array *merges = model->getArray("merges");
  if (!vocab || !merges) {
    return damaged("model", "has no vocab or no merges");
  }
  RETURN_IF_ERROR(readVocabulary(*vocab));
  return readMerges(*merges);
}

absl::Status Reader::readAddedTokens() {
  const Value *value = root.get("added_tokens");
  if (isAbsent(value)) {
    return absl::OkStatus();
  }
  const Array *list = value->getAsArray();
  if (!list) {
    return damaged("added_tokens", "is not a list");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    std::string where = absl::StrCat("added_tokens[", i, "]");
    const Object *token = (*list)[i].getAsObject();
    std::optional<int64_t> id = token ? token->getInteger("id") : std::nullopt;
    std::optional<StringRef> content = token ? token->getString("content") : std::nullopt;
    if (!id || *id < 0 || *id >= rt::kMaxTokens || !content) {
      return damaged(where, "has no id or no content");
    }
    if (content->empty()) {
      continue;  // as the tokenizers library does
    }
    auto known = ids.find(content->str());
    if (known != ids.end() && known->second != *id) {
      return damaged(where, absl::StrCat("\"", content->str(), "\" has id ", *id, ", but model.vocab says ",
                                         known->second));
    }
    if (static_cast<size_t>(*id) >= result.tokens.size()) {
      result.tokens.resize(*id + 1);
    }
    TokenizerModel::Token &entry = result.tokens[*id];
    if (entry.flags && known == ids.end()) {
      return damaged(where, absl::StrCat("has id ", *id, ", which is another token's"));
    }
    ids[content->str()] = *id;
    std::optional<std::string> bytes = alphabet().decode(*content);
    entry.bytes = bytes ? *bytes : content->str();
    entry.flags = rt::kTokenExists;
    const std::pair<StringRef, uint8_t> kFlags[] = {{"special", rt::kTokenSpecial},
                                                    {"lstrip", rt::kTokenStripLeft},
                                                    {"rstrip", rt::kTokenStripRight},
                                                    {"single_word", rt::kTokenSingleWord}};
    for (auto [key, bit] : kFlags) {
      absl::StatusOr<bool> set = flag(*token, key, false, where);
      if (!set.ok()) {
        return set.status();
      }
      entry.flags |= *set ? bit : 0;
    }
    absl::StatusOr<bool> normalised = flag(*token, "normalized", true, where);
    if (!normalised.ok()) {
      return normalised.status();
    }
    result.added.push_back({content->str(), static_cast<int32_t>(*id), *normalised});
  }
  return absl::OkStatus();
}

absl::Status Reader::readNormaliser(const Value *value, const std::string &where) {
  if (isAbsent(value)) {
    return absl::OkStatus();
  }
  const Object *object = value->getAsObject();
  StringRef type = object ? object->getString("type").value_or("") : "";
  if (type == "Sequence") {
    const Array *list = object->getArray("normalizers");
    if (!list) {
      return damaged(where, "is a Sequence without its list");
    }
    for (size_t i = 0; i < list->size(); ++i) {
      RETURN_IF_ERROR(readNormaliser(&(*list)[i], absl::StrCat(where, "[", i, "]")));
    }
    return absl::OkStatus();
  }
  if (type == "NFC") {
    result.nfc = true;
    return absl::OkStatus();
  }
  return refused(where, type.empty() ? "a normalizer without a type" : type.str(), "NFC is; remove it if the model allows");
}

absl::Status Reader::addSplit(absl::StatusOr<std::unique_ptr<Regex>> pattern, const std::string &where,
                              rt::SplitBehaviour behaviour, bool invert) {
  if (!pattern.ok()) {
    return absl::Status(pattern.status().code(), absl::StrCat(where, ": ", pattern.status().message()));
  }
  if (sawByteLevel) {
    return refused(where, "a pre-tokenizer behind ByteLevel", "put ByteLevel last");
  }
  result.splits.push_back({std::move(*pattern), where, behaviour, invert});
  return absl::OkStatus();
}

absl::Status Reader::readByteLevel(const Object &object, const std::string &where) {
  absl::StatusOr<bool> prefix = flag(object, "add_prefix_space", true, where);
  absl::StatusOr<bool> useRegex = flag(object, "use_regex", true, where);
  if (!prefix.ok() || !useRegex.ok()) {
    return prefix.ok() ? useRegex.status() : prefix.status();
  }
  if (sawByteLevel) {
    return refused(where, "a second ByteLevel", "remove it");
  }
  if (*prefix) {
    if (!result.splits.empty()) {
      return refused(absl::StrCat(where, ".add_prefix_space"), "a space before each piece of an earlier pre-tokenizer",
                     "put ByteLevel first, or set it to false");
    }
    result.prefixSpace = true;
  }
  if (*useRegex) {
    RETURN_IF_ERROR(addSplit(parseRegex(kByteLevelPattern), where, rt::SplitBehaviour::kIsolated, false));
  }
  sawByteLevel = true;
  return absl::OkStatus();
}

absl::Status Reader::readSplit(const Object &object, const std::string &where) {
  const std::pair<StringRef, rt::SplitBehaviour> kBehaviours[] = {
      {"Isolated", rt::SplitBehaviour::kIsolated},
      {"Removed", rt::SplitBehaviour::kRemoved},
      {"Contiguous", rt::SplitBehaviour::kContiguous},
      {"MergedWithPrevious", rt::SplitBehaviour::kMergedWithPrevious},
      {"MergedWithNext", rt::SplitBehaviour::kMergedWithNext}};
  StringRef name = object.getString("behavior").value_or("");
  std::optional<rt::SplitBehaviour> behaviour;
  for (auto [known, value] : kBehaviours) {
    if (name == known) {
      behaviour = value;
    }
  }
  if (!behaviour) {
    return refused(absl::StrCat(where, ".behavior"), absl::StrCat("\"", name.str(), "\""),
                   "use Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext");
  }
  absl::StatusOr<bool> invert = flag(object, "invert", false, where);
  if (!invert.ok()) {
    return invert.status();
  }
  const Object *pattern = object.getObject("pattern");
  std::string at = absl::StrCat(where, ".pattern");
  if (auto regex = pattern ? pattern->getString("Regex") : std::nullopt) {
    return addSplit(parseRegex(absl::string_view(regex->data(), regex->size())), at, *behaviour, *invert);
  }
  if (auto text = pattern ? pattern->getString("String") : std::nullopt) {
    return addSplit(literalRegex(absl::string_view(text->data(), text->size())), at, *behaviour, *invert);
  }
  return damaged(at, "is neither {\"Regex\": ..} nor {\"String\": ..}");
}

absl::Status Reader::readPreTokenizer(const Value *value, const std::string &where) {
  const Object *object = isAbsent(value) ? nullptr : value->getAsObject();
  StringRef type = object ? object->getString("type").value_or("") : "";
  if (type == "ByteLevel") {
    return readByteLevel(*object, where);
  }
  if (type == "Split") {
    return readSplit(*object, where);
  }
  if (type == "Digits") {
    absl::StatusOr<bool> individual = flag(*object, "individual_digits", false, where);
    if (!individual.ok()) {
      return individual.status();
    }
    return addSplit(parseRegex("\\p{N}"), where,
                    *individual ? rt::SplitBehaviour::kIsolated : rt::SplitBehaviour::kContiguous, false);
  }
  if (type == "Sequence") {
    const Array *list = object->getArray("pretokenizers");
    if (!list) {
      return damaged(where, "is a Sequence without its list");
    }
    for (size_t i = 0; i < list->size(); ++i) {
      RETURN_IF_ERROR(readPreTokenizer(&(*list)[i], absl::StrCat(where, "[", i, "]")));
    }
    return absl::OkStatus();
  }
  return refused(where, type.empty() ? "no pre-tokenizer" : type.str(),
                 "ByteLevel, Split, Digits and Sequences of them are");
}

// Offsets are all that ByteLevel's post-processing changes; a template may put the first token before the text.
absl::Status Reader::readPostProcessor(const Value *value, const std::string &where) {
  if (isAbsent(value)) {
    return absl::OkStatus();
  }
  const Object *object = value->getAsObject();
  StringRef type = object ? object->getString("type").value_or("") : "";
  if (type == "ByteLevel") {
    return absl::OkStatus();
  }
  if (type == "TemplateProcessing") {
    result.hasTemplate = true;
    return readTemplate(*object, where);
  }
  if (type == "Sequence") {
    const Array *list = object->getArray("processors");
    if (!list) {
      return damaged(where, "is a Sequence without its list");
    }
    for (size_t i = 0; i < list->size(); ++i) {
      RETURN_IF_ERROR(readPostProcessor(&(*list)[i], absl::StrCat(where, "[", i, "]")));
    }
    return absl::OkStatus();
  }
  return refused(where, type.empty() ? "a post-processor without a type" : type.str(),
                 "ByteLevel and TemplateProcessing are");
}

absl::Status Reader::readTemplate(const Object &object, const std::string &where) {
  const Array *single = object.getArray("single");
  const Object *specials = object.getObject("special_tokens");
  if (!single) {
    return damaged(where, "has no template for a single text");
  }
  bool sawText = false;
  for (const Value &item : *single) {
    const Object *part = item.getAsObject();
    if (part && part->getObject("Sequence")) {
      if (sawText) {
        return refused(where, "a template that repeats the text", "use \"$A\" once");
      }
      sawText = true;
      continue;
    }
    const Object *special = part ? part->getObject("SpecialToken") : nullptr;
    std::optional<StringRef> name = special ? special->getString("id") : std::nullopt;
    const Object *entry = name && specials ? specials->getObject(*name) : nullptr;
    const Array *list = entry ? entry->getArray("ids") : nullptr;
    if (!list || list->empty() || !(*list)[0].getAsInteger()) {
      return damaged(where, "names a special token that it does not define");
    }
    if (sawText || list->size() > 1 || result.firstToken >= 0) {
      return refused(where, "a template with more than one token before the text, or any behind it",
                     "leave only the first token");
    }
    int64_t id = *(*list)[0].getAsInteger();
    if (id < 0 || id >= static_cast<int64_t>(result.tokens.size()) || !result.tokens[id].flags) {
      return damaged(where, absl::StrCat("puts token ", id, " before the text, which does not exist"));
    }
    result.firstToken = id;
  }
  return absl::OkStatus();
}

absl::Status Reader::readDecoder(const Value *value, const std::string &where) {
  const Object *object = isAbsent(value) ? nullptr : value->getAsObject();
  StringRef type = object ? object->getString("type").value_or("") : "";
  if (type == "ByteLevel") {
    return absl::OkStatus();
  }
  const Array *list = type == "Sequence" ? object->getArray("decoders") : nullptr;
  if (list && list->size() == 1) {
    return readDecoder(&(*list)[0], absl::StrCat(where, "[0]"));
  }
  return refused(where, type.empty() ? "no decoder" : type.str(), "ByteLevel is");
}

absl::StatusOr<TokenizerModel> Reader::run() {
  RETURN_IF_ERROR(readModel());
  RETURN_IF_ERROR(readAddedTokens());
  RETURN_IF_ERROR(readNormaliser(root.get("normalizer"), "normalizer"));
  RETURN_IF_ERROR(readPreTokenizer(root.get("pre_tokenizer"), "pre_tokenizer"));
  if (!sawByteLevel) {
    return refused("pre_tokenizer", "a tokenizer without ByteLevel", "only byte-level BPE is");
  }
  RETURN_IF_ERROR(readPostProcessor(root.get("post_processor"), "post_processor"));
  RETURN_IF_ERROR(readDecoder(root.get("decoder"), "decoder"));
  return std::move(result);
}

// llvm::json recurses without a limit; no tokenizer.json nests deeply.
bool nestsDeeply(absl::string_view text) {
  constexpr int kDeepest = 64;
  int depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) {
        return true;
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

} // namespace

// The file's object, and what is wrong if it has none.
static absl::StatusOr<Value> readJson(absl::string_view text) {
  if (nestsDeeply(text)) {
    return absl::InvalidArgumentError("nests too deeply for a file of a tokenizer");
  }
  llvm::Expected<Value> value = llvm::json::parse(StringRef(text.data(), text.size()));
  if (!value) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", llvm::toString(value.takeError())));
  }
  if (!value->getAsObject()) {
    return absl::InvalidArgumentError("must be a JSON object");
  }
  return std::move(*value);
}

absl::StatusOr<TokenizerModel> readTokenizerJson(absl::string_view text) {
  absl::StatusOr<Value> value = readJson(text);
  return value.ok() ? Reader(*value->getAsObject()).run() : value.status();
}

absl::StatusOr<TokenizerConfig> readTokenizerConfig(absl::string_view text) {
  absl::StatusOr<Value> value = readJson(text);
  if (!value.ok()) {
    return value.status();
  }
  const Object &object = *value->getAsObject();
  TokenizerConfig config;
  if (const Value *add = object.get("add_bos_token"); !isAbsent(add)) {
    config.addFirst = add->getAsBoolean();
    if (!config.addFirst) {
      return absl::InvalidArgumentError("add_bos_token must be true, false or null");
    }
  }
  // A string, an added token with its content, or null: there is none.
  if (const Value *first = object.get("bos_token")) {
    const Object *token = first->getAsObject();
    auto content = token ? token->getString("content") : first->getAsString();
    if (!content && first->kind() != Value::Null) {
      return absl::InvalidArgumentError("bos_token must be a string, an added token or null");
    }
    config.first = content ? content->str() : "";
  }
  return config;
}

} // namespace emoe
