#include "test/support/small_onnx.h"

#include <cmath>
#include <random>

#include "test/frontends/onnx/support.h"

namespace emoe::test {

using namespace emoe::onnx::test;

std::string onnxOfEverything() {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  addInput(graph, "x", {1, -1, 4});
  addInput(graph, "c", {}, 9);
  auto *w = addInitializer(graph, "w", 1, {4, 2});
  w->set_raw_data(std::string(32, '\x3f'));
  auto *v = addInitializer(graph, "v", 10, {2});
  v->add_int32_data(0x3c00);
  v->add_int32_data(0x4000);
  auto *shape = addInitializer(graph, "shape", 7, {3});
  for (int64_t dim : {1, -1, 2}) {
    shape->add_int64_data(dim);
  }
  addInt(addNode(graph, "Constant", {}, {"k"}), "value_int", 1);
  addNode(graph, "MatMul", {"x", "w"}, {"m"});
  addInt(addNode(graph, "Cast", {"v"}, {"vf"}), "to", 1);
  addNode(graph, "Add", {"m", "vf"}, {"a"});
  addInt(addNode(graph, "Softmax", {"a"}, {"s"}), "axis", -1);
  auto *topk = addNode(graph, "TopK", {"s", "k1"}, {"values", "indices"});
  addInitializer(graph, "k1", 7, {1})->add_int64_data(1);
  addInt(topk, "largest", 1);
  addInts(addNode(graph, "Transpose", {"values"}, {"t"}), "perm", {0, 2, 1});
  addNode(graph, "F", {"t"}, {"f"}, "pkg.f");
  auto *function = model.add_functions();
  function->set_name("F");
  function->set_domain("pkg.f");
  function->add_input("a");
  function->add_output("b");
  function->add_opset_import()->set_version(20);
  auto *inner = function->add_node();
  inner->set_op_type("Sigmoid");
  inner->add_input("a");
  inner->add_output("b");
  auto *node = addNode(graph, "If", {"c"}, {"y"});
  for (const char *label : {"then_branch", "else_branch"}) {
    auto *branch = addAttribute(node, label, ::onnx::AttributeProto::GRAPH)->mutable_g();
    addNode(branch, "Neg", {"f"}, {std::string(label) + "_out"});
    addOutput(branch, std::string(label) + "_out");
  }
  addNode(graph, "Reshape", {"a", "shape"}, {"r"});
  setTensor(graph->add_value_info(), "m", 1, {1, -1, 2});
  addOutput(graph, "y");
  setTensor(graph->add_output(), "r", 1, {1, -1, 2});
  return model.SerializeAsString();
}

// Values of alternating size and sign, as raw float32.
static std::string someFloats(int64_t count, float scale) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const float value = scale * static_cast<float>((i * 37 + 11) % 64 - 31.5) / 32;
    bytes.append(reinterpret_cast<const char *>(&value), sizeof(value));
  }
  return bytes;
}

