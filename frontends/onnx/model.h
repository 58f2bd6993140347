// An ONNX model as plain structs: what the file says, with large data left where it is.
#ifndef EMOE_FRONTENDS_ONNX_MODEL_H_
#define EMOE_FRONTENDS_ONNX_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace emoe::onnx {

// Bytes [offset, offset + size) of the model file; checked to lie inside it by whoever makes one.
struct Extent {
  uint64_t offset = 0, size = 0;
};

// TensorProto.DataType; types newer than the ONNX package are numbers of the standard all the same.
enum class DataType : int32_t {
  Undefined = 0, Float = 1, Uint8 = 2, Int8 = 3, Uint16 = 4, Int16 = 5, Int32 = 6, Int64 = 7, String = 8, Bool = 9,
  Float16 = 10, Double = 11, Uint32 = 12, Uint64 = 13, Complex64 = 14, Complex128 = 15, Bfloat16 = 16,
  Float8E4M3Fn = 17, Float8E4M3Fnuz = 18, Float8E5M2 = 19, Float8E5M2Fnuz = 20, Uint4 = 21, Int4 = 22,
  Float4E2M1 = 23, Float8E8M0 = 24, Uint2 = 25, Int2 = 26,
};

// A TensorProto. Exactly one payload, or none (a tensor without elements).
struct TensorInfo {
  enum class Payload { None, Raw, Typed, External };
  std::string name;
  DataType type = DataType::Undefined;
  std::vector<int64_t> dims; // not negative; their product does not overflow
  Payload payload = Payload::None;
  Extent message;            // the whole TensorProto
  Extent raw;                // Raw: raw_data
  int typedField = 0;        // Typed: which field of the message
  Extent packed;             // Typed: its bytes if it stands once, packed; else size 0
  std::string location;      // External
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

// A ValueInfoProto. Types that are not tensors keep their name only.
struct ValueInfo {
  struct Dim {
    int64_t value = -1; // -1: unknown or symbolic
    std::string name;   // symbolic
  };
  std::string name;
  bool isTensor = false, isRanked = false;
  DataType type = DataType::Undefined;
  std::vector<Dim> dims;
};

struct Graph;

// An AttributeProto. `type` says which member counts.
struct Attribute {
  enum Type { None = 0, Float = 1, Int = 2, String = 3, Tensor = 4, Graph = 5, Floats = 6, Ints = 7, Strings = 8 };
  std::string name;
  int type = None;       // a Type, or another number of the standard that we do not read
  std::string reference; // in a function: takes the value of this attribute of the call
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::shared_ptr<TensorInfo> tensor;
  std::shared_ptr<onnx::Graph> graph;
};

struct Node {
  std::string name, op, domain, overload; // domain "ai.onnx" is read as ""
  std::vector<std::string> inputs, outputs;
  std::vector<Attribute> attributes;
  uint64_t offset = 0; // of the message in the file
};

struct Graph {
  std::string name;
  std::vector<Node> nodes;
  std::vector<TensorInfo> initializers;
  std::vector<ValueInfo> inputs, outputs, values;
};

using Opsets = std::vector<std::pair<std::string, int64_t>>; // domain, version

struct Function {
  std::string name, domain, overload;
  std::vector<std::string> inputs, outputs, attributes;
  std::vector<Attribute> defaults;
  std::vector<Node> nodes;
  Opsets opsets;
};

struct Model {
  int64_t irVersion = 0;
  std::string producer, producerVersion;
  Opsets opsets;
  Graph graph;
  std::vector<Function> functions;
};

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_MODEL_H_
