#include "frontends/onnx/reader.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "frontends/onnx/wire.h"
#include "google/protobuf/stubs/logging.h"
#include "onnx/onnx_pb.h"

namespace emoe::onnx {
namespace {

// Field numbers of onnx.proto.
namespace model_field { enum { IrVersion = 1, Producer = 2, ProducerVersion = 3, Graph = 7, Opset = 8, Function = 25 }; }
namespace graph_field {
enum { Node = 1, Name = 2, Initializer = 5, Input = 11, Output = 12, Value = 13, SparseInitializer = 15 };
}
namespace node_field { enum { Input = 1, Output = 2, Name = 3, Op = 4, Attribute = 5, Domain = 7, Overload = 8 }; }
namespace attribute_field {
enum { Name = 1, F = 2, I = 3, S = 4, Tensor = 5, Graph = 6, Floats = 7, Ints = 8, Strings = 9, Type = 20, Reference = 21 };
}
namespace tensor_field {
enum { Dims = 1, Type = 2, Segment = 3, Floats = 4, Int32s = 5, Strings = 6, Int64s = 7, Name = 8, Raw = 9, Doubles = 10,
       Uint64s = 11, External = 13, Location = 14 };
}
namespace function_field {
enum { Name = 1, Input = 4, Output = 5, Attribute = 6, Node = 7, Opset = 9, Domain = 10, Default = 11, Overload = 13 };
}

// Digits only, no sign or space, no overflow.
bool parseNumber(const std::string &text, uint64_t &value) {
  value = 0;
  if (text.empty()) {
    return false;
  }
  for (char c : text) {
    if (c < '0' || c > '9' || __builtin_mul_overflow(value, uint64_t{10}, &value) ||
        __builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) {
      return false;
    }
  }
  return true;
}

// Every method reads one message; false means that error_ is set and nothing else counts.
class Reader {
public:
  Reader(absl::Span<const uint8_t> file, const std::string &path) : file_(file), path_(path) {}

  bool readModel(Extent at, Model &model);
  const absl::Status &error() const { return error_; }

private:
  bool readGraph(Extent at, Graph &graph, size_t depth);
  bool readNode(Extent at, Node &node, size_t depth);
  bool readAttribute(Extent at, Attribute &attribute, size_t depth);
  bool readTensor(Extent at, TensorInfo &tensor);
  bool readExternalEntry(Extent at, TensorInfo &tensor);
  bool readValue(Extent at, ValueInfo &value);
  bool readFunction(Extent at, Function &function);
  bool readOpset(Extent at, Opsets &opsets);
  bool checkVersions(const Model &model);

  bool readText(const Field &field, std::string &text, size_t limit = kMaxNameBytes);
  bool readDomain(const Field &field, std::string &domain);
  bool appendName(const Field &field, std::vector<std::string> &names);
  bool isBytes(const Field &field) {
    return field.kind == Field::Bytes || fail(field.bytes.offset, "a field has the wrong wire type");
  }
  bool isNumber(const Field &field, Field::Kind kind) {
    return field.kind == kind || fail(field.bytes.offset, "a field has the wrong wire type");
  }
  template <typename Message> bool parse(Extent at, Message &message) {
    return message.ParsePartialFromArray(file_.data() + at.offset, static_cast<int>(at.size)) ||
           fail(at.offset, "a message is damaged");
  }
  bool count(size_t &counter, size_t limit, uint64_t offset, const char *what) {
    return ++counter <= limit || fail(offset, absl::StrCat("has more than ", limit, " ", what));
  }
  bool finish(const FieldWalker &walk, const char *what) {
    return !walk.damaged() || fail(walk.position(), absl::StrCat("the ", what, " is damaged or cut off"));
  }
  bool fail(uint64_t offset, absl::string_view what) {
    error_ = absl::InvalidArgumentError(absl::StrCat(path_, ": at byte ", offset, ": ", what,
                                                     "; the file is damaged or not an ONNX model"));
    return false;
  }
  bool lack(absl::string_view what) {
    error_ = absl::UnimplementedError(absl::StrCat(path_, ": ", what));
    return false;
  }