std::string onnxDecoder() {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  addInput(graph, "input_ids", {1, -1}, 7);
  auto weight = [&](const char *name, const std::vector<int64_t> &dims) {
    int64_t count = 1;
    for (int64_t dim : dims) {
      count *= dim;
    }
    addInitializer(graph, name, 1, dims)->set_raw_data(someFloats(count, 0.25f));
  };
  weight("embed", {32, 16});
  weight("proj", {16, 16});
  weight("gate_up", {2, 16, 16});
  weight("down", {2, 16, 8});
  weight("router", {2, 16});
  auto integers = [&](const char *name, const std::vector<int64_t> &values, bool scalar = false) {
    auto *tensor = addInitializer(graph, name, 7, {});
    if (!scalar) {
      tensor->add_dims(static_cast<int64_t>(values.size()));
    }
    for (int64_t value : values) {
      tensor->add_int64_data(value);
    }
  };
  integers("zero", {0}, true);
  integers("one", {1}, true);
  integers("k", {1});
  integers("last", {-1});
  integers("keys", {0, 1, 2});
  integers("queries", {0, 1, 3});
  integers("heads", {1, -1, 2, 8});
  integers("rows", {1, -1, 16});
  integers("flat", {-1, 16});
  integers("triple", {-1, 1, 16});
  integers("ones", {1, 1, 1});
  addInitializer(graph, "seen", 1, {})->add_float_data(0);
  addInitializer(graph, "hidden", 1, {})->add_float_data(-INFINITY);
  addInitializer(graph, "factor", 1, {})->add_float_data(0.353553385f);

  auto node = [&](const char *op, const std::vector<std::string> &inputs, const std::vector<std::string> &outputs) {
    return addNode(graph, op, inputs, outputs);
  };
  addInt(node("Gather", {"embed", "input_ids"}, {"x"}), "axis", 0);
  node("Shape", {"input_ids"}, {"shape"});
  addInt(node("Gather", {"shape", "one"}, {"count"}), "axis", 0);
  node("Range", {"zero", "count", "one"}, {"positions"});
  node("Unsqueeze", {"positions", "keys"}, {"kpos"});
  node("Unsqueeze", {"positions", "queries"}, {"qpos"});
  node("LessOrEqual", {"kpos", "qpos"}, {"visible"});
  node("Where", {"visible", "seen", "hidden"}, {"bias"});

  node("MatMul", {"x", "proj"}, {"p"});
  node("Reshape", {"p", "heads"}, {"split"});
  addInts(node("Transpose", {"split"}, {"q"}), "perm", {0, 2, 1, 3});
  addInts(node("Transpose", {"q"}, {"kt"}), "perm", {0, 1, 3, 2});
  node("MatMul", {"q", "kt"}, {"qk"});
  node("Mul", {"qk", "factor"}, {"scaled"});
  node("Add", {"scaled", "bias"}, {"masked"});
  addInt(node("Softmax", {"masked"}, {"probabilities"}), "axis", -1);
  node("MatMul", {"probabilities", "q"}, {"attended"});
  addInts(node("Transpose", {"attended"}, {"back"}), "perm", {0, 2, 1, 3});
  node("Reshape", {"back", "rows"}, {"joined"});
  node("Add", {"x", "joined"}, {"h"});

  node("Reshape", {"h", "flat"}, {"tokens"});
  addInt(node("Gemm", {"tokens", "router"}, {"router_logits"}), "transB", 1);
  addInt(node("Softmax", {"router_logits"}, {"scores"}), "axis", -1);
  node("TopK", {"scores", "k"}, {"weights", "chosen"});
  node("Unsqueeze", {"tokens", "k"}, {"single"});
  node("Tile", {"single", "ones"}, {"tiled"});
  node("Reshape", {"tiled", "flat"}, {"repeated"});
  node("Unsqueeze", {"repeated", "last"}, {"column"});
  node("GatherND", {"gate_up", "chosen"}, {"wgu"});
  node("MatMul", {"wgu", "column"}, {"gu"});
  node("Squeeze", {"gu", "last"}, {"gus"});
  auto *split = node("Split", {"gus"}, {"gate", "up"});
  addInt(split, "axis", 1);
  addInt(split, "num_outputs", 2);
  node("Sigmoid", {"gate"}, {"sigmoid"});
  node("Mul", {"gate", "sigmoid"}, {"silu"});
  node("Mul", {"silu", "up"}, {"act"});
  node("Unsqueeze", {"act", "last"}, {"actc"});
  node("GatherND", {"down", "chosen"}, {"wd"});
  node("MatMul", {"wd", "actc"}, {"dc"});
  node("Squeeze", {"dc", "last"}, {"d"});
  node("Mul", {"d", "weights"}, {"weighted"});
  node("Reshape", {"weighted", "triple"}, {"slots"});
  addInt(node("ReduceSum", {"slots", "k"}, {"sum"}), "keepdims", 0);
  node("Reshape", {"sum", "rows"}, {"moe"});
  node("Add", {"h", "moe"}, {"y"});
  addInts(node("Transpose", {"embed"}, {"head"}), "perm", {1, 0});
  node("MatMul", {"y", "head"}, {"logits"});
  setTensor(graph->add_output(), "logits", 1, {1, -1, 32});
  return model.SerializeAsString();
}

