// ONNX models built in code, written to a folder that is removed at the end, and imported.
#ifndef EMOE_TEST_FRONTENDS_ONNX_SUPPORT_H_
#define EMOE_TEST_FRONTENDS_ONNX_SUPPORT_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "dialects/onnx/onnx.h"
#include "frontends/onnx/onnx.h"
#include "gtest/gtest.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/IR/Verifier.h"
#include "onnx/onnx_pb.h"

namespace emoe::onnx::test {

class TempFolder {
public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "emoe-onnx-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string &name) const { return (path_ / name).string(); }
  std::string write(const std::string &name, const std::string &bytes) const {
    const std::filesystem::path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }

private:
  std::filesystem::path path_;
};

// A model of opset `opset` whose graph is to be filled.
inline ::onnx::ModelProto newModel(int64_t opset = 20, int64_t irVersion = 10) {
  ::onnx::ModelProto model;
  model.set_ir_version(irVersion);
  auto *import = model.add_opset_import();
  import->set_domain("");
  import->set_version(opset);
  model.mutable_graph()->set_name("test");
  return model;
}

inline ::onnx::ValueInfoProto *setTensor(::onnx::ValueInfoProto *info, const std::string &name, int type,
                                         const std::vector<int64_t> &dims) {
  info->set_name(name);
  auto *tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  tensor->mutable_shape();
  for (int64_t dim : dims) {
    auto *added = tensor->mutable_shape()->add_dim();
    if (dim >= 0) {
      added->set_dim_value(dim);
    } else {
      added->set_dim_param("n");
    }
  }
  return info;
}
inline void addInput(::onnx::GraphProto *graph, const std::string &name, const std::vector<int64_t> &dims,
                     int type = 1) {
  setTensor(graph->add_input(), name, type, dims);
}
// An output whose type the file leaves open.
inline void addOutput(::onnx::GraphProto *graph, const std::string &name) { graph->add_output()->set_name(name); }

inline ::onnx::NodeProto *addNode(::onnx::GraphProto *graph, const std::string &op,
                                  const std::vector<std::string> &inputs, const std::vector<std::string> &outputs,
                                  const std::string &domain = "") {
  auto *node = graph->add_node();
  node->set_op_type(op);
  node->set_name("the_" + op);
  node->set_domain(domain);
  for (const auto &input : inputs) {
    node->add_input(input);
  }
  for (const auto &output : outputs) {
    node->add_output(output);
  }
  return node;
}

inline ::onnx::AttributeProto *addAttribute(::onnx::NodeProto *node, const std::string &name,
                                            ::onnx::AttributeProto::AttributeType type) {
  auto *attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(type);
  return attribute;
}
inline void addInt(::onnx::NodeProto *node, const std::string &name, int64_t value) {
  addAttribute(node, name, ::onnx::AttributeProto::INT)->set_i(value);
}
inline void addInts(::onnx::NodeProto *node, const std::string &name, const std::vector<int64_t> &values) {
  auto *attribute = addAttribute(node, name, ::onnx::AttributeProto::INTS);
  for (int64_t value : values) {
    attribute->add_ints(value);
  }
}
inline void addString(::onnx::NodeProto *node, const std::string &name, const std::string &value) {
  addAttribute(node, name, ::onnx::AttributeProto::STRING)->set_s(value);
}

inline ::onnx::TensorProto *addInitializer(::onnx::GraphProto *graph, const std::string &name, int type,
                                           const std::vector<int64_t> &dims) {
  auto *tensor = graph->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(type);
  for (int64_t dim : dims) {
    tensor->add_dims(dim);
  }
  return tensor;
}
inline void addEntry(::onnx::TensorProto *tensor, const std::string &key, const std::string &value) {
  auto *entry = tensor->add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}
// External data; a negative offset or length is left out.
inline void setExternal(::onnx::TensorProto *tensor, const std::string &location, int64_t offset = -1,
                        int64_t length = -1) {
  tensor->set_data_location(::onnx::TensorProto::EXTERNAL);
  addEntry(tensor, "location", location);
  if (offset >= 0) {
    addEntry(tensor, "offset", std::to_string(offset));
  }
  if (length >= 0) {
    addEntry(tensor, "length", std::to_string(length));
  }
}

// x [n, 4] plus tensor `w`, which the caller describes.
inline ::onnx::ModelProto modelWith(::onnx::TensorProto **w, int type, const std::vector<int64_t> &dims) {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  *w = addInitializer(graph, "w", type, dims);
  addNode(graph, "Identity", {"w"}, {"y"});
  addOutput(graph, "y");
  return model;
}

// The result of an import with all that it refers to.
struct Imported {
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  WeightStore store;
  absl::StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> module = absl::UnknownError("not imported");

  explicit Imported(const std::string &path) { module = importModel(path, context, store); }

  bool ok() const { return module.ok(); }
  absl::StatusCode code() const { return module.status().code(); }
  std::string message() const { return std::string(module.status().message()); }
  bool says(const std::string &text) const { return message().find(text) != std::string::npos; }
  std::string text() {
    std::string out;
    if (!ok()) {
      return module.status().ToString();
    }
    llvm::raw_string_ostream stream(out);
    (*module)->print(stream);
    return out;
  }
  bool prints(const std::string &part) { return text().find(part) != std::string::npos; }
  std::string locations() {
    std::string out;
    llvm::raw_string_ostream stream(out);
    (*module)->print(stream, mlir::OpPrintingFlags().enableDebugInfo());
    return out;
  }
};

inline std::unique_ptr<Imported> import(const TempFolder &folder, const ::onnx::ModelProto &model) {
  return std::make_unique<Imported>(folder.write("model.onnx", model.SerializeAsString()));
}
inline std::unique_ptr<Imported> import(const ::onnx::ModelProto &model) { return import(TempFolder(), model); }

} // namespace emoe::onnx::test

#endif // EMOE_TEST_FRONTENDS_ONNX_SUPPORT_H_