  absl::Span<const uint8_t> file_;
  const std::string &path_;
  absl::Status error_;
  size_t nodes_ = 0, tensors_ = 0, values_ = 0;
};

bool Reader::readText(const Field &field, std::string &text, size_t limit) {
  if (!isBytes(field)) {
    return false;
  }
  if (field.bytes.size > limit) {
    return fail(field.bytes.offset, absl::StrCat("a string has ", field.bytes.size, " bytes, more than ", limit));
  }
  text.assign(reinterpret_cast<const char *>(file_.data() + field.bytes.offset), field.bytes.size);
  return true;
}

bool Reader::readDomain(const Field &field, std::string &domain) {
  if (!readText(field, domain)) {
    return false;
  }
  if (domain == "ai.onnx") {
    domain.clear();
  }
  return true;
}

bool Reader::appendName(const Field &field, std::vector<std::string> &names) {
  return count(values_, kMaxValues, field.bytes.offset, "names") && readText(field, names.emplace_back());
}

bool Reader::readOpset(Extent at, Opsets &opsets) {
  ::onnx::OperatorSetIdProto opset;
  if (!parse(at, opset)) {
    return false;
  }
  opsets.emplace_back(opset.domain() == "ai.onnx" ? "" : opset.domain(), opset.version());
  return true;
}

bool Reader::readValue(Extent at, ValueInfo &value) {
  ::onnx::ValueInfoProto info;
  if (!count(values_, kMaxValues, at.offset, "values") || !parse(at, info)) {
    return false;
  }
  if (info.name().size() > kMaxNameBytes) {
    return fail(at.offset, "a name is too long");
  }
  value.name = info.name();
  value.isTensor = info.type().has_tensor_type();
  const auto &type = info.type().tensor_type();
  value.type = static_cast<DataType>(type.elem_type());
  value.isRanked = type.has_shape();
  if (static_cast<size_t>(type.shape().dim_size()) > kMaxRank) {
    return fail(at.offset, absl::StrCat("a value has more than ", kMaxRank, " dimensions"));
  }
  for (const auto &dim : type.shape().dim()) {
    ValueInfo::Dim &read = value.dims.emplace_back();
    uint64_t number = 0;
    if (dim.has_dim_value() && dim.dim_value() >= 0) {
      read.value = dim.dim_value();
    } else if (dim.has_dim_param() && parseNumber(dim.dim_param(), number) && number <= INT64_MAX) {
      read.value = static_cast<int64_t>(number); // exporters write a fixed extent as a "name" such as "2"
    } else if (dim.has_dim_param() && dim.dim_param().size() <= kMaxNameBytes) {
      read.name = dim.dim_param();
    }
  }
  return true;
}

bool Reader::readExternalEntry(Extent at, TensorInfo &tensor) {
  ::onnx::StringStringEntryProto entry;
  if (!parse(at, entry)) {
    return false;
  }
  if (entry.key() == "location") {
    tensor.location = entry.value();
  } else if (entry.key() == "offset") {
    return parseNumber(entry.value(), tensor.offset) ||
           fail(at.offset, absl::StrCat("tensor \"", tensor.name, "\": the offset of its external data is no number"));
  } else if (entry.key() == "length") {
    return parseNumber(entry.value(), tensor.length.emplace()) ||
           fail(at.offset, absl::StrCat("tensor \"", tensor.name, "\": the length of its external data is no number"));
  }
  return true;
}

bool Reader::readTensor(Extent at, TensorInfo &tensor) {
  namespace f = tensor_field;
  if (!count(tensors_, kMaxTensors, at.offset, "tensors")) {
    return false;
  }
  tensor.message = at;
  FieldWalker walk(file_, at);
  Field field;
  bool external = false, hasRaw = false;
  std::vector<Extent> entries;
  size_t occurrences = 0;
  while (walk.next(field)) {
    switch (field.number) {
    case f::Dims: {
      NumberWalker dims(file_, field, Field::Varint);
      for (uint64_t dim = 0; dims.next(dim);) {
        if (dim > INT64_MAX || tensor.dims.size() == kMaxRank) {
          return fail(field.bytes.offset, "a tensor has a negative extent or too many dimensions");
        }
        tensor.dims.push_back(static_cast<int64_t>(dim));
      }
      if (dims.damaged()) {
        return fail(field.bytes.offset, "the dimensions of a tensor are damaged");
      }
      break;
    }
    case f::Type:
      if (!isNumber(field, Field::Varint)) {
        return false;
      }
      tensor.type = static_cast<DataType>(static_cast<int32_t>(field.value));
      break;
    case f::Segment:
      return lack(absl::StrCat("at byte ", at.offset, ": a tensor in segments is not supported; save the model again"));
    case f::Name:
      if (!readText(field, tensor.name)) {
        return false;
      }
      break;
    case f::Raw:
      if (!isBytes(field)) {
        return false;
      }
      tensor.raw = field.bytes;
      hasRaw = true;
      break;
    case f::Floats: case f::Int32s: case f::Strings: case f::Int64s: case f::Doubles: case f::Uint64s:
      if (tensor.typedField != 0 && tensor.typedField != field.number) {
        return fail(field.bytes.offset, absl::StrCat("tensor \"", tensor.name, "\" has data in two fields"));
      }
      tensor.typedField = field.number;
      tensor.packed = ++occurrences == 1 && field.kind == Field::Bytes ? field.bytes : Extent();
      break;
    case f::External:
      if (!isBytes(field)) {
        return false;
      }
      entries.push_back(field.bytes);
      break;
    case f::Location:
      if (!isNumber(field, Field::Varint)) {
        return false;
      }
      external = field.value == 1;
      break;
    default:
      break;
    }
  }
  if (!finish(walk, "tensor")) {
    return false;
  }
  uint64_t elements = 1;
  bool empty = false;
  for (int64_t dim : tensor.dims) {
    empty |= dim == 0;
    if (!empty && (__builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements) || elements > INT64_MAX)) {
      return fail(at.offset, absl::StrCat("tensor \"", tensor.name, "\": the product of its dimensions overflows"));
    }
  }
  if (external + hasRaw + (tensor.typedField != 0) > 1) {
    return fail(at.offset, absl::StrCat("tensor \"", tensor.name, "\" has data in two places"));
  }
  using Payload = TensorInfo::Payload;
  tensor.payload = external ? Payload::External
                   : hasRaw ? Payload::Raw
                            : tensor.typedField != 0 ? Payload::Typed : Payload::None;
  if (external) {
    for (Extent entry : entries) {
      if (!readExternalEntry(entry, tensor)) {
        return false;
      }
    }
    if (tensor.location.empty()) {
      return fail(at.offset, absl::StrCat("tensor \"", tensor.name, "\": its external data has no location"));
    }
  }
  return true;
}

bool Reader::readAttribute(Extent at, Attribute &attribute, size_t depth) {
  namespace f = attribute_field;
  FieldWalker walk(file_, at);
  Field field;
  while (walk.next(field)) {
    switch (field.number) {
    case f::Name:
      if (!readText(field, attribute.name)) {
        return false;
      }
      break;
    case f::Reference:
      if (!readText(field, attribute.reference)) {
        return false;
      }
      break;
    case f::F: {
      if (!isNumber(field, Field::Fixed32)) {
        return false;
      }
      const uint32_t bits = static_cast<uint32_t>(field.value);
      std::memcpy(&attribute.f, &bits, sizeof(bits));
      break;
    }
    case f::I:
      if (!isNumber(field, Field::Varint)) {
        return false;
      }
      attribute.i = static_cast<int64_t>(field.value);
      break;
    case f::S:
      if (!readText(field, attribute.s, file_.size())) {
        return false;
      }
      break;
    case f::Tensor:
      attribute.tensor = std::make_shared<TensorInfo>();
      if (!isBytes(field) || !readTensor(field.bytes, *attribute.tensor)) {
        return false;
      }
      break;
    case f::Graph:
      if (depth >= kMaxSubgraphDepth) {
        return fail(field.bytes.offset, absl::StrCat("subgraphs are nested deeper than ", kMaxSubgraphDepth));
      }
      attribute.graph = std::make_shared<Graph>();
      if (!isBytes(field) || !readGraph(field.bytes, *attribute.graph, depth + 1)) {
        return false;
      }
      break;
    case f::Floats: case f::Ints: {
      NumberWalker numbers(file_, field, field.number == f::Ints ? Field::Varint : Field::Fixed32);
      for (uint64_t number = 0; numbers.next(number);) {
        if (field.number == f::Ints) {
          attribute.ints.push_back(static_cast<int64_t>(number));
        } else {
          const uint32_t bits = static_cast<uint32_t>(number);
          std::memcpy(&attribute.floats.emplace_back(), &bits, sizeof(bits));
        }
      }
      if (numbers.damaged()) {
        return fail(field.bytes.offset, "the numbers of an attribute are damaged");
      }
      break;
    }
    case f::Strings:
      if (!count(values_, kMaxValues, field.bytes.offset, "strings") ||
          !readText(field, attribute.strings.emplace_back())) {
        return false;
      }
      break;
    case f::Type:
      if (!isNumber(field, Field::Varint)) {
        return false;
      }
      attribute.type = static_cast<int>(field.value);
      break;
    default:
      break;
    }
  }
  if (!finish(walk, "attribute")) {
    return false;
  }
  if ((attribute.type == Attribute::Tensor && !attribute.tensor) ||
      (attribute.type == Attribute::Graph && !attribute.graph)) {
    return attribute.reference.empty() ? fail(at.offset, absl::StrCat("attribute \"", attribute.name, "\" has no value"))
                                       : true;
  }
  return true;
}

bool Reader::readNode(Extent at, Node &node, size_t depth) {
  namespace f = node_field;
  if (!count(nodes_, kMaxNodes, at.offset, "nodes")) {
    return false;
  }
  node.offset = at.offset;
  FieldWalker walk(file_, at);
  Field field;
  while (walk.next(field)) {
    bool good = true;
    switch (field.number) {
    case f::Input: good = appendName(field, node.inputs); break;
    case f::Output: good = appendName(field, node.outputs); break;
    case f::Name: good = readText(field, node.name); break;
    case f::Op: good = readText(field, node.op); break;
    case f::Domain: good = readDomain(field, node.domain); break;
    case f::Overload: good = readText(field, node.overload); break;
    case f::Attribute:
      good = isBytes(field) && count(values_, kMaxValues, field.bytes.offset, "attributes") &&
             readAttribute(field.bytes, node.attributes.emplace_back(), depth);
      break;
    default: break;
    }
    if (!good) {
      return false;
    }
  }
  return finish(walk, "node");
}

bool Reader::readGraph(Extent at, Graph &graph, size_t depth) {
  namespace f = graph_field;
  FieldWalker walk(file_, at);
  Field field;
  while (walk.next(field)) {
    bool good = true;
    switch (field.number) {
    case f::Node: good = isBytes(field) && readNode(field.bytes, graph.nodes.emplace_back(), depth); break;
    case f::Name: good = readText(field, graph.name); break;
    case f::Initializer: good = isBytes(field) && readTensor(field.bytes, graph.initializers.emplace_back()); break;
    case f::Input: good = isBytes(field) && readValue(field.bytes, graph.inputs.emplace_back()); break;
    case f::Output: good = isBytes(field) && readValue(field.bytes, graph.outputs.emplace_back()); break;
    case f::Value: good = isBytes(field) && readValue(field.bytes, graph.values.emplace_back()); break;
    case f::SparseInitializer:
      return lack("sparse initialisers are not supported; store the tensors densely and export again");
    default: break;
    }
    if (!good) {
      return false;
    }
  }
  return finish(walk, "graph");
}

bool Reader::readFunction(Extent at, Function &function) {
  namespace f = function_field;
  FieldWalker walk(file_, at);
  Field field;
  while (walk.next(field)) {
    bool good = true;
    switch (field.number) {
    case f::Name: good = readText(field, function.name); break;
    case f::Input: good = appendName(field, function.inputs); break;
    case f::Output: good = appendName(field, function.outputs); break;
    case f::Attribute: good = appendName(field, function.attributes); break;
    case f::Node: good = isBytes(field) && readNode(field.bytes, function.nodes.emplace_back(), 0); break;
    case f::Opset: good = isBytes(field) && readOpset(field.bytes, function.opsets); break;
    case f::Domain: good = readDomain(field, function.domain); break;
    case f::Default:
      good = isBytes(field) && count(values_, kMaxValues, field.bytes.offset, "attributes") &&
             readAttribute(field.bytes, function.defaults.emplace_back(), 0);
      break;
    case f::Overload: good = readText(field, function.overload); break;
    default: break;
    }
    if (!good) {
      return false;
    }
  }
  return finish(walk, "function");
}

bool Reader::checkVersions(const Model &model) {
  if (model.irVersion < kMinIrVersion || model.irVersion > kMaxIrVersion) {
    return lack(absl::StrCat("IR version ", model.irVersion, " is not supported; versions ", kMinIrVersion, " to ",
                             kMaxIrVersion, " are"));
  }
  for (const auto &[domain, version] : model.opsets) {
    if (domain.empty() && (version < kMinOpset || version > kMaxOpset)) {
      return lack(absl::StrCat("opset ", version, " is not supported; opsets ", kMinOpset, " to ", kMaxOpset,
                               " are: export the model with one of them or convert it with onnx.version_converter"));
    }
  }
  return true;
}

bool Reader::readModel(Extent at, Model &model) {
  namespace f = model_field;
  FieldWalker walk(file_, at);
  Field field;
  bool hasGraph = false;
  while (walk.next(field)) {
    bool good = true;
    switch (field.number) {
    case f::IrVersion:
      good = isNumber(field, Field::Varint);
      model.irVersion = static_cast<int64_t>(field.value);
      break;
    case f::Producer: good = readText(field, model.producer); break;
    case f::ProducerVersion: good = readText(field, model.producerVersion); break;
    case f::Graph:
      // Protobuf would merge two graphs; no writer makes them, so a second one is damage.
      good = isBytes(field) && (!hasGraph || fail(field.bytes.offset, "there is a second graph")) &&
             readGraph(field.bytes, model.graph, 0);
      hasGraph = true;
      break;
    case f::Opset:
      good = isBytes(field) && count(values_, kMaxValues, field.bytes.offset, "opsets") &&
             readOpset(field.bytes, model.opsets);
      break;
    case f::Function:
      good = isBytes(field) && count(nodes_, kMaxNodes, field.bytes.offset, "functions") &&
             readFunction(field.bytes, model.functions.emplace_back());
      break;
    default: break;
    }
    if (!good) {
      return false;
    }
  }
  if (!finish(walk, "model")) {
    return false;
  }
  if (model.irVersion == 0 || !hasGraph) {
    return fail(0, "there is no IR version or no graph");
  }
  return checkVersions(model);
}

} // namespace

absl::StatusOr<Model> readModel(absl::Span<const uint8_t> file, const std::string &path) {
  if (file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
  }
  const absl::string_view start(reinterpret_cast<const char *>(file.data()), std::min<size_t>(file.size(), 64));
  if (absl::StartsWith(start, "version https://git-lfs")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is a pointer of Git LFS, not the model; run `git lfs pull` where it came from"));
  }
  if (file.size() > INT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has ", file.size(), " bytes; an ONNX file has less than 2 "
                                                   "GiB, larger models keep their tensors in external data"));
  }
  google::protobuf::LogSilencer silence; // damage is ours to report
  Reader reader(file, path);
  Model model;
  if (!reader.readModel({0, file.size()}, model)) {
    return reader.error();
  }
  return model;
}

} // namespace emoe::onnx