std::string damaged(std::string bytes, unsigned seed) {
  std::mt19937 random(seed);
  const unsigned edits = 1 + random() % 4;
  for (unsigned i = 0; i < edits; ++i) {
    const size_t at = random() % bytes.size();
    switch (random() % 4) {
    case 0: // a bit
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
      break;
    case 1: // a byte that often means something
      bytes[at] = "\x00\x01\x7f\x80\xff\x08\x0a\x12"[random() % 8];
      break;
    case 2: // some bytes twice
      bytes.insert(at, bytes.substr(at, random() % 16));
      break;
    default: // some bytes less
      bytes.erase(at, random() % 4);
      break;
    }
  }
  return bytes;
}

std::string altered(const std::string &bytes, unsigned seed) {
  std::mt19937 random(seed);
  ::onnx::ModelProto model;
  if (!model.ParseFromString(bytes)) {
    return bytes;
  }
  auto *graph = model.mutable_graph();
  auto pick = [&](auto *list) { return list->Mutable(static_cast<int>(random() % list->size())); };
  auto number = [&]() -> int64_t {
    constexpr int64_t kOften[] = {-2, -1, 0, 1, 2, 3, 4, 7, 8, 16, 32, 33, 1 << 20, int64_t(1) << 40, INT64_MAX, INT64_MIN};
    return kOften[random() % 16];
  };
  auto *node = pick(graph->mutable_node());
  switch (random() % 7) {
  case 0: { // a number of a constant
    auto *tensor = pick(graph->mutable_initializer());
    if (tensor->int64_data_size() > 0) {
      tensor->set_int64_data(static_cast<int>(random() % tensor->int64_data_size()), number());
    } else if (tensor->float_data_size() > 0) {
      tensor->set_float_data(0, static_cast<float>(number()));
    } else {
      std::string *raw = tensor->mutable_raw_data();
      (*raw)[random() % raw->size()] ^= static_cast<char>(1 << (random() % 8));
    }
    break;
  }
  case 1: { // an extent
    auto *tensor = pick(graph->mutable_initializer());
    if (tensor->dims_size() > 0) {
      tensor->set_dims(static_cast<int>(random() % tensor->dims_size()), number());
    }
    break;
  }
  case 2: // an attribute
    if (node->attribute_size() > 0) {
      auto *attribute = pick(node->mutable_attribute());
      attribute->ints_size() > 0 ? attribute->set_ints(static_cast<int>(random() % attribute->ints_size()), number())
                                 : attribute->set_i(number());
    }
    break;
  case 3: // another value as an input
    if (node->input_size() > 0) {
      auto *other = pick(graph->mutable_node());
      node->set_input(static_cast<int>(random() % node->input_size()), other->output(0));
    }
    break;
  case 4: // another constant as an input
    if (node->input_size() > 0) {
      node->set_input(static_cast<int>(random() % node->input_size()), pick(graph->mutable_initializer())->name());
    }
    break;
  case 5: // another op
    node->set_op_type(pick(graph->mutable_node())->op_type());
    break;
  default: // a node less: what read its result reads its input
    for (auto &reader : *graph->mutable_node()) {
      for (int i = 0; i < reader.input_size() && node->input_size() > 0; ++i) {
        if (reader.input(i) == node->output(0)) {
          reader.set_input(i, node->input(0));
        }
      }
    }
    break;
  }
  return model.SerializeAsString();
}

} // namespace emoe::test
