// Damaged models: bits flipped, bytes replaced, ends cut off. Each gives a clear error or a module that verifies, in
// little time and memory; never a crash. The seed is fixed: a failure names its case.
#include <chrono>
#include <random>

#include <sys/resource.h>

#include "support.h"

namespace emoe::onnx::test {
namespace {

// A model with something of everything: typed and raw data, constants, a function, a subgraph, value infos.
std::string sampleModel() {
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

void checkCase(const TempFolder &folder, const std::string &bytes) {
  const auto start = std::chrono::steady_clock::now();
  Imported imported(folder.write("model.onnx", bytes));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 10.0);
  if (imported.ok()) {
    EXPECT_TRUE(mlir::succeeded(mlir::verify(**imported.module)));
    // What it names can be read.
    (*imported.module)->walk([&](TensorOp op) {
      auto type = mlir::cast<mlir::RankedTensorType>(op.getType());
      std::vector<float> values(static_cast<size_t>(type.getNumElements()));
      EXPECT_TRUE(imported.store
                      .readTensor(op.getSource(), absl::MakeSpan(type.getShape().data(), type.getShape().size()),
                                  values.data())
                      .ok());
    });
  } else {
    EXPECT_NE(imported.message().find("model.onnx"), std::string::npos) << imported.message();
    EXPECT_NE(imported.code(), absl::StatusCode::kUnknown);
    EXPECT_NE(imported.code(), absl::StatusCode::kInternal);
  }
}

long peakMegabytes() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

TEST(OnnxMutation, TheSampleItselfImports) {
  TempFolder folder;
  Imported imported(folder.write("model.onnx", sampleModel()));
  EXPECT_TRUE(imported.ok()) << imported.message();
}

TEST(OnnxMutation, EveryTruncation) {
  const std::string good = sampleModel();
  TempFolder folder;
  for (size_t size = 0; size < good.size(); ++size) {
    SCOPED_TRACE(size);
    checkCase(folder, good.substr(0, size));
  }
  EXPECT_LT(peakMegabytes(), 1024);
}

TEST(OnnxMutation, AThousandDamagedModels) {
  const std::string good = sampleModel();
  TempFolder folder;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::string bytes = good;
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
    checkCase(folder, bytes);
  }
  EXPECT_LT(peakMegabytes(), 1024);
}

} // namespace
} // namespace emoe::onnx::test
